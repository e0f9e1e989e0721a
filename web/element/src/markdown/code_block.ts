import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ViewContext } from "../ui/view_context.js";

/** Longer code stays without colours, because a page would stand still for them. */
const MAX_COLOURED = 30_000;
/** Code that grows gets its colours when it has rested for so long. */
const REST_MS = 250;

type CodeContext = Pick<ViewContext, "texts" | "emit"> & Partial<Pick<ViewContext, "announcer">>;

/** Puts a head with the language and Copy above the code. */
export function frameCode(pre: HTMLPreElement, context: CodeContext): void {
  const code = pre.querySelector("code");
  if (!code) return;
  const language = code.title;
  code.removeAttribute("title");
  const last = code.lastChild;
  if (last instanceof Text && last.data.endsWith("\n")) last.deleteData(last.length - 1, 1);
  pre.tabIndex = 0;
  const frame = el("div", { class: "code", "data-language": language || null });
  const copy = context.announcer && copyButton(context);
  pre.replaceWith(frame);
  frame.append(el("div", { class: "code-head" }, el("span", {}, language), copy), pre);
}

function copyButton({ texts, announcer }: CodeContext): HTMLElement {
  const label = texts.items.copyCode;
  const press = async (event: Event) => {
    const frame = (event.currentTarget as Element).closest(".code");
    try {
      await navigator.clipboard.writeText(frame?.querySelector("code")?.textContent ?? "");
      announcer?.toast(texts.items.copied);
    } catch {
      announcer?.toast(texts.items.copyFailed);
    }
  };
  const attributes = { type: "button", class: "icon-button small", "aria-label": label, title: label };
  return el("button", { ...attributes, on: { click: (event: Event) => void press(event) } }, icon("copy"));
}

/** Colours the code of an element a while after it has changed, and loads what that needs. */
export class CodeColours {
  /** What each code was when it was looked at. */
  readonly #seen = new WeakMap<Element, string>();
  /** What each code was when it got its colours. */
  readonly #coloured = new WeakMap<Element, string>();
  #isDue = false;

  constructor(
    private readonly root: ParentNode & Node,
    private readonly emit: ViewContext["emit"],
  ) {}

  /** Looks at the code again soon. */
  schedule(): void {
    if (this.#isDue || !this.root.querySelector("[data-language]")) return;
    this.#isDue = true;
    setTimeout(() => void this.#colour(), REST_MS);
  }

  async #colour(): Promise<void> {
    const library = await loadedCode(this.emit);
    this.#isDue = false;
    if (!library) return;
    let isChanging = false;
    const change = keepingSelection(this.root);
    for (const frame of this.root.querySelectorAll<HTMLElement>("[data-language]")) {
      const code = frame.querySelector("code");
      const text = code?.textContent ?? "";
      if (!code || this.#coloured.get(code) === text || text.length > MAX_COLOURED) continue;
      if (this.#seen.get(code) !== text) {
        this.#seen.set(code, text);
        isChanging = true;
        continue;
      }
      this.#coloured.set(code, text);
      const coloured = library.colouredCode(text, frame.dataset.language?.split(/[\s,{:]/, 1)[0] ?? "");
      if (coloured) change(code, () => code.replaceChildren(coloured));
    }
    if (isChanging) this.schedule();
  }
}

let code: Promise<typeof import("./lazy/code.js") | null> | null = null;

function loadedCode(emit: ViewContext["emit"]): Promise<typeof import("./lazy/code.js") | null> {
  code ??= import("./lazy/code.js").catch((error: unknown) => {
    emit("chatkit.log", { name: "code.not_loaded", data: { error: String(error) } });
    return null;
  });
  return code;
}

/**
 * Returns what makes a change of code that leaves its text what it is, and selects again what was selected in it. The
 * selection is read once, because reading it lays out the page.
 */
function keepingSelection(element: Node): (code: Element, change: () => void) => void {
  const root = element.getRootNode() as ShadowRoot & { getSelection?: () => Selection | null };
  const selection = root.getSelection?.() ?? document.getSelection();
  const range = selection?.rangeCount ? selection.getRangeAt(0) : null;
  return (code, change) => {
    if (!selection || !range || !code.contains(range.startContainer) || !code.contains(range.endContainer)) {
      change();
      return;
    }
    const start = offsetIn(code, range.startContainer, range.startOffset);
    const end = offsetIn(code, range.endContainer, range.endOffset);
    change();
    selection.setBaseAndExtent(...placeIn(code, start), ...placeIn(code, end));
  };
}

function offsetIn(root: Node, node: Node, offset: number): number {
  const before = document.createRange();
  before.setStart(root, 0);
  before.setEnd(node, offset);
  return before.toString().length;
}

function placeIn(root: Node, offset: number): [Node, number] {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let left = offset;
  while (walker.nextNode()) {
    const text = walker.currentNode as Text;
    if (left <= text.length) return [text, left];
    left -= text.length;
  }
  return [root, root.childNodes.length];
}
