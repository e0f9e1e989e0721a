import { Commands } from "./commands/commands.js";
import { Composer } from "./composer/composer.js";
import { draftsOf } from "./composer/drafts/index.js";
import { type ComposerHost, type Draft, summaryOf } from "./composer/host.js";
import { composerState, stoppable } from "./composer/status.js";
import { Conversation } from "./conversation.js";
import { History } from "./history/history.js";
import { apiOptions, type ElementOptions } from "./options.js";
import { Api } from "./server/api.js";
import type { UserContent } from "./server/protocol.js";
import { Header } from "./shell/header.js";
import { Layout } from "./shell/layout.js";
import { Navigation } from "./shell/navigation.js";
import { pageEvents } from "./shell/page_events.js";
import { whenReturned } from "./shell/page_return.js";
import { StartScreen } from "./shell/start_screen.js";
import { Tabs } from "./shell/tabs.js";
import { ThreadNews } from "./shell/thread_news.js";
import { threadTitle } from "./shell/thread_title.js";
import type { Locale } from "./texts/locale.js";
import type { ConversationEvents } from "./thread/events.js";
import { ThreadView } from "./thread/view.js";
import { lookOf, reachOf } from "./thread/view_host.js";
import { Announcer } from "./ui/announcer.js";
import { Confirm } from "./ui/confirm.js";
import { ImageViewer } from "./ui/image_viewer.js";
import { reportFailure } from "./ui/report_failure.js";

type Emit = (type: string, detail?: unknown) => void;

/** The chat inside the element: makes the parts and connects them. */
export class Chat {
  readonly api: Api;
  readonly conversation: Conversation;
  readonly composer: Composer;
  readonly #navigation: Navigation;
  readonly #commands: Commands;
  readonly #viewer: ImageViewer;
  readonly #announcer = new Announcer();
  readonly #confirm = new Confirm();
  readonly #header: Header;
  readonly #history: History;
  readonly #view: ThreadView;
  readonly #startScreen: StartScreen;
  readonly #layout: Layout;
  readonly #tabs: Tabs;
  readonly #news: ThreadNews;
  readonly #leaving = new AbortController();
  #options: ElementOptions;
  #locale: Locale;

  /** @param emit an event of the element */
  constructor(
    options: ElementOptions,
    locale: Locale,
    private readonly emit: Emit,
  ) {
    this.#options = options;
    this.#locale = locale;
    const tag = () => this.#locale.tag;
    const texts = () => this.#locale.texts;
    const current = () => this.#options;
    this.api = new Api(apiOptions(current), texts, tag, (request) => this.#log("request.end", { ...request }));
    this.conversation = new Conversation(this.api, this.#events());
    this.#navigation = new Navigation({
      conversation: this.conversation,
      emit,
      onLoaded: () => this.#threadChanged(),
    });
    const told = { announcer: this.#announcer, confirm: this.#confirm, failed: this.#failed };
    const shared = { ...told, api: this.api, options: current, texts, signal: this.#leaving.signal };
    this.#viewer = new ImageViewer(texts);
    this.#commands = new Commands({
      ...shared,
      conversation: this.conversation,
      viewer: this.#viewer,
      giveBack: (draft) => this.composer.giveBack(draft),
      focusComposer: () => this.composer.focus(),
      changedThread: (threadId, runId) => this.#tabs.post({ type: "run", threadId, runId }),
    });
    this.#startScreen = new StartScreen({ ...shared, onPrompt: (content) => void this.#sendPrompt(content) });
    this.#header = new Header({
      ...shared,
      toggleHistory: () => this.toggleHistory(!this.#layout.isHistoryOpen),
      newThread: () => void this.#choose(null),
    });
    this.#history = new History({
      ...shared,
      locale: tag,
      chosen: (threadId) => void this.#choose(threadId),
      renamed: (thread) => this.#news.renamed(thread),
      deleted: (threadId) => this.#news.deleted(threadId),
      marked: (marks) => emit("relaykit.runs", marks),
    });
    this.#view = new ThreadView({
      ...lookOf(() => this.#locale, current, { actions: this.#commands, announcer: this.#announcer, emit }),
      ...reachOf(this.api),
      conversation: this.conversation,
      loadEarlier: () => this.#reportFailure(this.conversation.loadEarlier()),
      startScreen: this.#startScreen.node,
      quote: (text) => this.composer.quote(text),
      signal: this.#leaving.signal,
    });
    this.composer = new Composer(this.#composerHost, draftsOf(options, apiOptions(current).url));
    this.#layout = new Layout({
      ...shared,
      header: this.#header,
      history: this.#history,
      view: this.#view.node,
      composer: this.composer.node,
      emit,
      onSkip: () => this.composer.focus(),
    });
    this.#tabs = new Tabs(apiOptions(current).url, (message) => this.#news.onTabMessage(message));
    this.#news = new ThreadNews({
      conversation: this.conversation,
      history: this.#history,
      tabs: this.#tabs,
      threadId: () => this.threadId,
      leaveThread: () => void this.#choose(null),
      forgetDraft: (threadId) => this.composer.forget(threadId),
      threadChanged: () => this.#threadChanged(),
      reportFailure: (work) => this.#reportFailure(work),
    });
    this.node.append(this.#viewer.node);
    this.composer.takeFilesFrom(this.node);
    this.#listen(this.#leaving.signal);
    this.#layout.setTexts(locale);
    this.#threadChanged();
  }

  #listen(signal: AbortSignal): void {
    this.node.addEventListener("keydown", (event) => this.#key(event));
    // A failure is not shown to the person, because the next return to the page tries again.
    whenReturned(() => this.conversation.sync().catch(this.#failed), signal);
    document.addEventListener("visibilitychange", () => document.hidden || this.#history.seen(), { signal });
    const { connection } = this.api.fetch;
    const unsubscribe = connection.subscribe(() => {
      this.#log("connection.change", { state: connection.state });
      this.#view.schedule();
    });
    for (const type of ["online", "offline"]) window.addEventListener(type, () => this.#view.schedule(), { signal });
    signal.addEventListener("abort", unsubscribe);
  }

  get node(): HTMLElement {
    return this.#layout.node;
  }

  /** Shows the first thread and the list of all. */
  start(threadId: string | null): Promise<void> {
    void this.#history.refresh();
    return this.#reportFailure(this.show(threadId));
  }

  /** Ends the chat. It stops no run. */
  end(): void {
    this.#leaving.abort();
    this.#layout.end();
    this.#tabs.close();
    this.conversation.clear();
    this.composer.end();
  }

  setOptions(options: ElementOptions, locale: Locale): void {
    const hadHistory = this.#options.history?.enabled !== false;
    this.#options = options;
    if (!hadHistory) void this.#history.refresh();
    this.#locale = locale;
    this.#layout.setTexts(locale);
    this.#header.setOptions();
    this.#history.setTexts();
    this.#startScreen.setOptions();
    this.composer.setOptions(this.#composerHost);
    this.#view.setTexts();
    this.#threadChanged();
    this.#layout.update();
  }

  /** The open thread, or the one that is being loaded. */
  get threadId(): string | null {
    return this.#navigation.threadId;
  }

  /** Opens a thread, or a new one for null. Throws ApiError; the chat then shows an empty thread. */
  show(threadId: string | null): Promise<void> {
    return this.#navigation.show(threadId);
  }

  /** Opens the thread that the page chose. The list is loaded again because another user may be signed in. */
  async goTo(threadId: string | null): Promise<void> {
    if (threadId === null) void this.#history.refresh();
    await this.show(threadId);
  }

  send(draft: Draft): Promise<boolean> {
    this.#view.toEnd();
    this.#log("composer.submit", { thread_id: this.threadId, ...summaryOf(draft) });
    return this.#commands.send(draft);
  }

  async dispatch(action: { type: string; payload?: Record<string, unknown> }, itemId: string | null): Promise<boolean> {
    const { signal, opening } = this.conversation;
    // An action goes to the thread that is being loaded, and to no other where the page leaves it or it is not there.
    const id = await this.conversation.threadId();
    if (signal.aborted || (opening !== null && id === null)) return false;
    return this.#commands.dispatch({ type: action.type, payload: action.payload ?? null }, itemId, true);
  }

  /** Throws ApiError. */
  async fetchUpdates(): Promise<void> {
    await Promise.all([this.#history.refresh(), this.conversation.refresh()]);
  }

  /** Shows or hides the list of threads. In a narrow element the focus follows it. */
  toggleHistory(isOpen: boolean): void {
    this.#layout.toggleHistory(isOpen);
  }

  #events(): ConversationEvents {
    const told = pageEvents(this.emit, this.#announcer, () => this.#locale.texts);
    return {
      ...told,
      responding: (isResponding) => {
        told.responding(isResponding);
        this.#news.mark();
      },
      changed: () => {
        this.#view.schedule();
        this.#showComposer();
      },
      threadChanged: () => this.#threadChanged(),
      threadsChanged: (thread) => this.#news.threadsChanged(thread),
      runBegan: (threadId, runId) => this.#news.runBegan(threadId, runId),
      leftRunning: (threadId) => this.#news.leftRunning(threadId),
      awaiting: (call) => void this.#commands.answerToolCall(call),
    };
  }

  /** Tells the page an error. */
  readonly #failed = (error: unknown): void => this.emit("chatkit.error", { error });

  /** Tells the page what happens, without a word of the conversation. */
  #log(name: string, data: Record<string, unknown>): void {
    this.emit("chatkit.log", { name, data });
  }

  get #composerHost(): ComposerHost {
    return {
      texts: this.#locale.texts,
      locale: this.#locale.tag,
      options: this.#options,
      api: this.api,
      announcer: this.#announcer,
      send: (draft) => this.send(draft),
      stop: () => void this.#commands.stop(),
      emit: this.emit,
    };
  }

  async #sendPrompt(content: readonly UserContent[]): Promise<void> {
    const sending = this.send({ content, attachments: [], quotedText: null, inferenceOptions: {} });
    this.composer.focus();
    await sending;
  }

  #showComposer(): void {
    this.composer.show(composerState(this.conversation.state.status, this.conversation, this.#locale.texts));
  }

  #threadChanged(): void {
    const { state, opening } = this.conversation;
    this.composer.open(this.threadId, opening === null && state.id === this.threadId);
    const nameOf = (threadId: string) => this.#history.nameOf(threadId);
    this.#header.show(threadTitle(this.conversation, nameOf, this.#locale.texts, this.#locale.tag), state.status);
    this.#history.show(opening?.id ?? state.id, opening === null ? state.title : null);
    this.#news.mark();
    this.#showComposer();
    this.#navigation.reportThread();
  }

  async #choose(threadId: string | null): Promise<void> {
    this.#layout.closeHistoryOver();
    const showing = this.#reportFailure(this.show(threadId));
    // The focus does not wait for the thread, which takes messages while it is being loaded.
    this.composer.focus();
    await showing;
  }

  #key(event: KeyboardEvent): void {
    const isOfDialog = event.target instanceof Element && event.target.closest("dialog") !== null;
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || isOfDialog) return;
    if (this.#layout.isHistoryOver) this.toggleHistory(false);
    else if (stoppable(this.conversation).length > 0) void this.#commands.stop();
  }

  async #reportFailure(work: Promise<unknown>): Promise<void> {
    await reportFailure(work, { announcer: this.#announcer, failed: this.#failed });
  }
}
