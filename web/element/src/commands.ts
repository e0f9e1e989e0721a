import type { ChatKitOptions } from "@openai/chatkit";
import type { Announcer } from "./announcer.js";
import { type Api, ApiError } from "./api.js";
import { callClientTool, forgetResult } from "./client_tools.js";
import type { Draft } from "./composer_host.js";
import type { Conversation, Settled } from "./conversation.js";
import { pause } from "./pause.js";
import type {
  AssistantMessage,
  ClientToolCall,
  Shown,
  StructuredInputItem,
  WidgetAction,
  WidgetItem,
} from "./protocol.js";
import type { Texts } from "./texts/index.js";
import type { Answers, ItemActions } from "./view_context.js";

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
  /** Client tool calls whose output the server has taken. */
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

  /** Stops every run of the thread; the end of each answer says when it has. */
  async stop(): Promise<void> {
    const { api, conversation } = this.host;
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
      const given = { type, ...(isRecord(payload) && { payload }) };
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

  /** Runs a client tool call that waits in the thread and posts its output: in one tab only, and once. */
  async answerToolCall(how: Settled): Promise<void> {
    const { conversation } = this.host;
    const { last } = conversation.state;
    if (last?.type !== "client_tool_call" || last.status !== "pending" || this.#answered.has(last.id)) return;
    const { signal } = conversation;
    await pause(TOOL_DELAYS_MS[how], signal).catch(() => {});
    if (signal.aborted || conversation.isRunning) return;
    const post = () => this.#told(this.#postToolOutput(last, signal));
    // A page without TLS has no locks: the server takes one output all the same.
    if ("locks" in navigator) await navigator.locks.request(`relaykit.tool.${last.id}`, post);
    else await post();
  }

  async #postToolOutput(call: ClientToolCall, signal: AbortSignal): Promise<void> {
    const { conversation } = this.host;
    const threadId = this.#threadId;
    if (threadId === null) return;
    const page = await conversation.newestItems(threadId, 1);
    const newest = page.data[0];
    if (signal.aborted || conversation.isRunning || newest?.type !== "client_tool_call") return;
    if (newest.id !== call.id || newest.status !== "pending") return;
    const result = await callClientTool(newest, this.host.options().onClientTool);
    if (signal.aborted) return;
    const completed: ClientToolCall = { ...newest, status: "completed", output: result };
    conversation.change((state) => state.items.set(call.id, completed));
    if (await conversation.start("threads.add_client_tool_output", { thread_id: threadId, result })) {
      this.#answered.add(call.id);
      forgetResult(call);
    } else if (!signal.aborted) {
      conversation.change((state) => state.items.set(call.id, newest));
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
