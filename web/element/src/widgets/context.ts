import type { MarkdownContext } from "../markdown/view.js";
import type { WidgetAction } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Fields } from "./fields.js";

/** The surroundings of a widget. */
export interface WidgetHost extends MarkdownContext {
  readonly locale: string;
  /** Dispatches an action with its form's values in the payload; null for a widget that is only shown. */
  readonly act: ((action: WidgetAction) => Promise<void>) | null;
  /** Whether a control of the widget may take the focus when it asks for it. */
  readonly autoFocus: boolean;
}

/** The part that shows that an action is on its way: none, the control, or the whole widget. */
export type Loading = "none" | "self" | "container";

/** The origin of an action. */
export interface Trigger {
  readonly source: HTMLElement;
  /** The meaning of `loadingBehavior: "auto"` for this control. */
  readonly auto: Loading;
  /** The form whose values go into the payload. */
  readonly form?: HTMLFormElement | null;
}

/** The state of a widget that outlives a redrawing. Places in it are paths such as `.0.2`. */
export class WidgetMemory {
  /** The places of lists that show everything and of disclosures that are open. */
  readonly expanded = new Set<string>();
  /** The texts that can grow without a redrawing, by place. */
  readonly growing = new Map<string, (value: string) => void>();
  readonly #shown = new Map<string, string>();

  /** Whether a place shows another component than before. */
  isNew(path: string, key: string): boolean {
    const isSame = this.#shown.get(path) === key;
    this.#shown.set(path, key);
    return !isSame;
  }
}

/** The context in which a component is drawn. */
export interface DrawContext {
  readonly host: WidgetHost;
  readonly texts: Texts["items"];
  readonly memory: WidgetMemory;
  /** The prefix of the ids and names of this widget's controls, which no other widget has. */
  readonly prefix: string;
  /** The place of the component. */
  readonly path: string;
  draw(child: unknown, index: number): Node;
  children(node: Fields): Node[];
  act(action: WidgetAction, trigger: Trigger): void;
  /** Hears the name of a field whose value is not sent, because the action's payload has that name itself. */
  readonly ignored: (name: string) => void;
}

/** Draws a component. */
export type Draw = (node: Fields, context: DrawContext) => Node;
