import type { OpenAIChatKit } from "@openai/chatkit";
import { Chat } from "./chat.js";
import { complete } from "./composer/draft.js";
import { checked, type ElementOptions, userOfDrafts } from "./options.js";
import type { Attachment, UserContent } from "./server/protocol.js";
import { styleSheet } from "./styles/index.js";
import { type Locale, localeOf } from "./texts/locale.js";
import { loadTexts } from "./texts/translations.js";
import { applyTheme } from "./ui/theme.js";

/** The longest wait for the texts of a language. The chat then begins in English and changes when they come. */
const TEXTS_WAIT_MS = 3_000;

/**
 * `<relaykit-chat>`: a chat over the ChatKit protocol that loads nothing from elsewhere. It takes the options, has the
 * methods and emits the `chatkit.*` events of the stock element, as `@openai/chatkit` types them. `domainKey` is
 * ignored, and the hosted `api` is refused. Answers outlive their connections with every fetch that a site may give.
 *
 * Its slots: `header` stands in the bar behind the title, `start-screen` in the place of greeting and prompts, `footer`
 * below the message box, and `history-footer` below the list of threads.
 */
export class RelaykitChat extends HTMLElement implements Pick<OpenAIChatKit, Method> {
  readonly #shadow = this.attachShadow({ mode: "open" });
  #options: ElementOptions | null = null;
  #chat: Chat | null = null;
  /** The thread that the chat opens when the element is put back into a page. */
  #threadId: string | null = null;
  #isReady = false;
  /** Whether the first drawing waits for the texts of its language. */
  #isWaiting = false;
  readonly #started: Promise<void>;
  #onStarted: () => void = () => {};

  constructor() {
    super();
    this.#started = new Promise((resolve) => {
      this.#onStarted = resolve;
    });
    this.#shadow.adoptedStyleSheets = [styleSheet()];
  }

  /** Replaces all options. Throws TypeError for invalid ones. */
  setOptions(options: ElementOptions): void {
    const before = this.#options;
    this.#options = checked(options);
    if (!this.#isReady || before === null || !isSameServer(before, options)) {
      this.#leave();
      this.#threadId = options.initialThread ?? null;
    }
    this.#withTexts(options, () => {
      if (this.#chat === null) this.#start();
      else this.#chat.setOptions(options, this.#look(options));
    });
  }

  /**
   * Calls `show` once the texts of the options' language are there: at once where they are, and otherwise again where
   * they come later than the wait.
   */
  #withTexts(options: ElementOptions, show: () => void): void {
    const { missing } = localeOf(options.locale);
    this.#isWaiting = missing !== null;
    if (missing === null) {
      show();
      return;
    }
    const showNow = () => {
      if (this.#options !== options) return;
      this.#isWaiting = false;
      show();
    };
    const waiting = setTimeout(showNow, TEXTS_WAIT_MS);
    loadTexts(missing)
      .catch((error: unknown) => this.#emit("chatkit.error", { error }))
      .finally(() => {
        clearTimeout(waiting);
        showNow();
      });
  }

  connectedCallback(): void {
    this.#start();
  }

  disconnectedCallback(): void {
    // The chat ends a moment later, because a move within the page takes the element out and puts it back.
    queueMicrotask(() => {
      if (!this.isConnected) this.#leave();
    });
  }

  override focus(): void {
    this.#chat?.composer.focus();
  }

  async focusComposer(): Promise<void> {
    (await this.#running()).composer.focus();
  }

  async setThreadId(threadId: string | null): Promise<void> {
    await (await this.#running()).goTo(threadId);
  }

  /** Resolves when the server has accepted the action. Raises where it did not. */
  async sendCustomAction(action: { type: string; payload?: Record<string, unknown> }, itemId?: string): Promise<void> {
    const isAccepted = await (await this.#running()).dispatch(action, itemId ?? null);
    if (!isAccepted) throw new Error("The server did not accept the action.");
  }

  /** Raises where the server did not accept the message. */
  async sendUserMessage(params: Parameters<OpenAIChatKit["sendUserMessage"]>[0]): Promise<void> {
    const { text = "", content, reply, attachments = [], newThread = false, toolChoice, model } = params;
    const chat = await this.#running();
    if (newThread) await chat.show(null);
    const isAccepted = await chat.send({
      content: complete(content ?? (text === "" ? [] : [{ type: "input_text", text }])),
      attachments,
      quotedText: reply ?? null,
      inferenceOptions: { ...(toolChoice && { tool_choice: toolChoice }), ...(model !== undefined && { model }) },
    });
    if (!isAccepted) throw new Error("The message was not accepted.");
  }

  async setComposerValue(params: Parameters<OpenAIChatKit["setComposerValue"]>[0]): Promise<void> {
    await (await this.#running()).composer.setValue(params);
  }

  /** The message that is being written, in the words of `setComposerValue`. */
  async getComposerValue(): Promise<ComposerContent> {
    const { content, attachments, quotedText, inferenceOptions } = (await this.#running()).composer.draft;
    return {
      text: content.map(({ text }) => text).join(""),
      content,
      reply: quotedText,
      attachments,
      selectedToolId: inferenceOptions.tool_choice?.id ?? null,
      selectedModelId: inferenceOptions.model ?? null,
    };
  }

  async showHistory(): Promise<void> {
    (await this.#running()).toggleHistory(true);
  }

  async hideHistory(): Promise<void> {
    (await this.#running()).toggleHistory(false);
  }

  async fetchUpdates(): Promise<void> {
    await (await this.#running()).fetchUpdates();
  }

  #start(): void {
    const options = this.#options;
    if (options === null || this.#isWaiting || this.#chat !== null || !this.isConnected) return;
    const chat: Chat = new Chat(options, this.#look(options), (type, detail) => {
      // A chat that the element has left emits no events.
      if (this.#chat === chat) this.#emit(type, detail);
    });
    this.#chat = chat;
    this.#shadow.replaceChildren(chat.node);
    this.#onStarted();
    if (!this.#isReady) {
      this.#isReady = true;
      this.#emit("chatkit.ready");
    }
    // A listener may have given other options, or taken the element out of the page.
    if (this.#chat === chat) void chat.start(this.#threadId);
  }

  #leave(): void {
    const chat = this.#chat;
    if (chat === null) return;
    this.#chat = null;
    this.#threadId = chat.threadId;
    chat.end();
    this.#shadow.replaceChildren();
  }

  /** Applies the theme and the name of the options, and returns their locale. */
  #look(options: ElementOptions): Locale {
    const locale = localeOf(options.locale);
    applyTheme(this, options.theme, (error) => this.#emit("chatkit.error", { error }));
    if (!this.hasAttribute("role")) this.setAttribute("role", "group");
    this.setAttribute("aria-label", options.frameTitle ?? locale.texts.shell.chat);
    return locale;
  }

  async #running(): Promise<Chat> {
    await this.#started;
    if (this.#chat === null) throw new Error("The chat is not in a page.");
    return this.#chat;
  }

  #emit(type: string, detail?: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: false }));
  }
}

/** What stands in the message box. Files that are still being uploaded are not among the attachments. */
export interface ComposerContent {
  readonly text: string;
  readonly content: readonly UserContent[];
  readonly reply: string | null;
  readonly attachments: readonly Attachment[];
  readonly selectedToolId: string | null;
  readonly selectedModelId: string | null;
}

type Method =
  | "setOptions"
  | "focusComposer"
  | "setThreadId"
  | "sendCustomAction"
  | "sendUserMessage"
  | "setComposerValue"
  | "showHistory"
  | "hideHistory"
  | "fetchUpdates";

/** Whether a chat can go on with the new options. Another server, user or user's fetch needs another chat. */
function isSameServer(optionsBefore: ElementOptions, options: ElementOptions): boolean {
  const [{ api: before }, { api: after }] = [optionsBefore, options];
  const isKept = [optionsBefore, options].map(({ drafts }) => drafts !== false);
  if (isKept[0] !== isKept[1] || userOfDrafts(optionsBefore) !== userOfDrafts(options)) return false;
  if (!("url" in before) || !("url" in after) || before.url !== after.url) return false;
  const isOurs = [before.fetch, after.fetch].some((given) => given !== undefined && "resumeThread" in given);
  return !isOurs || before.fetch === after.fetch;
}
