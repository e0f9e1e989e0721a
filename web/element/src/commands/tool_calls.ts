import type { ChatKitOptions } from "@openai/chatkit";
import type { Conversation } from "../conversation.js";
import type { Api, ApiError } from "../server/api.js";
import type { ClientToolCall } from "../server/protocol.js";
import type { AwaitedCall, RunOrigin } from "../thread/awaited_call.js";
import { pause } from "../ui/pause.js";
import { FAILED, type FailureListeners, reportFailure } from "../ui/report_failure.js";
import { callClientTool, forgetResult } from "./client_tools.js";

/**
 * The page that started the run answers its client tool call first; a page that only followed the run waits longest.
 */
const ANSWER_DELAYS_MS: Readonly<Record<RunOrigin, number>> = { started: 0, opened: 1_500, followed: 6_000 };

/** With these codes the server says that it awaits the call's output no longer. */
const NOT_AWAITED_CODES = new Set(["item_mismatch", "thread_busy"]);

export interface ToolCallsHost extends FailureListeners {
  readonly api: Api;
  readonly conversation: Conversation;
  readonly options: () => ChatKitOptions;
}

/** Answers the client tool calls that the open thread awaits, or gives them up. */
export class ToolCalls {
  /** The calls whose output the server has accepted or finally refused, by item id. */
  readonly #answered = new Set<string>();

  constructor(private readonly host: ToolCallsHost) {}

  /** Runs the tool and posts its output. Of several tabs one does so, and once. */
  async answer(call: AwaitedCall): Promise<void> {
    const { signal } = call;
    if (this.#answered.has(call.itemId)) return;
    await pause(ANSWER_DELAYS_MS[call.origin], signal).catch(() => {});
    if (signal.aborted) return;
    const post = () => reportFailure(this.#post(call), this.host);
    // A page without TLS has no locks, but the server accepts one output all the same.
    if ("locks" in navigator) await navigator.locks.request(`relaykit.tool.${call.itemId}`, post);
    else await post();
  }

  async #post(call: AwaitedCall): Promise<void> {
    const { conversation, options } = this.host;
    const { signal } = call;
    const threadId = conversation.state.id;
    const item = threadId === null ? null : await this.#awaitedItem(threadId, call);
    if (item === null || signal.aborted) return;
    let result: unknown;
    try {
      result = await callClientTool(item, options().onClientTool, call);
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    if (signal.aborted) return;
    const completed: ClientToolCall = { ...item, status: "completed", output: result };
    const setItem = (shown: ClientToolCall) => conversation.change((state) => state.items.set(item.id, shown));
    setItem(completed);
    const refusals: ApiError[] = [];
    const params = { thread_id: threadId, item_id: item.id, result };
    const refused = (error: ApiError) => refusals.push(error);
    if (await conversation.start("threads.add_client_tool_output", params, { refused })) {
      this.#answered.add(item.id);
      forgetResult(item);
      conversation.release(call);
      return;
    }
    if (signal.aborted) return;
    setItem(item);
    for (const error of refusals) await this.#outputRefused(call, item, error);
  }

  /**
   * The item of the call; null where the thread awaits the call no longer. A server that knows of no waits has the call
   * as the thread's newest item.
   */
  async #awaitedItem(threadId: string, call: AwaitedCall): Promise<ClientToolCall | null> {
    const { conversation } = this.host;
    if (!(await conversation.isAwaited(call))) return null;
    const shown = conversation.state.items.get(call.itemId);
    if (call.isKnown && shown?.type === "client_tool_call") return shown;
    const { data } = await conversation.newestItems(threadId);
    const item = call.isKnown ? data.find(({ id }) => id === call.itemId) : data[0];
    const isAwaited = item?.type === "client_tool_call" && item.id === call.itemId && item.status === "pending";
    return isAwaited ? item : null;
  }

  /** Reports the refusal, unless the call was answered or given up meanwhile. A final refusal is not tried again. */
  async #outputRefused(call: AwaitedCall, item: ClientToolCall, error: ApiError): Promise<void> {
    const { conversation, announcer, failed } = this.host;
    if (!NOT_AWAITED_CODES.has(error.code)) {
      announcer.toast(error.message);
      failed(error);
    }
    if (error.isFinal) {
      this.#answered.add(item.id);
      forgetResult(item);
      await conversation.isAwaited(call);
    } else {
      // The result is kept for the next try: coming back to the page finds the call again.
      conversation.release(call);
    }
  }

  /** Gives the call up; the messages that wait behind it go on. */
  async giveUp(call: AwaitedCall): Promise<void> {
    const { api, conversation } = this.host;
    if (call.isStopping) return;
    const setStopping = (isStopping: boolean) =>
      conversation.change(() => {
        call.isStopping = isStopping;
      });
    setStopping(true);
    if (call.runId !== null && (await reportFailure(api.stopRun(call.runId), this.host)) === FAILED) {
      setStopping(false);
      return;
    }
    this.#answered.add(call.itemId);
    if (call.runId === null) {
      conversation.release(call);
      return;
    }
    // The server accepted the Stop, so it can say whether it awaits the call.
    call.isKnown = true;
    await conversation.isAwaited(call);
  }
}
