/**
 * Makes an element. Text children are set as text, never as HTML.
 * @param {string} tag
 * @param {object} [attributes] `class`, `on` ({event: listener}), `aria-*` and others; true sets an empty attribute, null and false leave it out
 * @param {...(Node|string|null|Array)} children
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A link target that is safe to follow, or null: web addresses and mail only. */
export function safeHref(address) {
  try {
    const url = new URL(address, location.href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link that opens elsewhere and tells that place nothing; plain text where the address is not safe. */
export function externalLink(address, ...children) {
  const href = safeHref(address);
  if (!href) return el("span", {}, ...children);
  return el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/**
 * An address, on this page's own origin where it names this server by another of its loopback names: local mode
 * answers to all of them, and the page may only speak to its own origin. Throws TypeError for what is no address.
 */
export function ownOrigin(address) {
  const url = new URL(address, location.href);
  const sameServer = url.protocol === location.protocol && url.port === location.port;
  if (sameServer && LOOPBACK.includes(url.hostname) && LOOPBACK.includes(location.hostname)) url.hostname = location.hostname;
  return url;
}

/** A source for an <img>: data, blob, own origin, or https. Null for anything else. */
export function safeImageSource(address) {
  try {
    const url = ownOrigin(address);
    if (url.protocol === "data:") return /^data:image\//i.test(address) ? address : null;
    if (url.protocol === "blob:" || url.protocol === "https:" || url.origin === location.origin) return url.href;
    return null;
  } catch {
    return null;
  }
}
