import type { DrawContext } from "./context.js";
import { actionOf, type Fields } from "./fields.js";

/** What a site's component gets besides its fields. */
export interface SiteComponentContext {
  /** The language tag (BCP 47) for dates and numbers. */
  readonly locale: string;
  /** Whether the widget is only shown, and performs no action. */
  readonly isInert: boolean;
  /** Draws the components in `children`. */
  children(): Node[];
  /** Draws a component that another field holds. */
  draw(component: unknown): Node;
  /** Performs an action as a button does: `source` is busy until it is done, and its form's values go along. */
  act(action: { type: string; payload?: unknown; handler?: "client" | "server" }, source: HTMLElement): void;
}

/** Draws a site's component. The fields come from the server and may be any JSON. */
export type SiteComponent = (fields: Readonly<Record<string, unknown>>, context: SiteComponentContext) => Node;

const registered = new Map<string, SiteComponent>();

/** Registers a component for all chats of the page. Widgets that are shown already are not drawn again. */
export function setSiteComponent(type: string, draw: SiteComponent): void {
  registered.set(type, draw);
}

/** The node of a component that the site has registered; null for another type. */
export function drawSiteComponent(type: string, node: Fields, context: DrawContext): Node | null {
  const draw = registered.get(type);
  if (draw === undefined) return null;
  // A component in another field than `children` gets a place behind all of those.
  let others = 1_000;
  return draw(node, {
    locale: context.host.locale,
    isInert: context.host.act === null,
    children: () => context.children(node),
    draw: (component) => context.draw(component, others++),
    act: (action, source) => {
      const known = actionOf(action);
      if (known !== null) context.act(known, { source, auto: "self", form: source.closest("form") });
    },
  });
}
