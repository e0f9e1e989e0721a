import { randomKey } from "@relaykit/client";
import type { Draft } from "../composer/host.js";
import { ApiError } from "../server/api.js";
import { isFields } from "../server/fields.js";
import type {
  AssistantMessage,
  Attachment,
  Shown,
  StructuredInputItem,
  UserMessage,
  WidgetAction,
  WidgetItem,
} from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import type { AwaitedCall } from "../thread/awaited_call.js";
import type { Confirm } from "../ui/confirm.js";
import { ownOrigin } from "../ui/dom.js";
import { type ImageViewer, save } from "../ui/image_viewer.js";
import { FAILED, reportFailure } from "../ui/report_failure.js";
import type { Answers, ItemActions, OpenImage } from "../ui/view_context.js";
import { OwnMessages, type OwnMessagesHost } from "./own_messages.js";
import { ToolCalls, type ToolCallsHost } from "./tool_calls.js";

/** The shortest time between two reloads of an item whose image cannot be loaded. */
const RELOAD_MS = 60_000;

/** The parts of the element that commands act on, and its current options and texts. */
export interface CommandsHost extends ToolCallsHost, OwnMessagesHost {
  readonly texts: () => Texts;
  readonly viewer: ImageViewer;
  readonly confirm: Confirm;
}

/** The actions of the person, and of widgets, on the open thread. Each is a ChatKit request. */
export class Commands implements ItemActions {
  /** The times at which items were loaded again because of an image, by item id. */
  readonly #reloadedAt = new Map<string, number>();
  /** Settles when the last message has begun its request. */
  #beginning: Promise<unknown> = Promise.resolve();
  readonly #toolCalls: ToolCalls;
  readonly #ownMessages: OwnMessages;

  constructor(private readonly host: CommandsHost) {
    this.#toolCalls = new ToolCalls(host);
    this.#ownMessages = new OwnMessages(host);
  }

  get #threadId(): string | null {
    return this.host.conversation.state.id;
  }

  /** Sends a message. Returns whether the server accepted it. */
  async send(draft: Draft): Promise<boolean> {
    const { signal } = this.host.conversation;
    const early = this.#showEarly(draft);
    // Messages begin one after the other, because the second needs the thread that the first creates.
    const beginning = this.#beginning.then(() => this.#begin(draft, early, signal));
    this.#beginning = beginning.catch(() => {});
    return (await beginning).accepted;
  }

  /** Shows a message to a thread that is still being loaded. Returns its id in the view; null where none is loaded. */
  #showEarly({ content, attachments, quotedText }: Draft): string | null {
    const { conversation } = this.host;
    if (conversation.opening === null) return null;
    const id = `pending:${randomKey()}`;
    const shown = { id, type: "user_message", content, attachments, quoted_text: quotedText, pending: true } as const;
    conversation.change((state) => state.put(shown));
    return id;
  }

  async #begin(
    draft: Draft,
    early: string | null,
    signal: AbortSignal,
  ): Promise<{ readonly accepted: Promise<boolean> | boolean }> {
    const { conversation } = this.host;
    const threadId = signal.aborted ? null : await conversation.threadId();
    if (signal.aborted) return { accepted: false };
    if (early !== null) conversation.change((state) => state.remove(early));
    // A message to a thread that could not be loaded does not begin another one.
    if (early !== null && threadId === null) return { accepted: false };
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

  /** Gives up the client tool call that is awaited, or else stops every run of the thread. */
  async stop(): Promise<void> {
    const { api, conversation } = this.host;
    if (conversation.awaited !== null) {
      await this.#toolCalls.giveUp(conversation.awaited);
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
        } else if ((await this.#reportFailure(api.stopRun(run.id))) === FAILED) {
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

  /** Tries again what failed. A run that goes on after all is followed instead. */
  async retry(item: Shown): Promise<boolean> {
    const { conversation } = this.host;
    const { signal } = conversation;
    const followed = await this.#reportFailure(conversation.resume());
    if (signal.aborted || followed === FAILED || followed) return followed === true;
    if (item.type === "error" && item.again !== null) {
      const isAccepted = await item.again();
      if (isAccepted && !signal.aborted) conversation.change((state) => state.remove(item.id));
      return isAccepted;
    }
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
      // The image stays missing. The failure is not reported because the person asked for nothing.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  async regenerate(item: AssistantMessage): Promise<boolean> {
    const { conversation } = this.host;
    const { signal } = conversation;
    const message = conversation.state.messageBefore(item.id);
    if (message === undefined || !(await this.#mayDrop(conversation.state.laterThan(message.id)))) return false;
    return signal.aborted ? false : await this.#answerAnew(message.id);
  }

  /** Asks the person before the messages behind an answer are deleted with it. */
  async #mayDrop(count: number): Promise<boolean> {
    if (count === 0) return true;
    const { shell, items } = this.host.texts();
    return await this.host.confirm.ask({
      title: shell.againTitle,
      text: fill(shell.againText, { count }),
      confirm: items.regenerate,
      cancel: shell.cancel,
    });
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

  /** Performs a widget's action: the page handles it where the action says so, else the server does. */
  async act(item: WidgetItem, action: WidgetAction): Promise<void> {
    const { type, payload = null, handler = "server", streaming = true } = action;
    if (handler === "client") {
      const { onAction } = this.host.options().widgets ?? {};
      const handled = { type, ...(isFields(payload) && { payload }) };
      // The handler's types name the widgets of ChatKit; the item may be any widget.
      await this.#guarded(async () => onAction?.(handled, item as unknown as Parameters<typeof onAction>[1]));
      return;
    }
    let done = Promise.resolve();
    await this.dispatch({ type, payload }, item.id, streaming, (run) => {
      done = run;
    });
    await done;
  }

  /**
   * Sends an action to the server. Resolves when a synchronous one is done, or when a streaming one was accepted: its
   * run may have to wait for the page itself. `following` gets what settles with that run. Returns whether the server
   * accepted it.
   */
  async dispatch(
    action: { type: string; payload: unknown },
    itemId: string | null,
    streaming: boolean,
    following?: (run: Promise<void>) => void,
  ): Promise<boolean> {
    const { api, conversation } = this.host;
    const { signal } = conversation;
    const params = { thread_id: this.#threadId, item_id: itemId, action };
    if (streaming) {
      const begin = (): Promise<boolean> =>
        conversation.start("threads.custom_action", params, { again: begin, ...(following && { following }) });
      return await begin();
    }
    const answer = await this.#reportFailure(
      api.call<{ updated_item?: WidgetItem | null }>("threads.sync_custom_action", params),
    );
    if (answer === FAILED) return false;
    if (!signal.aborted && answer.updated_item) {
      const replaced = { type: "thread.item.replaced", item: answer.updated_item };
      conversation.change((state) => state.apply(replaced));
    }
    return true;
  }

  async submitAnswers(item: StructuredInputItem, status: "answered" | "skipped", answers: Answers): Promise<boolean> {
    const params = { thread_id: this.#threadId, item_id: item.id, input: { status, answers } };
    const isAccepted = await this.host.conversation.start("threads.add_structured_input", params);
    // The form with the focused button gives way to the answers.
    if (isAccepted) this.host.focusComposer();
    return isAccepted;
  }

  async feedback(item: Shown, kind: "positive" | "negative"): Promise<boolean> {
    const { conversation } = this.host;
    const { signal } = conversation;
    const params = { thread_id: this.#threadId, item_ids: [item.id], kind };
    if ((await this.#reportFailure(this.host.api.call("items.feedback", params))) === FAILED) return false;
    if (!signal.aborted) conversation.change((state) => state.setFeedback(item.id, kind));
    this.host.announcer.say(this.host.texts().shell.thanks);
    return true;
  }

  withdraw(item: UserMessage): Promise<void> {
    return this.#ownMessages.withdraw(item);
  }

  edit(item: UserMessage): Promise<void> {
    return this.#ownMessages.edit(item);
  }

  enlarge(image: OpenImage): void {
    this.host.viewer.show(image);
  }

  get canFetchFiles(): boolean {
    return this.host.api.isOurs;
  }

  async fetchFile({ id, name }: Attachment): Promise<void> {
    const address = await this.#reportFailure(this.host.api.attachmentLink(id));
    if (address !== FAILED) save(ownOrigin(address).href, name);
  }

  #reportFailure<Result>(work: Promise<Result>): Promise<Result | typeof FAILED> {
    return reportFailure(work, this.host);
  }

  /** Answers a client tool call that the thread awaits. */
  answerToolCall(call: AwaitedCall): Promise<void> {
    return this.#toolCalls.answer(call);
  }

  /** Runs the page's own code; its error is told to the page. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.host.failed(error);
    }
  }
}
