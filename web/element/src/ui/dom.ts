type Child = Node | string | number | null | undefined | false | readonly Child[];
type Listeners = { readonly [type: string]: (event: never) => void };
type Value = string | number | boolean | null | undefined;

/**
 * Attributes of an element. `on` holds listeners, and `value` is the property. True sets an empty attribute; null and
 * false set none.
 */
export type Attributes = { readonly on?: Listeners } & { readonly [name: string]: Value | Listeners };

/** Makes an element. Text children are set as text, never as HTML. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "object") {
      // Only `on` may hold an object: a server's object in the place of a text is never taken for listeners.
      if (name !== "on") continue;
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener as EventListener);
    } else if (name === "value" && "value" in element) {
      (element as { value: unknown }).value = String(value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

/** Appends the children that `el` takes. Values of another type are skipped, because a server may send any JSON. */
export function append(parent: ParentNode & Node, children: Child): void {
  if (children instanceof Node) parent.append(children);
  else if (typeof children === "string" || typeof children === "number") parent.append(String(children));
  else if (Array.isArray(children)) for (const child of children) append(parent, child);
}

/** The address where it is safe to follow, that is of the web, mail or telephone; null for others. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(address, location.href);
    return ["http:", "https:", "mailto:", "tel:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link that opens in another tab without a referrer or an opener; plain text where the address is not safe. */
export function externalLink(address: string, ...children: Child[]): HTMLElement {
  const href = safeHref(address);
  if (href === null) return el("span", {}, ...children);
  return el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/**
 * The address. Where it names the page's server by another loopback name it gets the page's origin, because a local
 * server answers to all of them and a page's policy may allow only its own origin. Throws TypeError for an invalid one.
 */
export function ownOrigin(address: string): URL {
  const url = new URL(address, location.href);
  const isSameServer = url.protocol === location.protocol && url.port === location.port;
  if (isSameServer && LOOPBACK.includes(url.hostname) && LOOPBACK.includes(location.hostname)) {
    url.hostname = location.hostname;
  }
  return url;
}

let lastId = 0;

/** An id that no other element of the page has. */
export function freshId(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
