/** What has listeners, or is made of a whole: it is kept where it looks the same, and else replaced. */
const WHOLE = "a, button, details, img, input, .cite, .code-head, .formula";

/** Stands on the element with the last words, whatever that is made of. */
export const END = "data-end";

/**
 * Changes nodes into fresh ones of the same place, and keeps what is the same, so that a selection and what was
 * scrolled sideways stay. Returns the nodes that are shown.
 */
export function patchNodes(shown: readonly ChildNode[], fresh: readonly ChildNode[], parent: ParentNode): ChildNode[] {
  const next = fresh.map((node, at) => {
    const old = shown[at];
    if (old === undefined) return node;
    const kept = patched(old, node);
    if (kept !== old) old.replaceWith(kept);
    return kept;
  });
  for (const old of shown.slice(fresh.length)) old.remove();
  const behind = next.slice(shown.length);
  const last = next[shown.length - 1];
  if (last) last.after(...behind);
  else parent.append(...behind);
  return next;
}

/** The old node, changed into the fresh one; the fresh one where that cannot be. */
function patched(old: ChildNode, fresh: ChildNode): ChildNode {
  if (old instanceof Text && fresh instanceof Text) return patchedText(old, fresh.data);
  if (!(old instanceof Element && fresh instanceof Element) || old.tagName !== fresh.tagName) return fresh;
  if (old.matches(WHOLE) || fresh.matches(WHOLE)) return old.isEqualNode(fresh) ? old : fresh;
  patchAttributes(old, fresh);
  if (old.matches("pre > code") && isCodeGrown(old, fresh.textContent)) return old;
  patchNodes([...old.childNodes], [...fresh.childNodes], old);
  return old;
}

/** Appends what has come to code, which may have its colours; false where it is not the same code any more. */
function isCodeGrown(code: Element, text: string): boolean {
  const shown = code.textContent;
  if (!text.startsWith(shown)) return false;
  const last = code.lastChild;
  if (last instanceof Text) last.appendData(text.slice(shown.length));
  else if (text.length > shown.length) code.append(text.slice(shown.length));
  return true;
}

/** Changes a text behind what is the same, because a selection before that place stays. */
function patchedText(old: Text, data: string): Text {
  if (data.startsWith(old.data)) {
    if (data.length > old.data.length) old.appendData(data.slice(old.data.length));
    return old;
  }
  const most = Math.min(old.data.length, data.length);
  let same = 0;
  while (same < most && old.data.charCodeAt(same) === data.charCodeAt(same)) same += 1;
  old.replaceData(same, old.data.length - same, data.slice(same));
  return old;
}

function patchAttributes(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes]) if (name !== END && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}
