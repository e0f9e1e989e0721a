import { type Attributes, el, ownOrigin } from "./dom.js";

/** An address that an image may be loaded from. */
export type ImageSource = string & { readonly __brand: "ImageSource" };

/**
 * The source of an image that an answer names: data, the page's own origin, or https from one of the thread's
 * `allowed_image_domains`; null for any other, because an image's address can carry the conversation to its host.
 */
export function imageSource(address: unknown, domains: readonly string[]): ImageSource | null {
  return sourceOf(address, (hostname) => domains.some((domain) => domain.toLowerCase() === hostname));
}

/** The source of an attachment's preview. It may be of any https host, because the server made it and not a model. */
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

/** An <img> that sends no referrer to its host. */
export function picture(source: ImageSource, attributes: Attributes = {}): HTMLImageElement {
  return el("img", { referrerpolicy: "no-referrer", ...attributes, src: source });
}
