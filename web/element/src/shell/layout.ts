import type { ChatKitOptions } from "@openai/chatkit";
import type { History } from "../history/history.js";
import type { Locale } from "../texts/locale.js";
import type { Announcer } from "../ui/announcer.js";
import type { Confirm } from "../ui/confirm.js";
import { el } from "../ui/dom.js";
import type { Header } from "./header.js";

/** In a narrower element the list of threads slides over the conversation. */
const NARROW_PX = 800;

/** The parts that the layout arranges, and the element's current options. */
export interface LayoutHost {
  readonly announcer: Announcer;
  readonly confirm: Confirm;
  readonly header: Header;
  readonly history: History;
  /** The thread's view. */
  readonly view: HTMLElement;
  readonly composer: HTMLElement;
  readonly options: () => ChatKitOptions;
  readonly emit: (type: string) => void;
  /** The person skips to the message box. */
  readonly onSkip: () => void;
}

/** The places of the list of threads and the conversation: side by side, or one over the other in a narrow element. */
export class Layout {
  readonly node: HTMLElement;
  readonly #skip: HTMLElement;
  readonly #backdrop: HTMLElement;
  /** The header and the conversation. */
  readonly #stage: HTMLElement;
  readonly #resizing: ResizeObserver;
  #isNarrow = false;
  /** Whether the list lies over the conversation in a narrow element, or stands beside it in a wide one. */
  #isHistoryOpen = true;

  constructor(private readonly host: LayoutHost) {
    const { announcer, header, history, view, composer, onSkip } = host;
    const main = el("div", { class: "main" }, view, composer, el("slot", { name: "footer" }));
    this.#stage = el("div", { id: "stage", class: "stage" }, header.node, main);
    this.#backdrop = el("div", { class: "backdrop", hidden: true, on: { click: () => this.toggleHistory(false) } });
    this.#skip = el("button", { class: "skip", type: "button", on: { click: onSkip } });
    const outer = [this.#skip, announcer.live, announcer.toasts, this.#backdrop, history.node];
    this.node = el("div", { class: "chat" }, ...outer, this.#stage, host.confirm.node);
    this.#resizing = new ResizeObserver(([entry]) => this.#resized(entry?.contentRect.width ?? 0));
    this.#resizing.observe(this.node);
    this.update();
  }

  end(): void {
    this.#resizing.disconnect();
  }

  setTexts({ texts, language, direction }: Locale): void {
    this.#skip.textContent = texts.shell.skip;
    this.node.lang = language;
    this.node.dir = direction;
  }

  get isHistoryOpen(): boolean {
    return this.#isHistoryOpen;
  }

  get isHistoryOver(): boolean {
    return this.#isNarrow && this.#isHistoryOpen;
  }

  /** Shows or hides the list of threads. In a narrow element the focus follows it. */
  toggleHistory(isOpen: boolean): void {
    const { header, history, emit } = this.host;
    if (!this.#isHistoryEnabled || isOpen === this.#isHistoryOpen) return;
    this.#isHistoryOpen = isOpen;
    this.update();
    if (isOpen && this.#isNarrow) history.focus();
    else if (this.#isNarrow) header.focusMenu();
    emit(isOpen ? "chatkit.history.open" : "chatkit.history.close");
  }

  /** Uncovers the conversation. */
  closeHistoryOver(): void {
    if (this.#isNarrow) this.toggleHistory(false);
  }

  get #isHistoryEnabled(): boolean {
    return this.host.options().history?.enabled !== false;
  }

  #resized(widthPx: number): void {
    const isNarrow = widthPx < NARROW_PX;
    if (isNarrow === this.#isNarrow) return;
    this.#isNarrow = isNarrow;
    this.#isHistoryOpen = !isNarrow;
    this.update();
  }

  /** Arranges the parts by the current options and width. */
  update(): void {
    const { header, history } = this.host;
    const isEnabled = this.#isHistoryEnabled;
    const isOver = isEnabled && this.isHistoryOver;
    this.node.classList.toggle("narrow", this.#isNarrow);
    history.node.hidden = !isEnabled || (!this.#isNarrow && !this.#isHistoryOpen);
    history.node.classList.toggle("over", isOver);
    history.node.inert = this.#isNarrow && !isOver;
    this.#stage.inert = isOver;
    this.#backdrop.hidden = !isOver;
    header.showHistory(isEnabled, this.#isHistoryOpen);
  }
}
