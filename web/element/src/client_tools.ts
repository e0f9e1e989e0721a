import type { ChatKitOptions } from "@openai/chatkit";
import type { ClientToolCall } from "./protocol.js";

const keyOf = ({ id }: ClientToolCall) => `relaykit.tool.${id}`;

/**
 * Runs a client tool call by the page's `onClientTool`. A result is kept until the server has it, so that a reload between
 * the call and its answer does not run the tool again. A page without tools and a tool that fails answer with an error,
 * instead of leaving the thread waiting.
 */
export async function callClientTool(
  call: ClientToolCall,
  onClientTool: ChatKitOptions["onClientTool"],
): Promise<unknown> {
  const kept = sessionStorage.getItem(keyOf(call));
  if (kept !== null) return JSON.parse(kept);
  const text = await outcome(call, onClientTool);
  try {
    sessionStorage.setItem(keyOf(call), text);
  } catch {
    // It is larger than the browser keeps: a reload before its answer runs the tool again.
  }
  return JSON.parse(text);
}

/** The server has the call's result. */
export function forgetResult(call: ClientToolCall): void {
  sessionStorage.removeItem(keyOf(call));
}

/** As JSON. */
async function outcome(
  { name, arguments: params }: ClientToolCall,
  run: ChatKitOptions["onClientTool"],
): Promise<string> {
  if (run === undefined) return JSON.stringify({ error: `This page has no tool ${name}.` });
  try {
    return JSON.stringify((await run({ name, params })) ?? {});
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    return JSON.stringify({ error: `The tool ${name} failed: ${said}` });
  }
}
