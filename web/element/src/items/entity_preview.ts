import type { Widgets } from "@openai/chatkit";
import type { WidgetNode } from "../server/protocol.js";
import { el, freshId } from "../ui/dom.js";
import type { ViewContext } from "../ui/view_context.js";
import { renderWidget } from "../widgets/render.js";

const SHOW_AFTER_MS = 250;
/** The time to move the pointer from the entity to its preview. */
const HIDE_AFTER_MS = 200;
const GAP_PX = 6;

type LoadPreview = () => Promise<Widgets.BasicRoot | null>;

/** A preview in words, where the page has none of its own. */
export function cardOf(
  title: string,
  lines: readonly (string | null | undefined)[],
  icon?: string | null,
): Widgets.BasicRoot {
  const heading = { type: "Text", value: title, weight: "semibold" } as const;
  const named = icon ? { type: "Row", gap: 2, children: [{ type: "Icon", name: icon }, heading] } : heading;
  const captions = lines.filter(Boolean).map((value) => ({ type: "Caption", value }));
  return { type: "Basic", gap: 1, children: [named, ...captions] } as Widgets.BasicRoot;
}

/** Shows a preview of an entity or a source while the pointer or the focus is on its name. Escape hides it. */
export function offerPreview(button: HTMLElement, load: LoadPreview, context: ViewContext): void {
  let popover: HTMLElement | null = null;
  let loading: Promise<Widgets.BasicRoot | null> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const hide = () => {
    clearTimeout(timer);
    popover?.remove();
    popover = null;
    button.removeAttribute("aria-describedby");
  };
  const hideSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(hide, HIDE_AFTER_MS);
  };
  const show = async () => {
    loading ??= load();
    const preview = await loading.catch((error: unknown) => {
      loading = null;
      context.emit("chatkit.error", { error: error instanceof Error ? error : new Error(String(error)) });
      return null;
    });
    if (!preview || popover || !button.isConnected || !button.matches(":hover, :focus-visible")) return;
    const widget = renderWidget(preview as unknown as WidgetNode, { ...context, act: null, autoFocus: false });
    popover = el("div", { class: "preview", id: freshId("preview"), popover: "manual" }, widget);
    popover.addEventListener("pointerenter", () => clearTimeout(timer));
    popover.addEventListener("pointerleave", hideSoon);
    (button.closest(".entry") ?? button).append(popover);
    button.setAttribute("aria-describedby", popover.id);
    popover.showPopover();
    place(popover, button);
  };
  const showSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void show(), SHOW_AFTER_MS);
  };

  button.addEventListener("pointerenter", showSoon);
  button.addEventListener("pointerleave", hideSoon);
  button.addEventListener("focus", showSoon);
  button.addEventListener("blur", hideSoon);
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !popover) return;
    event.stopPropagation();
    hide();
  });
}

/** Places the popover under the button, or above it where there is more room. */
function place(popover: HTMLElement, button: HTMLElement): void {
  const at = button.getBoundingClientRect();
  const { width, height } = popover.getBoundingClientRect();
  const below = at.bottom + GAP_PX;
  const top = below + height > innerHeight && at.top > innerHeight - at.bottom ? at.top - GAP_PX - height : below;
  const left = Math.max(GAP_PX, Math.min(at.left, innerWidth - width - GAP_PX));
  popover.style.setProperty("top", `${top}px`);
  popover.style.setProperty("left", `${left}px`);
}
