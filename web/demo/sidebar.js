import { ApiError } from "./api.js";
import { el } from "./dom.js";
import { icon } from "./icons.js";

const PAGE_THREADS = 30;
const NARROW = window.matchMedia("(max-width: 800px)");

/** The list of threads: open, rename, delete. On a narrow screen it slides over the conversation. */
export class Sidebar {
  #threads = new Map();
  #after = null;
  #current = null;
  #renaming = null;

  /** @param {{api: object, tabs: object, announcer: object, places: Record<string, HTMLElement>, onOpen: (id: string) => void, onDeleted: (id: string) => void}} parts */
  constructor({ api, tabs, announcer, places, onOpen, onDeleted }) {
    Object.assign(this, { api, tabs, announcer, places, onOpen, onDeleted });
    places.menu.append(icon("menu"));
    places.newThread.prepend(icon("plus"));
    places.menu.addEventListener("click", () => this.toggle(true));
    places.backdrop.addEventListener("click", () => this.toggle(false));
    places.more.addEventListener("click", () => this.#attempt(() => this.#load(this.#after)));
    NARROW.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  get isOver() {
    return NARROW.matches && this.places.sidebar.classList.contains("over");
  }

  /** Slides the list in or out on a narrow screen; focus follows. On a wide one it is always there. */
  toggle(open) {
    const { sidebar, backdrop, stage, menu, newThread } = this.places;
    const over = open && NARROW.matches;
    const wasOver = sidebar.classList.contains("over");
    sidebar.classList.toggle("over", over);
    sidebar.inert = NARROW.matches && !over;
    stage.inert = over;
    backdrop.hidden = !over;
    menu.setAttribute("aria-expanded", String(over));
    if (over) newThread.focus();
    else if (wasOver) menu.focus();
  }

  /** Loads the newest threads again. */
  async refresh() {
    await this.#attempt(() => this.#load(null));
  }

  async #load(after) {
    const page = await this.api.call("threads.list", { limit: PAGE_THREADS, order: "desc", after });
    if (!after) this.#threads.clear();
    for (const thread of page.data) this.#threads.set(thread.id, thread);
    this.#after = page.has_more ? page.after : null;
    this.#draw();
  }

  /** Shows which thread is open, with its newest title. */
  show(thread) {
    this.#current = thread?.id ?? null;
    const known = this.#threads.get(thread?.id);
    if (known) known.title = thread.title;
    this.#draw();
  }

  #draw() {
    if (this.#renaming) return;
    const { threads, more, none } = this.places;
    const focused = threads.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    threads.replaceChildren(...[...this.#threads.values()].map((thread) => this.#line(thread)));
    if (focused) threads.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    more.hidden = !this.#after;
    none.hidden = this.#threads.size > 0;
  }

  #line(thread) {
    const { id } = thread;
    const title = titleOf(thread);
    const current = id === this.#current;
    const open = el(
      "button",
      { type: "button", class: "thread-open", "data-key": `open:${id}`, "aria-current": current ? "page" : null, on: { click: () => this.onOpen(id) } },
      title,
    );
    const tool = (name, label, act) =>
      el("button", { type: "button", class: "icon-button small", "data-key": `${name}:${id}`, "aria-label": `${label} “${title}”`, on: { click: act } }, icon(name));
    const line = el("li", { class: `thread${current ? " current" : ""}` }, open);
    const rename = tool("write", "Rename", () => this.#rename(thread, line));
    line.append(el("span", { class: "thread-tools" }, rename, tool("trash", "Delete", () => this.#delete(thread))));
    return line;
  }

  #rename(thread, line) {
    const field = el("input", { class: "field", "aria-label": "New title", value: thread.title ?? "", maxlength: "200" });
    const finish = async (save) => {
      if (this.#renaming !== form) return;
      this.#renaming = null;
      const title = field.value.trim();
      if (save && title && title !== thread.title) {
        await this.#attempt(async () => {
          Object.assign(thread, await this.api.call("threads.update", { thread_id: thread.id, title }));
          this.tabs.threadsChanged();
        });
      }
      this.#draw();
      this.places.threads.querySelector(`[data-key="write:${CSS.escape(thread.id)}"]`)?.focus();
      if (thread.id === this.#current) this.places.title.textContent = titleOf(thread);
    };
    const submit = (event) => {
      event.preventDefault();
      finish(true);
    };
    const key = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      finish(false);
    };
    const form = el("form", { class: "rename", on: { submit, keydown: key } }, field);
    field.addEventListener("blur", () => finish(true));
    this.#renaming = form;
    line.replaceChildren(form);
    field.select();
  }

  async #delete(thread) {
    const { confirm, confirmText } = this.places;
    confirmText.textContent = `“${titleOf(thread)}” and all its messages will be gone.`;
    confirm.returnValue = "cancel";
    confirm.showModal();
    await new Promise((resolve) => confirm.addEventListener("close", resolve, { once: true }));
    if (confirm.returnValue !== "delete") return;
    await this.#attempt(async () => {
      await this.api.call("threads.delete", { thread_id: thread.id });
      this.#threads.delete(thread.id);
      this.#draw();
      this.announcer.say("Deleted");
      this.tabs.threadDeleted(thread.id);
      this.onDeleted(thread.id);
    });
  }

  async #attempt(work) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.announcer.toast(error.message);
    }
  }
}

/** What a thread is called where it has no title. */
export function titleOf({ title, created_at: created }) {
  if (title) return title;
  const when = created ? new Date(created) : null;
  if (!when || Number.isNaN(when.getTime())) return "New conversation";
  return `Conversation, ${when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`;
}
