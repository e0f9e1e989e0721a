import { undrawnView, viewOf } from "../items/views.js";
import type { Shown } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { LoadingView } from "./loading_view.js";
import { QuoteButton } from "./quote_button.js";
import type { ThreadState } from "./state.js";
import type { Progressing, ThreadViewHost } from "./view_host.js";

/** Scrolling down to a place that is nearer to the end than this begins the following again. */
const STICKY_PX = 80;
/** What is this near to the end is at the end. */
const END_PX = 2;
/** After a drawing that took longer than this, the next waits so many times as long: scrolling and typing go first. */
const LONG_MS = 5;
const REST_TIMES = 2;
/** The longest such wait: what comes meanwhile has to be drawn too, and would make the next drawing longer still. */
const MAX_REST_MS = 100;
/** The wait before drawing in a hidden tab, which gets no animation frames. */
const HIDDEN_MS = 100;

type Drawn = ItemView & { item: Shown; open: boolean };

/**
 * Draws the open thread. Changes of one frame are drawn together, and an item that did not change is not touched. Each
 * item is drawn by itself: one that cannot be drawn gets a placeholder, and the others are shown.
 */
export class ThreadView {
  readonly log = el("div", { id: "log", class: "log", role: "log", "aria-live": "off" });
  readonly #heading = el("h2", { class: "unseen" });
  readonly #progress = el("div", { id: "progress", class: "progress", role: "status", hidden: true });
  readonly #loading = new LoadingView();
  readonly #earlier = el("button", { id: "earlier", class: "button quiet", type: "button", hidden: true });
  readonly #latest = el(
    "button",
    { id: "latest", class: "icon-button latest", type: "button", hidden: true },
    icon("down"),
  );
  readonly #quote: QuoteButton;
  readonly #scroller: HTMLElement;
  readonly node: HTMLElement;
  readonly #views = new Map<string, Drawn>();
  #drawn: ThreadState | null = null;
  /** The parts of items that could not be drawn, and of which the page was told. */
  readonly #undrawn = new Set<string>();
  #look = "";
  #isScheduled = false;
  #isSticky = true;
  /** Where the view was scrolled to when it was last looked at. */
  #top = 0;
  /** The time before which nothing is drawn. */
  #restsUntil = 0;
  /** Whether the next drawing scrolls to the end, also where the site has turned following off. */
  #isEndDue = true;

  constructor(private readonly host: ThreadViewHost) {
    const parts = [this.#earlier, host.startScreen, this.#heading, this.#loading.node, this.log, this.#progress];
    this.#scroller = el(
      "div",
      { id: "scroller", class: "scroller", tabindex: "0", role: "group" },
      el("div", { class: "column" }, parts),
    );
    this.#quote = new QuoteButton(this.log, host.quote, host.signal);
    const over = [this.#latest, this.#quote.node];
    this.node = el("div", { id: "conversation", class: "conversation" }, this.#scroller, over);
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#latest.addEventListener("click", () => this.toEnd());
    this.#earlier.addEventListener("click", () => void this.#showEarlier());
    new ResizeObserver(() => this.#follow()).observe(this.log);
    this.setTexts();
  }

  /** Applies new texts. Items are drawn again where `look` has changed, and the view keeps its place. */
  setTexts(): void {
    const { shell } = this.host.context.texts;
    this.#heading.textContent = shell.messages;
    for (const part of [this.#scroller, this.log]) part.setAttribute("aria-label", shell.messages);
    this.#earlier.textContent = shell.earlier;
    this.#latest.setAttribute("aria-label", shell.latest);
    this.#quote.setText(this.host.context.texts.items.quote);
    const look = this.host.look();
    if (look !== this.#look) {
      this.#look = look;
      this.#views.clear();
      this.log.replaceChildren();
    }
    this.schedule();
  }

  /** Scrolls to the newest message and follows it. */
  toEnd(): void {
    this.#isSticky = true;
    this.#isEndDue = true;
    this.schedule();
  }

  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const draw = () => {
      this.#isScheduled = false;
      const beganAt = performance.now();
      this.#draw();
      const endedAt = performance.now();
      const took = endedAt - beganAt;
      this.#restsUntil = took > LONG_MS ? endedAt + Math.min(MAX_REST_MS, REST_TIMES * took) : 0;
    };
    const rest = this.#restsUntil - performance.now();
    if (document.hidden) setTimeout(draw, HIDDEN_MS);
    else if (rest > 0) setTimeout(() => requestAnimationFrame(draw), rest);
    else requestAnimationFrame(draw);
  }

  #draw(): void {
    const { state, runs, awaited, opening } = this.host.conversation;
    if (this.#drawn !== state) this.#reset(state);
    this.#drawItems(state);
    this.#drawProgress([...runs].findLast((run) => !run.isWaiting) ?? awaited ?? [...runs].at(-1) ?? null);
    this.#loading.show(opening, this.host.isOffline(), this.host.context.texts);
    this.log.setAttribute("aria-busy", String(opening !== null));
    this.host.startScreen.hidden = opening !== null || state.id !== null || state.items.size > 0;
    this.#earlier.hidden = !state.hasEarlier;
    this.#follow();
    this.#isEndDue = false;
  }

  #reset(state: ThreadState): void {
    this.#drawn = state;
    this.#undrawn.clear();
    this.#views.clear();
    this.log.replaceChildren();
    this.#isSticky = true;
    this.#isEndDue = true;
  }

  #drawItems(state: ThreadState): void {
    for (const [id, view] of this.#views) {
      if (state.items.has(id)) continue;
      view.node.remove();
      this.#views.delete(id);
    }
    let place = this.log.firstChild;
    for (const item of state.items.values()) {
      const before = this.#views.get(item.id)?.node;
      const node = this.#nodeOf(item, state);
      if (node === null) continue;
      if (before !== undefined && before !== node) {
        before.replaceWith(node);
        if (before === place) place = node;
      }
      if (node === place) place = node.nextSibling;
      else this.log.insertBefore(node, place);
    }
  }

  #nodeOf(item: Shown, state: ThreadState): HTMLElement | null {
    const open = state.open.has(item.id);
    const known = this.#views.get(item.id);
    if (known?.item === item && known.open === open) return known.node;
    if (known?.update !== undefined && known.item.type === item.type && this.#isUpdated(known.update, item, open)) {
      Object.assign(known, { item, open });
      return known.node;
    }
    const view = this.#viewOf(item, open, state);
    if (view === null) {
      known?.node.remove();
      this.#views.delete(item.id);
      return null;
    }
    view.node.dataset.item = item.id;
    this.#views.set(item.id, { ...view, item, open });
    return view.node;
  }

  /** Updates a view; false where that fails, and the caller then draws the item again. */
  #isUpdated(update: NonNullable<ItemView["update"]>, item: Shown, open: boolean): boolean {
    try {
      update(item, open);
      return true;
    } catch {
      return false;
    }
  }

  #viewOf(item: Shown, open: boolean, state: ThreadState): ItemView | null {
    const own: Pick<ViewContext, "imageDomains" | "open" | "notDrawn" | "feedbackOf"> = {
      get imageDomains() {
        return state.imageDomains;
      },
      open,
      feedbackOf: (id) => state.feedback.get(id) ?? null,
      notDrawn: (part, error) => this.#notDrawn(item, part, error),
    };
    const shared = Object.getOwnPropertyDescriptors(this.host.context);
    const context: ViewContext = Object.defineProperties(own as ViewContext, shared);
    try {
      return viewOf(item, context);
    } catch (error) {
      context.notDrawn("item", error);
      return undrawnView(context);
    }
  }

  #notDrawn({ id, type }: Shown, part: string, error: unknown): void {
    const key = `${part} of ${id}`;
    if (this.#undrawn.has(key)) return;
    this.#undrawn.add(key);
    // Only the name is told, because the message of an error may quote the item's content.
    const name = error instanceof Error ? error.name : typeof error;
    const { emit } = this.host.context;
    emit("chatkit.log", { name: "item.not_drawn", data: { item_id: id, item_type: type, part, error: name } });
    emit("chatkit.error", { error: new Error(`The ${part} of a thread item (${type}) could not be drawn: ${name}`) });
  }

  #drawProgress(run: Progressing | null): void {
    this.#progress.hidden = run === null;
    if (run === null) {
      this.#progress.replaceChildren();
      return;
    }
    const text = this.#progressText(run);
    if (this.#progress.dataset.text === text && this.#progress.childElementCount > 0) return;
    this.#progress.dataset.text = text;
    const pulse = el("span", { class: "pulse", "aria-hidden": "true" });
    this.#progress.replaceChildren(pulse, ...(run.progress?.icon ? [icon(run.progress.icon)] : []), text);
  }

  #progressText(run: Progressing): string {
    const { shell } = this.host.context.texts;
    const away = this.host.isAway();
    if (run.isStopping) return shell.stopping;
    if (away !== null) return shell[away];
    if (run.progress) return run.progress.text;
    const { state } = this.host.conversation;
    const isWriting = state.open.size > 0 && state.lastAnswered?.type === "assistant_message";
    return isWriting ? shell.writing : shell.thinking;
  }

  async #showEarlier(): Promise<void> {
    this.#isSticky = false;
    const fromEnd = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    await this.host.loadEarlier();
    requestAnimationFrame(() => {
      this.#scroller.scrollTop = this.#scroller.scrollHeight - fromEnd;
    });
  }

  /** How far it is to the end. */
  get #distance(): number {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** Any scrolling up ends the following, however small; reaching the end begins it again. */
  #scrolled(): void {
    const { scrollTop } = this.#scroller;
    const isUp = scrollTop < this.#top;
    this.#top = scrollTop;
    this.#isSticky = this.#distance < (isUp ? END_PX : STICKY_PX) || (this.#isSticky && !isUp);
    this.#showLatest();
  }

  /** Offers the way to the end where the end is out of sight and the view does not go there by itself. */
  #showLatest(): void {
    this.#latest.hidden = this.#isFollowing || this.#distance < STICKY_PX;
  }

  /** Whether the view goes with the end of an answer that grows. */
  get #isFollowing(): boolean {
    return this.#isSticky && this.host.context.options.thread?.autoScroll === true;
  }

  #follow(): void {
    if (this.#isFollowing || this.#isEndDue) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#showLatest();
    this.#top = this.#scroller.scrollTop;
  }
}
