import type { ChatKitOptions, OpenAIChatKit } from "@openai/chatkit";
import { Commands } from "./commands/commands.js";
import { Composer } from "./composer/composer.js";
import type { ComposerHost, Draft } from "./composer/host.js";
import { Conversation, type ConversationEvents } from "./conversation.js";
import { History, titleOf } from "./history/history.js";
import { Api, ApiError } from "./server/api.js";
import { textOf, type UserContent } from "./server/protocol.js";
import { Header } from "./shell/header.js";
import { StartScreen } from "./shell/start_screen.js";
import { type TabMessage, Tabs } from "./shell/tabs.js";
import { fill, type Texts } from "./texts/index.js";
import type { Locale } from "./texts/locale.js";
import { ThreadView } from "./thread/view.js";
import { Announcer } from "./ui/announcer.js";
import { el } from "./ui/dom.js";

/** Coming back to the page asks the server for news, but not more often than this. */
const SYNC_EVERY_MS = 3_000;
/** Narrower than this the list of threads slides over the conversation. */
const NARROW_PX = 800;

type Emit = (type: string, detail?: unknown) => void;

/** The chat inside the element: its parts, and how they hear of each other. */
export class Chat {
  readonly node: HTMLElement;
  readonly api: Api;
  readonly conversation: Conversation;
  readonly #commands: Commands;
  readonly #announcer: Announcer;
  readonly #header: Header;
  readonly #history: History;
  readonly #view: ThreadView;
  readonly #startScreen: StartScreen;
  readonly #composer: Composer;
  readonly #tabs: Tabs;
  readonly #stage: HTMLElement;
  readonly #skip: HTMLElement;
  readonly #backdrop = el("div", { class: "backdrop", hidden: true });
  readonly #leaving = new AbortController();
  readonly #resizing: ResizeObserver;
  #options: ChatKitOptions;
  #locale: Locale;
  #isNarrow = false;
  /** On a narrow element whether the list lies over the conversation, on a wide one whether it stands beside it. */
  #isHistoryOpen = true;
  #threadId: string | null = null;
  #composerShown = "";
  #loading = 0;
  /** The last thread that was to be loaded. */
  #asked: string | null = null;
  #syncedAtMs = 0;

  /** @param emit an event of the element */
  constructor(
    options: ChatKitOptions,
    locale: Locale,
    private readonly emit: Emit,
  ) {
    this.#options = options;
    this.#locale = locale;
    const texts = () => this.#locale.texts;
    const current = () => this.#options;
    const failed = (error: unknown) => emit("chatkit.error", { error });
    this.api = new Api(apiOptions(current), texts, () => this.#locale.tag);
    const live = el("div", { id: "live", class: "unseen", role: "status", "aria-live": "polite" });
    const toasts = el("div", { id: "toasts", class: "toasts" });
    this.#announcer = new Announcer(live, toasts);
    this.conversation = new Conversation(this.api, this.#events());
    this.#commands = new Commands({
      api: this.api,
      conversation: this.conversation,
      announcer: this.#announcer,
      options: current,
      texts,
      failed,
    });
    this.#startScreen = new StartScreen(this.#startScreenHost);
    this.#header = new Header({
      options: current,
      texts,
      toggleHistory: () => this.toggleHistory(!this.#isHistoryOpen),
      newThread: () => void this.#choose(null),
    });
    this.#history = new History({
      api: this.api,
      announcer: this.#announcer,
      options: current,
      texts,
      locale: () => this.#locale.tag,
      chosen: (threadId) => void this.#choose(threadId),
      renamed: (thread) => {
        this.#tabs.tell({ type: "threads" });
        if (thread.id !== this.conversation.state.id) return;
        this.conversation.state.setThread(thread);
        this.#threadChanged();
      },
      deleted: (threadId) => {
        this.#tabs.tell({ type: "deleted", threadId });
        if (threadId === this.conversation.state.id) void this.#choose(null);
      },
      failed,
    });
    this.#view = new ThreadView({
      conversation: this.conversation,
      context: this.#itemContext(),
      look: () => JSON.stringify([this.#locale.language, this.#locale.tag, this.#options.threadItemActions ?? null]),
      isAway: () => {
        const { state } = this.api.fetch.connection;
        return state === "reconnecting" || state === "offline" ? state : null;
      },
      loadEarlier: () => this.#told(this.conversation.loadEarlier()),
      startScreen: this.#startScreen.node,
    });
    this.#composer = new Composer(this.#composerHost);
    const main = el("div", { class: "main" }, this.#view.node, this.#composer.node);
    this.#stage = el("div", { id: "stage", class: "stage" }, this.#header.node, main);
    this.#skip = el("button", { class: "skip", type: "button", on: { click: () => this.#composer.focus() } });
    this.node = el("div", { class: "chat" }, this.#skip, live, toasts, this.#backdrop, this.#history.node, this.#stage);
    this.#tabs = new Tabs(apiOptions(current).url, (message) => this.#heard(message));
    this.#backdrop.addEventListener("click", () => this.toggleHistory(false));
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.#resizing = new ResizeObserver(([entry]) => this.#resized(entry?.contentRect.width ?? 0));
    this.#resizing.observe(this.node);
    const { signal } = this.#leaving;
    for (const type of ["focus", "online"]) window.addEventListener(type, () => this.#cameBack(), { signal });
    document.addEventListener("visibilitychange", () => this.#cameBack(), { signal });
    signal.addEventListener(
      "abort",
      this.api.fetch.connection.subscribe(() => this.#view.schedule()),
    );
    this.#setTexts();
    this.#threadChanged();
    this.#layOut();
  }

  /** Shows the first thread and the list of all. */
  start(threadId: string | null): Promise<void> {
    if (this.#options.history?.enabled !== false) void this.#history.refresh();
    return this.#told(this.show(threadId));
  }

  /** Leaves everything; no run is stopped. */
  end(): void {
    this.#leaving.abort();
    this.#resizing.disconnect();
    this.#tabs.close();
    this.conversation.clear();
    this.#composer.end();
  }

  setOptions(options: ChatKitOptions, locale: Locale): void {
    const hadHistory = this.#options.history?.enabled !== false;
    if (!hadHistory && options.history?.enabled !== false) void this.#history.refresh();
    this.#options = options;
    this.#locale = locale;
    this.#setTexts();
    this.#header.setOptions();
    this.#history.setTexts();
    this.#startScreen.setOptions(this.#startScreenHost);
    this.#composer.setOptions(this.#composerHost);
    this.#view.setTexts();
    this.#threadChanged();
    this.#layOut();
  }

  /** The open thread, or the one that is being loaded. */
  get threadId(): string | null {
    return this.#loading > 0 ? this.#asked : this.conversation.state.id;
  }

  focusComposer(): void {
    this.#composer.focus();
  }

  setComposerValue(params: Parameters<OpenAIChatKit["setComposerValue"]>[0]): Promise<void> {
    return this.#composer.setValue(params);
  }

  /** Opens a thread, or a new one for null. Throws ApiError; an empty thread is shown then. */
  async show(threadId: string | null): Promise<void> {
    if (threadId === null) {
      this.conversation.clear();
      return;
    }
    this.emit("chatkit.thread.load.start", { threadId });
    this.#loading += 1;
    this.#asked = threadId;
    try {
      await this.conversation.open(threadId);
    } finally {
      this.#loading -= 1;
      this.#threadChanged();
      this.emit("chatkit.thread.load.end", { threadId });
    }
  }

  /** The page's own way to another thread. Whoever is signed in may be another one than before. */
  async goTo(threadId: string | null): Promise<void> {
    if (threadId === null && this.#options.history?.enabled !== false) void this.#history.refresh();
    await this.show(threadId);
  }

  send(draft: Draft): Promise<boolean> {
    this.#view.toEnd();
    return this.#commands.send(draft);
  }

  dispatch(action: { type: string; payload?: Record<string, unknown> }, itemId: string | null): Promise<void> {
    return this.#commands.dispatch({ type: action.type, payload: action.payload ?? null }, itemId, true);
  }

  /** Throws ApiError. */
  async fetchUpdates(): Promise<void> {
    await Promise.all([this.#history.refresh(), this.conversation.refresh()]);
  }

  /** Shows the list of threads or puts it away. On a narrow element focus follows it. */
  toggleHistory(isOpen: boolean): void {
    if (this.#options.history?.enabled === false || isOpen === this.#isHistoryOpen) return;
    this.#isHistoryOpen = isOpen;
    this.#layOut();
    if (isOpen && this.#isNarrow) this.#history.focus();
    else if (this.#isNarrow) this.#header.focusMenu();
    this.emit(isOpen ? "chatkit.history.open" : "chatkit.history.close");
  }

  #events(): ConversationEvents {
    return {
      changed: () => this.#changed(),
      threadChanged: () => this.#threadChanged(),
      threadsChanged: () => {
        void this.#history.refresh();
        this.#tabs.tell({ type: "threads" });
      },
      runBegan: (threadId, runId) => this.#tabs.tell({ type: "run", threadId, runId }),
      refused: (error) => {
        this.#announcer.toast(error.message);
        this.emit("chatkit.error", { error });
      },
      effect: (name, data) => this.emit("chatkit.effect", { name, data }),
      answered: ({ content }) => {
        const text = textOf(content, "\n");
        this.#announcer.say(fill(this.#texts.shell.answered, { text }));
      },
      stopped: () => this.#announcer.say(this.#texts.items.stopped),
      responding: (isResponding) => this.emit(isResponding ? "chatkit.response.start" : "chatkit.response.end"),
      failed: (message) => this.emit("chatkit.error", { error: new Error(message) }),
      awaiting: (call) => void this.#commands.answerToolCall(call),
    };
  }

  get #texts(): Texts {
    return this.#locale.texts;
  }

  get #composerHost(): ComposerHost {
    return {
      texts: this.#texts,
      locale: this.#locale.tag,
      options: this.#options,
      api: this.api,
      announcer: this.#announcer,
      send: (draft) => this.send(draft),
      stop: () => void this.#commands.stop(),
      emit: this.emit,
    };
  }

  get #startScreenHost(): ConstructorParameters<typeof StartScreen>[0] {
    return {
      texts: this.#texts,
      options: this.#options,
      onPrompt: (content) => void this.#sendPrompt(content),
    };
  }

  async #sendPrompt(content: readonly UserContent[]): Promise<void> {
    const sending = this.send({ content, attachments: [], quotedText: null, inferenceOptions: {} });
    this.#composer.focus();
    await sending;
  }

  #changed(): void {
    this.#view.schedule();
    this.#showComposer();
  }

  #itemContext(): ConstructorParameters<typeof ThreadView>[0]["context"] {
    const locale = () => this.#locale;
    const options = () => this.#options;
    return {
      get texts() {
        return locale().texts;
      },
      get locale() {
        return locale().tag;
      },
      get options() {
        return options();
      },
      actions: this.#commands,
      announcer: this.#announcer,
      emit: this.emit,
    };
  }

  #showComposer(): void {
    const { status } = this.conversation.state;
    const stoppable = this.#stoppable;
    const { shell } = this.#texts;
    const blocked = status.type === "active" ? null : status.reason || shell[status.type];
    const canStop = stoppable.length > 0;
    const shown = { blocked, canStop, isStopping: canStop && stoppable.every(({ isStopping }) => isStopping) };
    // Each word of an answer comes by here.
    const key = JSON.stringify(shown);
    if (key === this.#composerShown) return;
    this.#composerShown = key;
    this.#composer.show(shown);
  }

  /** What Stop stops: the client tool call that is awaited, else the runs. */
  get #stoppable(): readonly { readonly isStopping: boolean }[] {
    const { awaited, runs } = this.conversation;
    return awaited !== null ? [awaited] : [...runs].filter((run) => run.allowCancel);
  }

  #threadChanged(): void {
    const { id, title, createdAt, status } = this.conversation.state;
    const name = id === null ? this.#texts.shell.newChat : titleOf(title, createdAt, this.#texts, this.#locale.tag);
    this.#header.show(name, status);
    this.#history.show(id, title);
    this.#showComposer();
    // Between two threads there is none, and that is no change.
    if (id === this.#threadId || (id === null && this.#loading > 0)) return;
    this.#threadId = id;
    this.emit("chatkit.thread.change", { threadId: id });
  }

  async #choose(threadId: string | null): Promise<void> {
    if (this.#isNarrow) this.toggleHistory(false);
    await this.#told(this.show(threadId));
    this.#composer.focus();
  }

  #heard(message: TabMessage): void {
    const isOpen = "threadId" in message && message.threadId === this.conversation.state.id;
    if (message.type !== "run") void this.#history.refresh();
    else if (isOpen) void this.#told(this.conversation.refresh());
    if (message.type === "deleted" && isOpen) void this.#choose(null);
  }

  #cameBack(): void {
    if (document.hidden || Date.now() - this.#syncedAtMs < SYNC_EVERY_MS) return;
    this.#syncedAtMs = Date.now();
    // Nobody asked for it: what fails is tried again at the next time.
    this.conversation.sync().catch((error) => this.emit("chatkit.error", { error }));
  }

  #key(event: KeyboardEvent): void {
    const isOfDialog = event.target instanceof Element && event.target.closest("dialog") !== null;
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || isOfDialog) return;
    if (this.#isNarrow && this.#isHistoryOpen) this.toggleHistory(false);
    else if (this.#stoppable.length > 0) void this.#commands.stop();
  }

  #resized(widthPx: number): void {
    const isNarrow = widthPx < NARROW_PX;
    if (isNarrow === this.#isNarrow) return;
    this.#isNarrow = isNarrow;
    this.#isHistoryOpen = !isNarrow;
    this.#layOut();
  }

  #layOut(): void {
    const isEnabled = this.#options.history?.enabled !== false;
    const isOver = isEnabled && this.#isNarrow && this.#isHistoryOpen;
    const { node } = this.#history;
    this.node.classList.toggle("narrow", this.#isNarrow);
    node.hidden = !isEnabled || (!this.#isNarrow && !this.#isHistoryOpen);
    node.classList.toggle("over", isOver);
    node.inert = this.#isNarrow && !isOver;
    this.#stage.inert = isOver;
    this.#backdrop.hidden = !isOver;
    this.#header.showHistory(isEnabled, this.#isHistoryOpen);
  }

  #setTexts(): void {
    this.#skip.textContent = this.#texts.shell.skip;
    this.node.lang = this.#locale.language;
    this.node.dir = this.#locale.direction;
  }

  /** What fails is told to the person and to the page. */
  async #told(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#announcer.toast(error.message);
      this.emit("chatkit.error", { error });
    }
  }
}

/** The `api` option; a plain fetch of the site's is looked up at each request, since sites make it anew at each render. */
function apiOptions(current: () => ChatKitOptions): { url: string; fetch?: typeof fetch } {
  const { api } = current();
  if (!("url" in api)) throw new TypeError("relaykit-chat needs options.api.url: a server of one's own.");
  const { url, fetch: given } = api;
  if (given === undefined || "resumeThread" in given) return { url, ...(given && { fetch: given }) };
  const latest: typeof fetch = (input, init) => {
    const now = current().api;
    return (("fetch" in now && now.fetch) || globalThis.fetch)(input, init);
  };
  return { url, fetch: latest };
}
