import { type Attributes, el, ownOrigin } from "./dom.js";

/** Where an image may come from. */
export type ImageSource = string & { readonly __brand: "ImageSource" };

/**
 * A source for an <img> that an answer names: data, this page's own origin, or https from a host that the thread's
 * `allowed_image_domains` has; null for anything else. The address of an image can carry what was said to its host.
 */
export function imageSource(address: unknown, domains: readonly string[]): ImageSource | null {
  return sourceOf(address, (hostname) => domains.some((domain) => domain.toLowerCase() === hostname));
}

/** The same for the preview of an attachment: the server's own code, and no model, made its address. */
export function previewSource(address: unknown): ImageSource | null {
  return sourceOf(address, () => true);
}

function sourceOf(address: unknown, isAllowed: (hostname: string) => boolean): ImageSource | null {
  if (typeof address !== "string" || address === "") return null;
  try {
    const url = ownOrigin(address);
    if (url.protocol === "data:") return /^data:image\//i.test(address) ? (address as ImageSource) : null;
    const isOwn = url.origin === location.origin;
    return isOwn || (url.protocol === "https:" && isAllowed(url.hostname)) ? (url.href as ImageSource) : null;
  } catch {
    return null;
  }
}

/** An <img>. Its host is not told which page shows it. */
export function picture(source: ImageSource, attributes: Attributes = {}): HTMLImageElement {
  return el("img", { referrerpolicy: "no-referrer", ...attributes, src: source });
}
