import type { ChatKitOptions } from "@openai/chatkit";
import type { ClientToolCall } from "../server/protocol.js";

/** Of a server that does not say how long it waits. */
const DEFAULT_SECONDS = 300;
/** An error in the place of the output arrives before the server gives the call up, so that the model can go on from it. */
const OWN_SHARE = 0.9;

const keyOf = ({ id }: ClientToolCall) => `relaykit.tool.${id}`;

/** How long a call is waited for. */
export interface ToolWait {
  /** Until the server gives the call up, where it says so. */
  readonly secondsLeft: number | null;
  /** Aborts when the call is not waited for any more. */
  readonly signal: AbortSignal;
}

/**
 * Runs a client tool call by the page's `onClientTool`. A result is kept until the server has it, so that a reload between
 * the call and its answer does not run the tool again. A page without tools, a tool that fails and one that does not come
 * back answer with an error, instead of leaving the thread waiting. Raises the signal's reason.
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
    // It is larger than the browser keeps: a reload before its answer runs the tool again.
  }
  return JSON.parse(text);
}

/** The server has the call's result, or does not want it any more. */
export function forgetResult(call: ClientToolCall): void {
  sessionStorage.removeItem(keyOf(call));
}

/** As JSON. */
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
