import { renderMarkdown } from "../markdown/view.js";
import { el } from "../ui/dom.js";
import type { ComposerHost } from "./host.js";

/** The site's disclaimer below the message box, in Markdown. */
export class Disclaimer {
  readonly node = el("div", { id: "disclaimer", class: "composer-disclaimer", hidden: true });

  setOptions(host: ComposerHost): void {
    const { text = "", highContrast = false } = host.options.disclaimer ?? {};
    const emit = (type: string, detail: unknown) => host.emit(type, detail);
    const notDrawn = (_: string, error: unknown) => emit("chatkit.error", { error });
    this.node.replaceChildren(renderMarkdown(text, { texts: host.texts, imageDomains: [], emit, notDrawn }));
    this.node.hidden = text === "";
    this.node.classList.toggle("high-contrast", highContrast);
  }
}
