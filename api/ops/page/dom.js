/** Elements made of plain text, and how a part of the page takes a new content without losing focus or selection. */

/** @typedef {string | number | Node | null | undefined | false} Child */

/**
 * An element. Every text in it is text: nothing that the server says is ever read as HTML.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] `true` is an empty attribute, and
 * `null`, `undefined` and `false` none
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/**
 * The element with this id, which index.html has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element ${id}`);
  return element;
}

/**
 * Makes the children of `parent` those that are wanted. What is the same stays: an element is known by its `data-key`,
 * and without one by its place, so that the focus, a selection and an open <details> survive.
 * @param {Element} parent
 * @param {Node[]} wanted
 */
export function morph(parent, wanted) {
  const focused = parent.contains(document.activeElement) && document.activeElement !== parent;
  morphChildren(parent, wanted);
  if (focused && !parent.contains(document.activeElement)) {
    /** @type {HTMLElement | null} */ (parent.closest("[tabindex]"))?.focus({ preventScroll: true });
  }
}

/** @param {Element} parent @param {Node[]} wanted */
function morphChildren(parent, wanted) {
  const keys = new Set(wanted.map(keyOf));
  /** @type {Map<string, Node>} */
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key === null) continue;
    if (keys.has(key) && !keyed.has(key)) keyed.set(key, child);
    else child.remove();
  }
  let at = parent.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const found = key === null ? at && keyOf(at) === null && at : keyed.get(key);
    if (!found || found.nodeName !== node.nodeName) {
      parent.insertBefore(node, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else parent.insertBefore(found, at);
    morphNode(found, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** @param {Node} node */
function keyOf(node) {
  return node instanceof HTMLElement ? (node.dataset.key ?? null) : null;
}

/** @param {Node} current @param {Node} wanted */
function morphNode(current, wanted) {
  if (!(current instanceof Element && wanted instanceof Element)) {
    if (current.nodeValue !== wanted.nodeValue) current.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name, value } of wanted.attributes) {
    if (!isPersons(current, name) && current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
  for (const { name } of [...current.attributes]) {
    if (!isPersons(current, name) && !wanted.hasAttribute(name)) current.removeAttribute(name);
  }
  morphChildren(current, [...wanted.childNodes]);
}

/** Whether the person who looks has set it. @param {Element} element @param {string} attribute */
function isPersons(element, attribute) {
  return attribute === "open" && element instanceof HTMLDetailsElement;
}

/** Leaves a selection in the text alone where it is the same. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
