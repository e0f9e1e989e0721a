/** A screen: what is asked for, shown, asked for again, and how old it is. */

import { ApiError, isPassing, told } from "./api.js";
import { byId, h, morph, setText } from "./dom.js";
import { age, clock } from "./format.js";
import { Poll } from "./poll.js";

const TITLE = "Relaykit console";

/** @param {string} title */
export function setTitle(title) {
  document.title = `${title} · ${TITLE}`;
}

/**
 * A part of the console that is asked for, shown, and asked for again.
 * @template T
 */
export class Screen {
  /** @type {Poll<T>} */ poll;
  /** @type {T | null} */ answer = null;
  #heading;
  #asOf = h("span", { class: "note" });
  #refresh = h("button", { type: "button" });
  #root = h("div", { class: "screen" });
  #isFinal = false;
  #answeredAt = 0;
  #announced = "";
  /** @type {{error: unknown, nextTryAt: number | null} | null} */ #failure = null;
  #given;

  /**
   * @param {object} given
   * @param {string} given.title
   * @param {(signal: AbortSignal) => Promise<T>} given.ask
   * @param {(answer: T) => HTMLElement[]} given.parts
   * @param {(error: ApiError) => void} given.onRefused another token is needed
   * @param {(answer: T) => boolean} [given.isFinal]
   * @param {(answer: T) => void} [given.onAnswer]
   * @param {(answer: T) => string} [given.announces] what is said when it differs from what was said before
   * @param {(button: HTMLElement, answer: T) => void} [given.onPress] of a button in the parts
   * @param {HTMLElement} [given.before]
   * @param {string} [given.absent] what is said where it is not there
   */
  constructor(given) {
    this.#given = given;
    this.#heading = h("h1", { tabindex: -1 }, given.title);
    this.#refresh.addEventListener("click", () => this.#press());
    this.#root.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button") : null;
      if (button && this.answer !== null) given.onPress?.(button, this.answer);
    });
    byId("main").replaceChildren(
      h("div", { class: "head" }, this.#heading, h("p", { class: "as-of" }, this.#asOf, this.#refresh)),
      h("div", { id: "outcome", class: "outcome", hidden: true }),
      ...(given.before ? [given.before] : []),
      this.#root,
    );
    setTitle(given.title);
    this.poll = new Poll({
      ask: given.ask,
      show: (answer) => this.#show(answer),
      fail: (error, nextTryAt) => this.#fail(error, nextTryAt),
      isPassing,
      isFinal: (answer) => given.isFinal?.(answer) ?? false,
    });
    this.tick();
  }

  focus() {
    this.#heading.focus();
  }

  /** Shows the last answer anew, because something else than the answer has changed. */
  redraw() {
    if (this.answer !== null) morph(this.#root, this.#given.parts(this.answer));
  }

  /** The ages that grow by the second. */
  tick() {
    const [since, isOld] = [this.#answeredAt, this.#failure !== null];
    const old = since ? `${clock(since)}, ${age(Date.now() - since)} old` : "";
    const said = isOld ? `Old figures: ${old}` : this.poll.isPaused ? `Paused. As of ${old}` : `As of ${clock(since)}`;
    setText(this.#asOf, since ? said : "");
    setText(this.#refresh, this.#isFinal ? "Refresh" : this.poll.isPaused ? "Go on" : "Pause");
    this.#refresh.hidden = !since;
    byId("main").classList.toggle("stale", isOld && since > 0);
    showAway(this.#failure, since, this.poll.isPaused);
  }

  stop() {
    this.poll.stop();
    byId("main").classList.remove("stale");
    showAway(null, 0, false);
  }

  #press() {
    if (this.#isFinal) this.poll.now();
    else this.poll.isPaused = !this.poll.isPaused;
    this.tick();
  }

  /** @param {T} answer */
  #show(answer) {
    if (this.#failure && this.#answeredAt) announce("The API answers again.");
    [this.answer, this.#answeredAt, this.#failure] = [answer, Date.now(), null];
    this.#isFinal = this.#given.isFinal?.(answer) ?? false;
    this.redraw();
    const said = this.#given.announces?.(answer) ?? "";
    if (said && said !== this.#announced) announce(said);
    this.#announced = said;
    this.tick();
    this.#given.onAnswer?.(answer);
  }

  /** @param {unknown} error @param {number | null} nextTryAt */
  #fail(error, nextTryAt) {
    if (error instanceof ApiError && error.isSignIn) return this.#given.onRefused(error);
    if (!(error instanceof ApiError) && !isPassing(error)) reportError(error);
    if (!isPassing(error)) {
      const isAbsent = error instanceof ApiError && error.status === 404;
      const said = isAbsent && this.#given.absent ? this.#given.absent : told(error);
      [this.answer, this.#answeredAt, this.#failure] = [null, 0, null];
      morph(this.#root, [h("p", { class: "problem", role: "alert", "data-key": "refused" }, said)]);
      return this.tick();
    }
    if (!this.#failure) announce(`${told(error)}${this.#answeredAt ? " What is shown grows old." : ""}`);
    this.#failure = { error, nextTryAt };
    this.tick();
  }
}

/**
 * @param {{error: unknown, nextTryAt: number | null} | null} failure
 * @param {number} since when the answer that is shown has come; 0: none is
 * @param {boolean} isPaused
 */
function showAway(failure, since, isPaused) {
  byId("away").hidden = failure === null;
  if (!failure) return;
  const shown = since
    ? `What is shown is from ${clock(since)}, ${age(Date.now() - since)} old.`
    : "Nothing is known yet.";
  const wait = (failure.nextTryAt ?? 0) - Date.now();
  const next = isPaused ? "Paused." : wait > 500 ? `The next try is in ${age(wait)}.` : "Asking again.";
  setText(byId("away-text"), `${told(failure.error)} ${shown} ${next}`);
}

/** Said by a screen reader when it has come to an end. @param {string} text */
export function announce(text) {
  byId("live").textContent = text;
}
