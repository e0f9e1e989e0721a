import type { MarkdownContext } from "../markdown/view.js";
import type { WidgetAction } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Fields } from "./fields.js";

/** What a widget is drawn with. */
export interface WidgetHost extends MarkdownContext {
  readonly locale: string;
  /** Dispatches an action with what its form holds in the payload; null for a widget that is only looked at. */
  readonly act: ((action: WidgetAction) => Promise<void>) | null;
  /** Whether the widget may take the focus where it asks for it. */
  readonly autoFocus: boolean;
}

/** What shows that an action is on its way: nothing, the control, or the whole widget. */
export type Loading = "none" | "self" | "container";

/** What began an action. */
export interface Trigger {
  readonly source: HTMLElement;
  /** What `loadingBehavior: "auto"` means here. */
  readonly auto: Loading;
  /** Its values go into the payload. */
  readonly form?: HTMLFormElement | null;
}

/** What outlives a redrawing of the widget; places are paths such as `.0.2`. */
export class WidgetMemory {
  /** Lists that show everything, and disclosures that were opened. */
  readonly expanded = new Set<string>();
  /** Texts that can grow where they stand. */
  readonly growing = new Map<string, (value: string) => void>();
  readonly #shown = new Map<string, string>();

  /** Whether another thing than before is shown at a place. */
  isNew(path: string, key: string): boolean {
    const isSame = this.#shown.get(path) === key;
    this.#shown.set(path, key);
    return !isSame;
  }
}

/** What a component is drawn with. */
export interface DrawContext {
  readonly host: WidgetHost;
  readonly texts: Texts["items"];
  readonly memory: WidgetMemory;
  /** No other widget's controls have ids or names with it. */
  readonly prefix: string;
  /** Where the component stands. */
  readonly path: string;
  draw(child: unknown, index: number): Node;
  children(node: Fields): Node[];
  act(action: WidgetAction, trigger: Trigger): void;
}

/** Draws a component. */
export type Draw = (node: Fields, context: DrawContext) => Node;
