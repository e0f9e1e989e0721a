import { el } from "./dom.js";
import { compareCursors } from "./sse.js";

const HIGHLIGHT = "relaykit";

/**
 * What a server can make this page do: name -> function(data, page), returning what to tell the user.
 * A site puts its own here. An effect is a wish of the server's, so each checks what it is given.
 */
const EFFECTS = {
  highlight({ text }, page) {
    const found = highlight(page.textRoot, String(text ?? ""));
    return found ? `Highlighted “${text}”` : `“${text}” is not on this page`;
  },
  open_page({ path }) {
    const url = new URL(String(path ?? "/"), location.origin);
    if (url.origin !== location.origin) return "The assistant wanted to open another site";
    // A page of its own, when the reader says so: leaving would end the conversation's view.
    return el("span", {}, "The assistant opens ", el("a", { href: url.href, target: "_blank", rel: "noopener" }, url.pathname));
  },
  set_theme({ theme }, page) {
    const known = ["light", "dark"].includes(theme) ? theme : null;
    page.setTheme(known);
    return known ? `Switched to the ${known} theme` : "The theme follows your system again";
  },
  set_composer_text({ text }, page) {
    page.setComposerText(String(text ?? ""));
    return "Filled in the message box";
  },
};

/** Marks every place of a text, without touching the elements around it. Returns whether there is one. */
function highlight(root, text) {
  const wanted = text.trim().toLowerCase();
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (wanted && walker.nextNode()) {
    const { currentNode } = walker;
    const words = currentNode.data.toLowerCase();
    for (let at = words.indexOf(wanted); at >= 0; at = words.indexOf(wanted, at + wanted.length)) {
      const range = document.createRange();
      range.setStart(currentNode, at);
      range.setEnd(currentNode, at + wanted.length);
      ranges.push(range);
    }
  }
  CSS.highlights?.set(HIGHLIGHT, new Highlight(...ranges));
  return ranges.length > 0;
}

const cursorKey = (runId) => `relaykit.effects.${runId}`;

/** Applies client effects, each once a visit: a replay of a run after a reload passes over those already applied. */
export class ClientEffects {
  /** @param {{page: object, announcer: import("./announcer.js").Announcer}} parts */
  constructor({ page, announcer }) {
    this.page = page;
    this.announcer = announcer;
  }

  apply({ name, data }, { runId, cursor }) {
    const applied = sessionStorage.getItem(cursorKey(runId));
    if (cursor && applied && compareCursors(cursor, applied) <= 0) return;
    if (cursor) sessionStorage.setItem(cursorKey(runId), cursor);
    const known = Object.hasOwn(EFFECTS, name);
    this.announcer.toast(known ? EFFECTS[name](data ?? {}, this.page) : `The assistant sent the effect “${name}”`);
  }
}
