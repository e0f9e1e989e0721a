import type { ChatKitOptions } from "@openai/chatkit";
import type { ClientToolCall } from "./protocol.js";

/**
 * Runs a client tool call by the page's `onClientTool`. A result is kept for the visit, so that a reload between the call
 * and its answer does not run the tool again. A page without tools and a tool that fails answer with an error, instead of
 * leaving the thread waiting.
 */
export async function callClientTool(
  call: ClientToolCall,
  onClientTool: ChatKitOptions["onClientTool"],
): Promise<unknown> {
  const key = `relaykit.tool.${call.id}`;
  const kept = sessionStorage.getItem(key);
  if (kept !== null) return JSON.parse(kept);
  const result = await outcome(call, onClientTool);
  sessionStorage.setItem(key, JSON.stringify(result));
  return result;
}

async function outcome(
  { name, arguments: params }: ClientToolCall,
  run: ChatKitOptions["onClientTool"],
): Promise<unknown> {
  if (run === undefined) return { error: `This page has no tool ${name}.` };
  try {
    return (await run({ name, params })) ?? {};
  } catch (error) {
    return { error: `The tool ${name} failed: ${error instanceof Error ? error.message : String(error)}` };
  }
}
