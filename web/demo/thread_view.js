import { el } from "./dom.js";
import { icon } from "./icons.js";
import { ITEM_VIEWS } from "./item_views.js";

/** Nearer to the end than this, the view follows the newest words. */
const STICKY_PX = 80;

/** Draws the open thread. Changes of one frame are drawn together; an item that did not change is left alone. */
export class ThreadView {
  #views = new Map();
  #drawn = null;
  #scheduled = false;
  #sticky = true;

  /** @param {{conversation: object, commands: object, places: Record<string, HTMLElement>}} parts */
  constructor({ conversation, commands, places }) {
    Object.assign(this, { conversation, commands, places });
    conversation.addEventListener("change", () => this.#schedule());
    places.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    places.latest.append(icon("down"));
    places.latest.addEventListener("click", () => this.toEnd());
    places.earlier.addEventListener("click", () => this.#earlier());
    new ResizeObserver(() => this.#follow()).observe(places.log);
  }

  /** Goes to the newest message and stays there. */
  toEnd() {
    this.#sticky = true;
    this.#follow();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      this.#scheduled = false;
      this.#draw();
    };
    // A hidden tab gets no animation frames.
    if (document.hidden) setTimeout(draw, 100);
    else requestAnimationFrame(draw);
  }

  #draw() {
    const { state, runs } = this.conversation;
    if (this.#drawn !== state) this.#reset(state);
    const items = [...state.items.values()].filter((item) => item.type in ITEM_VIEWS);
    this.#drawItems(items, state);
    this.#drawProgress([...runs], items);
    this.places.welcome.hidden = Boolean(state.id) || items.length > 0;
    this.places.earlier.hidden = !state.hasEarlier;
    this.#follow();
  }

  #reset(state) {
    this.#drawn = state;
    this.#views.clear();
    this.places.log.replaceChildren();
    this.#sticky = true;
  }

  #drawItems(items, state) {
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, view] of this.#views) if (!wanted.has(id)) this.#forget(id, view);
    let place = this.places.log.firstChild;
    for (const item of items) {
      const before = this.#views.get(item.id)?.node;
      const { node } = this.#viewOf(item, state);
      if (before && before !== node) {
        before.replaceWith(node);
        if (before === place) place = node;
      }
      if (node === place) place = place.nextSibling;
      else this.places.log.insertBefore(node, place);
    }
  }

  #forget(id, view) {
    view.node.remove();
    this.#views.delete(id);
  }

  #viewOf(item, state) {
    const open = state.open.has(item.id);
    const known = this.#views.get(item.id);
    if (known?.item === item && known.open === open) return known;
    if (known?.update && known.item.type === item.type) {
      known.update(item, open);
      return Object.assign(known, { item, open });
    }
    const context = { commands: this.commands, imageDomains: state.allowedImageDomains, open };
    const view = { ...ITEM_VIEWS[item.type](item, context), item, open };
    view.node.dataset.item = item.id;
    this.#views.set(item.id, view);
    return view;
  }

  #drawProgress(runs, items) {
    const { progress } = this.places;
    const run = runs.at(-1);
    progress.hidden = !run;
    if (!run) return progress.replaceChildren();
    const writing = this.conversation.state.open.size > 0 && items.at(-1)?.type === "assistant_message";
    let text = run.progress?.text ?? (writing ? "Writing" : "Thinking");
    if (!run.connected) text = "Connection lost, trying again";
    if (run.stopping) text = "Stopping";
    if (progress.dataset.text === text && progress.childElementCount) return undefined;
    progress.dataset.text = text;
    return progress.replaceChildren(el("span", { class: "pulse", "aria-hidden": "true" }), run.progress?.icon ? icon(run.progress.icon) : "", text);
  }

  async #earlier() {
    const { scroller } = this.places;
    this.#sticky = false;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    await this.conversation.loadEarlier();
    requestAnimationFrame(() => {
      scroller.scrollTop = scroller.scrollHeight - fromEnd;
    });
  }

  #scrolled() {
    const { scroller, latest } = this.places;
    this.#sticky = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < STICKY_PX;
    latest.hidden = this.#sticky;
  }

  #follow() {
    const { scroller } = this.places;
    if (this.#sticky) scroller.scrollTop = scroller.scrollHeight;
  }
}
