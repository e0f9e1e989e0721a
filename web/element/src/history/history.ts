import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Thread } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import type { Announcer } from "../ui/announcer.js";
import type { Confirm } from "../ui/confirm.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { FAILED, reportFailure } from "../ui/report_failure.js";
import { dateGroups } from "./date_groups.js";
import { PAGE_THREADS, ThreadLoader } from "./loader.js";
import { Search } from "./search.js";
import { renameForm, threadLine } from "./thread_line.js";
import { type MarkedThreads, ThreadMarks } from "./thread_marks.js";
import { matches, titleOf } from "./titles.js";

/** The current options and texts of the element, and the listeners of the list. */
export interface HistoryHost {
  readonly api: Api;
  readonly confirm: Confirm;
  readonly announcer: Announcer;
  readonly options: () => ChatKitOptions;
  readonly texts: () => Texts;
  readonly locale: () => string;
  /** The person chose a thread; null is a new one. */
  readonly chosen: (threadId: string | null) => void;
  readonly renamed: (thread: Thread) => void;
  readonly deleted: (threadId: string) => void;
  /** Another thread is running, or finished unseen, than before. */
  readonly marked: (marked: MarkedThreads) => void;
  readonly failed: (error: unknown) => void;
  /** Aborts when the chat ends. */
  readonly signal: AbortSignal;
}

/** The list of threads, in which the person finds, opens, renames and deletes them. */
export class History {
  readonly #new = el("button", { id: "new-thread", class: "button secondary block", type: "button" });
  readonly #search: Search;
  readonly #groups = el("div", { class: "thread-groups" });
  readonly #note = el("p", { id: "no-threads", class: "quiet-note", role: "status", hidden: true });
  readonly #more = el("button", { id: "more-threads", class: "button quiet block", type: "button", hidden: true });
  readonly #list = el("div", { id: "threads", class: "threads" }, this.#groups, this.#note, this.#more);
  readonly #slot = el("slot", { name: "history-footer" });
  readonly #foot = el("div", { class: "sidebar-foot", hidden: true }, this.#slot);
  readonly node: HTMLElement;
  readonly #marks: ThreadMarks;
  readonly #loader: ThreadLoader;
  /** The number of threads that are drawn at most. */
  #limit = PAGE_THREADS;
  #current: string | null = null;
  #currentTitle: string | null = null;
  #renaming: HTMLFormElement | null = null;

  constructor(private readonly host: HistoryHost) {
    this.#loader = new ThreadLoader({ ...host, changed: () => this.draw() });
    const marked = (threads: MarkedThreads) => {
      host.marked(threads);
      this.draw();
    };
    this.#marks = new ThreadMarks(host.api, marked, host.signal);
    this.#search = new Search(host.texts, () => this.#searched());
    const head = el("div", { class: "sidebar-head" }, this.#new, this.#search.node);
    this.node = el("nav", { id: "sidebar", class: "sidebar" }, head, this.#list, this.#foot);
    this.#slot.addEventListener("slotchange", () => {
      this.#foot.hidden = this.#slot.assignedNodes().length === 0;
    });
    this.#new.addEventListener("click", () => host.chosen(null));
    this.#more.addEventListener("click", () => void this.#showOlder());
    this.setTexts();
  }

  setTexts(): void {
    const { shell } = this.host.texts();
    this.node.setAttribute("aria-label", shell.history);
    this.#new.replaceChildren(icon("plus"), shell.newChat);
    this.#more.textContent = shell.historyMore;
    this.#search.setTexts();
    this.draw();
  }

  focus(): void {
    this.#new.focus();
  }

  /** Shows which thread is open or being loaded, with its newest title. */
  show(id: string | null, title: string | null): void {
    const known = id === null ? undefined : this.#loader.list.find(id);
    const isNews = id !== this.#current || title !== this.#currentTitle;
    if (isNews && known !== undefined && title !== null && title !== known.title) this.put({ ...known, title });
    this.#current = id;
    this.#currentTitle = title;
    if (id !== null) this.#marks.seen(id);
    this.draw();
  }

  /** Marks the open thread: its turn goes on, or the person sees that it is over. */
  mark(threadId: string, isResponding: boolean): void {
    this.#marks.mark(threadId, isResponding);
  }

  /** Marks a thread that is not open, and in which a run goes on, until that has ended. */
  watch(threadId: string): void {
    this.#marks.watch(threadId);
  }

  /** The person has come back to the page, and sees the open thread. */
  seen(): void {
    if (this.#current !== null) this.#marks.seen(this.#current);
  }

  /** The name of a known thread; null for one that the list has not loaded. */
  nameOf(id: string): string | null {
    const thread = this.#loader.list.find(id);
    return thread === undefined ? null : this.#titleOf(thread);
  }

  /** Loads the newest threads again, where the list is shown at all. */
  async refresh(): Promise<void> {
    if (this.host.options().history?.enabled !== false) await this.#loader.refresh();
  }

  /** Takes a thread that this page has created or changed. */
  put(thread: Thread): void {
    this.#loader.put(thread);
  }

  /** A message was sent to the thread. */
  used(threadId: string): void {
    this.#loader.used(threadId);
  }

  /** Forgets a thread that was deleted elsewhere. */
  remove(threadId: string): void {
    this.#marks.forget(threadId);
    this.#loader.remove(threadId);
  }

  async #showOlder(): Promise<void> {
    const loader = this.#loader;
    this.#limit += PAGE_THREADS;
    if (this.#found.length < this.#limit && loader.list.after !== null) {
      await (this.#search.query === "" ? loader.loadOlder() : this.#searched());
    }
    this.draw();
  }

  /** Loads older threads until enough of them have the words, or the list is at its end. */
  async #searched(): Promise<void> {
    const loader = this.#loader;
    const { query } = this.#search;
    const isOver = () => query === "" || query !== this.#search.query;
    this.#limit = query === "" ? PAGE_THREADS : this.#limit;
    this.draw();
    await loader.searchOlder(() => isOver() || this.#found.length >= this.#limit);
    this.draw();
  }

  /** The threads that have the words of the search; all without a search. */
  get #found(): readonly Thread[] {
    const { query } = this.#search;
    const { threads } = this.#loader.list;
    return query === "" ? threads : threads.filter((thread) => matches(this.#titleOf(thread), query));
  }

  draw(): void {
    if (this.#renaming !== null) return;
    const { list } = this.#loader;
    const focused = this.#focusedKey;
    const found = this.#found;
    const shown = found.slice(0, this.#limit);
    const groups = dateGroups(shown, new Date(), this.host.texts(), this.host.locale());
    this.#groups.replaceChildren(
      ...groups.map(({ name, threads }, at) => {
        const heading = name === null ? null : el("p", { id: `threads-${at}`, class: "threads-date" }, name);
        const label = heading === null ? null : heading.id;
        const lines = threads.map((thread) => this.#line(thread));
        return el("div", {}, heading, el("ul", { "aria-labelledby": label }, lines));
      }),
    );
    if (focused !== null) this.#focusKey(focused);
    this.#more.hidden = list.after === null && found.length <= shown.length;
    this.#search.node.hidden = !this.#isSearchable;
    this.#drawNote(shown.length);
  }

  /** A few threads are found by looking at them. */
  get #isSearchable(): boolean {
    const { list } = this.#loader;
    return this.#search.query !== "" || list.after !== null || list.threads.length > FEW_THREADS;
  }

  #drawNote(count: number): void {
    const { shell } = this.host.texts();
    const { list, isUnreached, isLoadingOlder } = this.#loader;
    this.#list.setAttribute("aria-busy", String(!list.isLoaded));
    const isSearching = this.#search.query !== "";
    const words = !list.isLoaded
      ? isUnreached
        ? shell.loadingUnreached
        : shell.loading
      : !isSearching
        ? shell.historyEmpty
        : isLoadingOlder
          ? shell.searching
          : shell.notFound;
    this.#note.hidden = count > 0;
    if (this.#note.textContent !== words) this.#note.textContent = words;
  }

  get #focusedKey(): string | null {
    const focused = this.#groups.querySelector(":focus");
    return focused instanceof HTMLElement ? (focused.dataset.key ?? null) : null;
  }

  #focusKey(key: string): void {
    this.#groups.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  #titleOf(thread: Thread): string {
    return titleOf(thread.title, thread.created_at, this.host.texts(), this.host.locale());
  }

  #line(thread: Thread): HTMLElement {
    const { showRename = true, showDelete = true } = this.host.options().history ?? {};
    const shown = {
      thread,
      title: this.#titleOf(thread),
      isCurrent: thread.id === this.#current,
      mark: this.#marks.of(thread.id),
      open: () => this.host.chosen(thread.id),
      rename: showRename ? (line: HTMLElement) => this.#rename(thread, line) : null,
      remove: showDelete ? () => void this.#delete(thread) : null,
    };
    return threadLine(shown, this.host.texts());
  }

  #rename(thread: Thread, line: HTMLElement): void {
    const form = renameForm(thread.title, this.host.texts(), async (title, byKey) => {
      this.#renaming = null;
      if (title !== null) {
        const renamed = await reportFailure(this.#loader.rename(thread.id, title), this.host);
        if (renamed !== FAILED) this.host.renamed(renamed);
      }
      this.draw();
      if (byKey) this.#focusKey(`write:${thread.id}`);
    });
    this.#renaming = form;
    line.replaceChildren(form);
    form.querySelector("input")?.select();
  }

  async #delete(thread: Thread): Promise<void> {
    const { announcer, confirm, texts } = this.host;
    const loader = this.#loader;
    const { shell } = texts();
    const isConfirmed = await confirm.ask({
      title: shell.deleteTitle,
      text: fill(shell.deleteText, { title: this.#titleOf(thread) }),
      confirm: shell.deleteConfirm,
      cancel: shell.cancel,
    });
    if (!isConfirmed) return;
    const next = this.#neighbourOf(thread);
    if ((await reportFailure(loader.delete(thread.id), this.host)) === FAILED) return;
    this.remove(thread.id);
    if (next === null) this.focus();
    else this.#focusKey(`open:${next.id}`);
    announcer.say(shell.deleted);
    this.host.deleted(thread.id);
  }

  /** The thread that the focus moves to where this one goes. */
  #neighbourOf({ id }: Thread): Thread | null {
    const found = this.#found.slice(0, this.#limit);
    const at = found.findIndex((thread) => thread.id === id);
    return found[at + 1] ?? found[at - 1] ?? null;
  }
}

const FEW_THREADS = 7;
