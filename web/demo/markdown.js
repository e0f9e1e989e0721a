import DOMPurify from "./vendor/dompurify/purify.es.mjs";
import { Marked } from "./vendor/marked/marked.esm.js";
import { externalLink, safeHref, safeImageSource } from "./dom.js";

/** An answer is untrusted: only these tags and attributes reach the page, and no class, style, id or handler. */
const SANITIZE = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "img", "input", "li", "ol", "p",
    "pre", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "alt", "checked", "disabled", "href", "src", "start", "title", "type"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** The page has its own headings above an answer's. */
const HEADING_OFFSET = 2;

/** Raw HTML is shown as the text it is, but for the few tags that tables and formulas need. */
const HARMLESS_TAG = /^<\/?(br|sub|sup)\s*\/?>$/i;

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  renderer: {
    html: ({ text, block }) => {
      if (HARMLESS_TAG.test(text.trim())) return text;
      return block ? `<p>${escaped(text.trim())}</p>` : escaped(text);
    },
  },
});

function escaped(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element.innerHTML;
}

function lowerHeading(token) {
  if (token.type === "heading") token.depth = Math.min(6, token.depth + HEADING_OFFSET);
}

/**
 * Markdown shown in an element and kept up to date while it grows.
 *
 * Only blocks whose source changed are made anew: a long answer costs its last paragraph, and a selection in an
 * earlier one survives.
 */
export class MarkdownView {
  #blocks = [];

  /** @param {{imageDomains?: string[]}} [options] hosts whose images are shown; others become links */
  constructor(element, { imageDomains = [] } = {}) {
    this.element = element;
    this.imageDomains = imageDomains;
  }

  update(text) {
    const tokens = marked.lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
    marked.walkTokens(tokens, lowerHeading);
    let kept = 0;
    while (kept < tokens.length && this.#blocks[kept]?.source === tokens[kept].raw) kept += 1;
    for (const block of this.#blocks.splice(kept)) for (const node of block.nodes) node.remove();
    for (const token of tokens.slice(kept)) {
      const fragment = this.#render(token);
      this.#blocks.push({ source: token.raw, nodes: [...fragment.childNodes] });
      this.element.append(fragment);
    }
  }

  #render(token) {
    const fragment = DOMPurify.sanitize(marked.parser([token]), SANITIZE);
    for (const link of fragment.querySelectorAll("a")) secureLink(link);
    for (const image of fragment.querySelectorAll("img")) this.#secureImage(image);
    for (const input of fragment.querySelectorAll("input")) secureCheckbox(input);
    for (const table of fragment.querySelectorAll("table")) makeScrollable(table);
    for (const block of fragment.querySelectorAll("pre")) block.tabIndex = 0;
    return fragment;
  }

  /** The address of an image can carry what was said to whoever serves it: foreign hosts only where the thread allows them. */
  #secureImage(image) {
    const given = image.getAttribute("src") ?? "";
    const source = safeImageSource(given);
    const { origin, hostname, protocol } = new URL(source ?? "about:blank", location.href);
    if (source && (protocol === "data:" || origin === location.origin || this.imageDomains.includes(hostname))) return;
    image.replaceWith(externalLink(given, image.alt || given));
  }
}

function secureLink(link) {
  const href = safeHref(link.getAttribute("href") ?? "");
  if (!href) return link.removeAttribute("href");
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
}

function secureCheckbox(input) {
  if (input.getAttribute("type") !== "checkbox") return input.remove();
  input.disabled = true;
  input.setAttribute("aria-label", input.checked ? "done" : "not done");
}

function makeScrollable(table) {
  const frame = document.createElement("div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  table.replaceWith(frame);
  frame.append(table);
}

/** Markdown that does not change any more. */
export function renderMarkdown(text, className = "markdown", options = {}) {
  const element = document.createElement("div");
  element.className = className;
  new MarkdownView(element, options).update(text);
  return element;
}
