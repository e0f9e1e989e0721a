import type { ChatKitOptions } from "@openai/chatkit";
import type { Draft } from "../composer/host.js";
import type { Conversation } from "../conversation.js";
import { type Api, ApiError } from "../server/api.js";
import { isFields } from "../server/fields.js";
import type {
  AssistantMessage,
  ClientToolCall,
  Shown,
  StructuredInputItem,
  WidgetAction,
  WidgetItem,
} from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { AwaitedCall, Settled } from "../thread/awaited_call.js";
import type { Announcer } from "../ui/announcer.js";
import { pause } from "../ui/pause.js";
import type { Answers, ItemActions } from "../ui/view_context.js";
import { callClientTool, forgetResult } from "./client_tools.js";

/** Whoever began the run answers its client tool call first; a page that only followed it waits the longest. */
const TOOL_DELAYS_MS: Readonly<Record<Settled, number>> = { began: 0, opened: 1_500, watched: 6_000 };

/** An image that cannot be loaded with a new link either is not asked for again before that. */
const RELOAD_MS = 60_000;

/** What commands need to know of the element as it is now. */
export interface CommandsHost {
  readonly api: Api;
  readonly conversation: Conversation;
  readonly announcer: Announcer;
  readonly options: () => ChatKitOptions;
  readonly texts: () => Texts;
  /** What went wrong, for the page's logs. */
  readonly failed: (error: unknown) => void;
}

/** What a person (or a widget, or a client tool) does to the open thread: each a ChatKit request. */
export class Commands implements ItemActions {
  /** Client tool calls whose output the server has taken, or has refused for good. */
  readonly #answered = new Set<string>();
  /** When an item was asked for anew because its image could not be loaded, by its id. */
  readonly #reloadedAt = new Map<string, number>();
  /** The last message that was sent has begun its request. */
  #beginning: Promise<unknown> = Promise.resolve();

  constructor(private readonly host: CommandsHost) {}

  get #threadId(): string | null {
    return this.host.conversation.state.id;
  }

  /** Whether the message was accepted. */
  async send(draft: Draft): Promise<boolean> {
    const { signal } = this.host.conversation;
    // One after the other, so that the second finds the thread that the first makes.
    const beginning = this.#beginning.then(() => this.#begin(draft, signal));
    this.#beginning = beginning.catch(() => {});
    return (await beginning).accepted;
  }

  async #begin(draft: Draft, signal: AbortSignal): Promise<{ readonly accepted: Promise<boolean> | boolean }> {
    const { conversation } = this.host;
    const threadId = signal.aborted ? null : await conversation.threadId();
    if (signal.aborted) return { accepted: false };
    const { content, attachments, quotedText } = draft;
    const input = {
      content,
      attachments: attachments.map(({ id }) => id),
      quoted_text: quotedText,
      inference_options: draft.inferenceOptions,
    };
    const pending = { content, attachments, quoted_text: quotedText };
    const accepted =
      threadId === null
        ? conversation.start("threads.create", { input }, { pending })
        : conversation.start("threads.add_user_message", { thread_id: threadId, input }, { pending });
    return { accepted };
  }

  /** Stops every run of the thread; the end of each answer says when it has. A client tool call is given up before. */
  async stop(): Promise<void> {
    const { api, conversation } = this.host;
    if (conversation.awaited !== null) {
      await this.#giveUp(conversation.awaited);
      return;
    }
    const runs = [...conversation.runs].filter((run) => run.allowCancel && !run.isStopping);
    conversation.change(() => {
      for (const run of runs) run.isStopping = true;
    });
    await Promise.all(
      runs.map(async (run) => {
        if (run.id === null) {
          run.following.abort();
        } else if ((await this.#told(api.stopRun(run.id))) === FAILED) {
          conversation.change(() => {
            run.isStopping = false;
          });
        }
      }),
    );
  }

  /** What waits behind the call goes on. */
  async #giveUp(call: AwaitedCall): Promise<void> {
    const { api, conversation } = this.host;
    if (call.isStopping) return;
    const setStopping = (isStopping: boolean) =>
      conversation.change(() => {
        call.isStopping = isStopping;
      });
    setStopping(true);
    if (call.runId !== null && (await this.#told(api.stopRun(call.runId))) === FAILED) {
      setStopping(false);
      return;
    }
    this.#answered.add(call.itemId);
    if (call.runId === null) {
      conversation.release(call);
      return;
    }
    // It has taken the stop, and so it knows what it waits for.
    call.isKnown = true;
    await conversation.look(call);
  }

  get canRetry(): boolean {
    return this.host.conversation.state.lastUserMessage !== undefined;
  }

  /** Does again what failed. A run that goes on after all is followed instead of asked for again. */
  async retry(item: Shown): Promise<boolean> {
    const { conversation } = this.host;
    const { signal } = conversation;
    const followed = await this.#told(conversation.resume());
    if (signal.aborted || followed === FAILED || followed) return followed === true;
    if (item.type === "error" && item.again !== null) return await item.again();
    const message = conversation.state.lastUserMessage;
    return message === undefined ? false : await this.#answerAnew(message.id);
  }

  async reload(item: Shown): Promise<void> {
    const last = this.#reloadedAt.get(item.id) ?? Number.NEGATIVE_INFINITY;
    if (performance.now() - last < RELOAD_MS) return;
    this.#reloadedAt.set(item.id, performance.now());
    try {
      await this.host.conversation.reload(item);
    } catch (error) {
      // An image is missing, and nothing was asked for by the person.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  async regenerate(item: AssistantMessage): Promise<boolean> {
    const message = this.host.conversation.state.messageBefore(item.id);
    return message === undefined ? false : await this.#answerAnew(message.id);
  }

  async #answerAnew(messageId: string): Promise<boolean> {
    const { conversation } = this.host;
    const { signal } = conversation;
    const kept = new Map(conversation.state.items);
    conversation.change((state) => state.dropAfter(messageId));
    const params = { thread_id: this.#threadId, item_id: messageId };
    const accepted = await conversation.start("threads.retry_after_item", params);
    if (!accepted && !signal.aborted) {
      conversation.change((state) => {
        state.items = kept;
      });
    }
    return accepted;
  }

  /** A widget's action, by the page where it says so, else by the server: streaming or not. */
  async act(item: WidgetItem, action: WidgetAction): Promise<void> {
    const { type, payload = null, handler = "server", streaming = true } = action;
    if (handler === "client") {
      const { onAction } = this.host.options().widgets ?? {};
      const given = { type, ...(isFields(payload) && { payload }) };
      // The types of the page's handler are those of the widgets that the server is known to send.
      await this.#guarded(async () => onAction?.(given, item as unknown as Parameters<typeof onAction>[1]));
      return;
    }
    await this.dispatch({ type, payload }, item.id, streaming);
  }

  /** Sends an action to the server. */
  async dispatch(action: { type: string; payload: unknown }, itemId: string | null, streaming: boolean): Promise<void> {
    const { api, conversation } = this.host;
    const { signal } = conversation;
    const params = { thread_id: this.#threadId, item_id: itemId, action };
    if (streaming) {
      const begin = (): Promise<boolean> => conversation.start("threads.custom_action", params, { again: begin });
      await begin();
      return;
    }
    const answer = await this.#told(
      api.call<{ updated_item?: WidgetItem | null }>("threads.sync_custom_action", params),
    );
    if (signal.aborted || answer === FAILED || !answer.updated_item) return;
    const replaced = { type: "thread.item.replaced", item: answer.updated_item };
    conversation.change((state) => state.apply(replaced));
  }

  submitAnswers(item: StructuredInputItem, status: "answered" | "skipped", answers: Answers): Promise<boolean> {
    const params = { thread_id: this.#threadId, item_id: item.id, input: { status, answers } };
    return this.host.conversation.start("threads.add_structured_input", params);
  }

  async feedback(item: Shown, kind: "positive" | "negative"): Promise<boolean> {
    const params = { thread_id: this.#threadId, item_ids: [item.id], kind };
    if ((await this.#told(this.host.api.call("items.feedback", params))) === FAILED) return false;
    this.host.announcer.say(this.host.texts().shell.thanks);
    return true;
  }

  /** Runs a client tool call that the thread awaits and posts its output: in one tab only, and once. */
  async answerToolCall(call: AwaitedCall): Promise<void> {
    const { signal } = call;
    if (this.#answered.has(call.itemId)) return;
    await pause(TOOL_DELAYS_MS[call.how], signal).catch(() => {});
    if (signal.aborted) return;
    const post = () => this.#told(this.#postToolOutput(call));
    // A page without TLS has no locks: the server takes one output all the same.
    if ("locks" in navigator) await navigator.locks.request(`relaykit.tool.${call.itemId}`, post);
    else await post();
  }

  async #postToolOutput(call: AwaitedCall): Promise<void> {
    const { conversation, options } = this.host;
    const { signal } = call;
    const threadId = this.#threadId;
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

  /** The call, where the thread still awaits it. A server that knows of no waits has it as the thread's newest item. */
  async #awaitedItem(threadId: string, call: AwaitedCall): Promise<ClientToolCall | null> {
    const { conversation } = this.host;
    if (!(await conversation.look(call))) return null;
    const shown = conversation.state.items.get(call.itemId);
    if (call.isKnown && shown?.type === "client_tool_call") return shown;
    const { data } = await conversation.newestItems(threadId);
    const item = call.isKnown ? data.find(({ id }) => id === call.itemId) : data[0];
    const isAwaited = item?.type === "client_tool_call" && item.id === call.itemId && item.status === "pending";
    return isAwaited ? item : null;
  }

  /** The output of a call that was given up or answered meanwhile is nothing to tell; no output is posted in vain again. */
  async #outputRefused(call: AwaitedCall, item: ClientToolCall, error: ApiError): Promise<void> {
    const { conversation, announcer, failed } = this.host;
    if (!OVER.has(error.code)) {
      announcer.toast(error.message);
      failed(error);
    }
    if (error.isFinal) {
      this.#answered.add(item.id);
      forgetResult(item);
      await conversation.look(call);
    } else {
      // Coming back to the page finds the call again, and its result is kept.
      conversation.release(call);
    }
  }

  /** What fails is told to the person; of the page's own code it is told to the page. */
  async #told<Result>(work: Promise<Result>): Promise<Result | typeof FAILED> {
    try {
      return await work;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.host.announcer.toast(error.message);
      this.host.failed(error);
      return FAILED;
    }
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.host.failed(error);
    }
  }
}

const FAILED = Symbol("failed");

/** With these the server says that it does not await the output of the call any more. */
const OVER = new Set(["item_mismatch", "thread_busy"]);
