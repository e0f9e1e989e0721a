type Child = Node | string | number | null | undefined | false | readonly Child[];
type Listeners = { readonly [type: string]: (event: never) => void };
type Value = string | number | boolean | null | undefined;

/** `on` are listeners; of the others true sets an empty attribute, null and false leave it out, `value` is the property. */
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
      // What a server sends in the place of a text is not taken for a listener.
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

/** Appends what `el` takes as children. What is no such thing is as if it were not there: a server may send any JSON. */
export function append(parent: ParentNode & Node, children: Child): void {
  if (children instanceof Node) parent.append(children);
  else if (typeof children === "string" || typeof children === "number") parent.append(String(children));
  else if (Array.isArray(children)) for (const child of children) append(parent, child);
}

/** A link target that is safe to follow, or null: web addresses, mail and telephone only. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(address, location.href);
    return ["http:", "https:", "mailto:", "tel:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link that opens elsewhere and tells that place nothing; plain text where the address is not safe. */
export function externalLink(address: string, ...children: Child[]): HTMLElement {
  const href = safeHref(address);
  if (href === null) return el("span", {}, ...children);
  return el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/**
 * An address, on this page's own origin where it names this server by another of its loopback names: a local server
 * answers to all of them, and a page's policy may allow its own origin only. Throws TypeError for what is no address.
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

/** An id that no other element of this page has. */
export function freshId(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
