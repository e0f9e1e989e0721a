import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Page, Thread } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import type { Announcer } from "../ui/announcer.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { FAILED, reportFailure } from "../ui/report_failure.js";

const PAGE_THREADS = 30;

/** The current options and texts of the element, and the listeners of the list. */
export interface HistoryHost {
  readonly api: Api;
  readonly announcer: Announcer;
  readonly options: () => ChatKitOptions;
  readonly texts: () => Texts;
  readonly locale: () => string;
  /** The person chose a thread; null is a new one. */
  readonly chosen: (threadId: string | null) => void;
  readonly renamed: (thread: Thread) => void;
  readonly deleted: (threadId: string) => void;
  readonly failed: (error: unknown) => void;
}

/** The list of threads, in which the person opens, renames and deletes them. */
export class History {
  readonly #new = el("button", { id: "new-thread", class: "button secondary block", type: "button" });
  readonly #list = el("ul", { id: "threads", class: "threads" });
  readonly #none = el("p", { id: "no-threads", class: "quiet-note", hidden: true });
  readonly #more = el("button", { id: "more-threads", class: "button quiet block", type: "button", hidden: true });
  readonly #confirm = el("dialog", { class: "panel dialog", "aria-labelledby": "confirm-title" });
  readonly #slot = el("slot", { name: "history-footer" });
  readonly #foot = el("div", { class: "sidebar-foot", hidden: true }, this.#slot);
  readonly node = el(
    "nav",
    { id: "sidebar", class: "sidebar" },
    el("div", { class: "sidebar-head" }, this.#new),
    this.#list,
    this.#none,
    this.#more,
    this.#foot,
    this.#confirm,
  );
  readonly #threads = new Map<string, Thread>();
  #after: string | null = null;
  #current: string | null = null;
  #renaming: HTMLElement | null = null;

  constructor(private readonly host: HistoryHost) {
    this.#slot.addEventListener("slotchange", () => {
      this.#foot.hidden = this.#slot.assignedNodes().length === 0;
    });
    this.#new.addEventListener("click", () => host.chosen(null));
    this.#more.addEventListener("click", () => void reportFailure(this.#load(this.#after), this.host));
    this.setTexts();
  }

  setTexts(): void {
    const { shell } = this.host.texts();
    this.node.setAttribute("aria-label", shell.history);
    this.#new.replaceChildren(icon("plus"), shell.newChat);
    this.#none.textContent = shell.historyEmpty;
    this.#more.textContent = shell.historyMore;
    this.#draw();
  }

  focus(): void {
    this.#new.focus();
  }

  /** Loads the newest threads again. */
  async refresh(): Promise<void> {
    await reportFailure(this.#load(null), this.host);
  }

  async #load(after: string | null): Promise<void> {
    const params = { limit: PAGE_THREADS, order: "desc", after };
    const page = await this.host.api.call<Page<Thread>>("threads.list", params);
    if (after === null) this.#threads.clear();
    for (const thread of page.data) {
      if (typeof thread?.id !== "string") continue;
      const title = typeof thread.title === "string" ? thread.title : null;
      this.#threads.set(thread.id, { ...thread, title });
    }
    this.#after = page.has_more === true ? (page.after ?? null) : null;
    this.#draw();
  }

  /** Shows which thread is open, with its newest title. */
  show(id: string | null, title: string | null): void {
    this.#current = id;
    const known = id === null ? undefined : this.#threads.get(id);
    if (known !== undefined) this.#threads.set(known.id, { ...known, title });
    this.#draw();
  }

  #draw(): void {
    if (this.#renaming !== null) return;
    const focused = this.#focusedKey;
    this.#list.replaceChildren(...[...this.#threads.values()].map((thread) => this.#line(thread)));
    if (focused !== null) this.#focusKey(focused);
    this.#more.hidden = this.#after === null;
    this.#none.hidden = this.#threads.size > 0;
  }

  get #focusedKey(): string | null {
    const focused = this.#list.querySelector(":focus");
    return focused instanceof HTMLElement ? (focused.dataset.key ?? null) : null;
  }

  #focusKey(key: string): void {
    this.#list.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  #titleOf(thread: Thread): string {
    return titleOf(thread.title, thread.created_at, this.host.texts(), this.host.locale());
  }

  #line(thread: Thread): HTMLElement {
    const { id } = thread;
    const { shell } = this.host.texts();
    const { showRename = true, showDelete = true } = this.host.options().history ?? {};
    const title = this.#titleOf(thread);
    const isCurrent = id === this.#current;
    const open = el(
      "button",
      {
        type: "button",
        class: "thread-open",
        "data-key": `open:${id}`,
        "aria-current": isCurrent ? "page" : null,
        on: { click: () => this.host.chosen(id) },
      },
      title,
    );
    const line = el("li", { class: `thread${isCurrent ? " current" : ""}` }, open);
    const tool = (name: string, label: string, act: () => void) =>
      el(
        "button",
        {
          type: "button",
          class: "icon-button small",
          "data-key": `${name}:${id}`,
          "aria-label": fill(label, { title }),
          on: { click: act },
        },
        icon(name),
      );
    const tools = el("span", { class: "thread-tools" });
    if (showRename) tools.append(tool("write", shell.rename, () => this.#rename(thread, line)));
    if (showDelete) tools.append(tool("trash", shell.delete, () => void this.#delete(thread)));
    line.append(tools);
    return line;
  }

  #rename(thread: Thread, line: HTMLElement): void {
    const { shell } = this.host.texts();
    const value = thread.title ?? "";
    const field = el("input", { class: "field", "aria-label": shell.renameField, value, maxlength: "200" });
    const finish = async (isKept: boolean, by: "key" | "blur") => {
      if (this.#renaming !== form) return;
      this.#renaming = null;
      const title = field.value.trim();
      if (isKept && title !== "" && title !== thread.title)
        await reportFailure(this.#retitle(thread.id, title), this.host);
      this.#draw();
      if (by === "key") this.#focusKey(`write:${thread.id}`);
    };
    const submit = (event: Event) => {
      event.preventDefault();
      void finish(true, "key");
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      void finish(false, "key");
    };
    const form = el("form", { class: "rename", on: { submit, keydown: key } }, field);
    field.addEventListener("blur", () => void finish(true, "blur"));
    this.#renaming = form;
    line.replaceChildren(form);
    field.select();
  }

  async #retitle(id: string, title: string): Promise<void> {
    const thread = await this.host.api.call<Thread>("threads.update", { thread_id: id, title });
    this.#threads.set(id, thread);
    this.host.renamed(thread);
  }

  async #delete(thread: Thread): Promise<void> {
    if (!(await this.#isConfirmed(thread))) return;
    const { api, announcer, texts, deleted } = this.host;
    const deleting = api.call("threads.delete", { thread_id: thread.id });
    if ((await reportFailure(deleting, this.host)) === FAILED) return;
    const ids = [...this.#threads.keys()];
    const at = ids.indexOf(thread.id);
    this.#threads.delete(thread.id);
    this.#draw();
    // The button that had the focus is gone: the next thread gets it, or the one before where there is none.
    const next = ids[at + 1] ?? ids[at - 1];
    if (next === undefined) this.focus();
    else this.#focusKey(`open:${next}`);
    announcer.say(texts().shell.deleted);
    deleted(thread.id);
  }

  async #isConfirmed(thread: Thread): Promise<boolean> {
    const { shell } = this.host.texts();
    const button = (look: string, value: string, label: string) =>
      el("button", { class: `button ${look}`, value }, label);
    const cancel = button("secondary", "cancel", shell.cancel);
    this.#confirm.replaceChildren(
      el(
        "form",
        { method: "dialog" },
        el("h2", { id: "confirm-title" }, shell.deleteTitle),
        el("p", {}, fill(shell.deleteText, { title: this.#titleOf(thread) })),
        el("div", { class: "dialog-buttons" }, cancel, button("danger", "delete", shell.deleteConfirm)),
      ),
    );
    this.#confirm.returnValue = "cancel";
    this.#confirm.showModal();
    cancel.focus();
    await new Promise((resolve) => this.#confirm.addEventListener("close", resolve, { once: true }));
    return this.#confirm.returnValue === "delete";
  }
}

/** The name of a thread: its title, or else the time at which it began. */
export function titleOf(
  title: string | null | undefined,
  createdAt: string | null | undefined,
  { shell }: Texts,
  locale: string,
): string {
  if (title) return title;
  const at = createdAt ? new Date(createdAt) : null;
  if (at === null || Number.isNaN(at.getTime())) return shell.newChat;
  return fill(shell.untitled, { when: at.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" }) });
}
