import type { ChatKitOptions } from "@openai/chatkit";
import type { ClientToolCall } from "../server/protocol.js";

/** The wait of a server that does not tell it. */
const DEFAULT_SECONDS = 300;
/**
 * The share of the server's wait after which an error is sent as the output, so that it arrives in time for the model.
 */
const OWN_SHARE = 0.9;

const keyOf = ({ id }: ClientToolCall) => `relaykit.tool.${id}`;

/** The bounds of the wait for a call. */
export interface ToolWait {
  /** The seconds until the server gives the call up; null where it does not tell them. */
  readonly secondsLeft: number | null;
  /** Aborts when the call is not awaited any more. */
  readonly signal: AbortSignal;
}

/**
 * Runs a client tool call with the page's `onClientTool`. The result is kept until the server has it, so that a reload
 * in between does not run the tool again. A missing tool, a failing tool and one that takes too long give an error as
 * the output, because the thread waits for one. Raises the signal's reason.
 */
export async function callClientTool(
  call: ClientToolCall,
  onClientTool: ChatKitOptions["onClientTool"],
  wait: ToolWait,
): Promise<unknown> {
  const kept = sessionStorage.getItem(keyOf(call));
  if (kept !== null) return JSON.parse(kept);
  const text = await outcome(call, onClientTool, wait);
  try {
    sessionStorage.setItem(keyOf(call), text);
  } catch {
    // The result is too large for the storage, so a reload in between runs the tool again.
  }
  return JSON.parse(text);
}

/** Drops the kept result of a call, because the server has it or awaits it no longer. */
export function forgetResult(call: ClientToolCall): void {
  sessionStorage.removeItem(keyOf(call));
}

/** The output of the tool as JSON. */
async function outcome(
  { name, arguments: params }: ClientToolCall,
  run: ChatKitOptions["onClientTool"],
  wait: ToolWait,
): Promise<string> {
  if (run === undefined) return JSON.stringify({ error: `This page has no tool ${name}.` });
  try {
    return JSON.stringify((await withinTime(name, run({ name, params }), wait)) ?? {});
  } catch (error) {
    wait.signal.throwIfAborted();
    const said = error instanceof Error ? error.message : String(error);
    return JSON.stringify({ error: `The tool ${name} failed: ${said}` });
  }
}

function withinTime<Result>(
  name: string,
  running: Promise<Result> | Result,
  { secondsLeft, signal }: ToolWait,
): Promise<Result | { error: string }> {
  const seconds = (secondsLeft ?? DEFAULT_SECONDS) * OWN_SHARE;
  return new Promise((resolve, reject) => {
    const error = `The tool ${name} did not come back within ${Math.round(seconds)} seconds.`;
    const timer = setTimeout(() => resolve({ error }), seconds * 1_000);
    const leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave);
    Promise.resolve(running)
      .finally(() => {
        clearTimeout(timer);
        signal.removeEventListener("abort", leave);
      })
      .then(resolve, reject);
    if (signal.aborted) leave();
  });
}
