import { compareCursors } from "./sse.js";

/**
 * What a server can make this page do: name -> function(data, page), returning what to tell the user.
 * A site puts its own here. An effect is a wish of the server's, so each checks what it is given.
 */
const EFFECTS = {
  set_theme({ theme }, page) {
    const known = ["light", "dark"].includes(theme) ? theme : null;
    page.setTheme(known);
    return known ? `Switched to the ${known} theme` : "The theme follows your system again";
  },
  set_composer_text({ text }, page) {
    page.setComposerText(String(text ?? ""));
    return "Filled in the message box";
  },
  show_message({ text, message }) {
    return String(text ?? message ?? "");
  },
};

const cursorKey = (runId) => `relaykit.effects.${runId}`;

/** Applies client effects, each once a visit: a replay of a run after a reload passes over those already applied. */
export class ClientEffects {
  /** @param {{page: object, announcer: import("./announcer.js").Announcer}} parts */
  constructor({ page, announcer }) {
    this.page = page;
    this.announcer = announcer;
  }

  apply(event, { runId, cursor }) {
    const applied = sessionStorage.getItem(cursorKey(runId));
    if (cursor && applied && compareCursors(cursor, applied) <= 0) return;
    if (cursor) sessionStorage.setItem(cursorKey(runId), cursor);
    const known = Object.hasOwn(EFFECTS, event.name);
    const text = known ? EFFECTS[event.name](event.data ?? {}, this.page) : `The assistant sent the effect “${event.name}”`;
    if (text) this.announcer.toast(text);
  }
}
