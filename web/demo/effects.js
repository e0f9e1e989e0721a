const HIGHLIGHT = "relaykit";
const HIGHLIGHTED = new CSSStyleSheet();
HIGHLIGHTED.replaceSync(
  `::highlight(${HIGHLIGHT}) { background: light-dark(#ffe08a, #6b5200); color: light-dark(#1a1e23, #ffffff); }`,
);

/**
 * What a server can make this page do: name -> function(data, chat), returning what to tell the user. A site puts its own
 * here. An effect is a wish of the server's, so each checks what it is given.
 */
const EFFECTS = {
  highlight({ text }, chat) {
    return highlight(chat.shadowRoot, String(text ?? "")) ? `Highlighted “${text}”` : `“${text}” is not on this page`;
  },
  open_page({ path }) {
    const url = new URL(String(path ?? "/"), location.origin);
    if (url.origin !== location.origin) return "The assistant wanted to open another site";
    // A page of its own, when the reader says so: leaving would end the conversation's view.
    const link = Object.assign(document.createElement("a"), { href: url.href, target: "_blank", rel: "noopener" });
    link.textContent = url.pathname;
    const note = document.createElement("span");
    note.append("The assistant opens ", link);
    return note;
  },
  set_theme({ theme }) {
    const known = ["light", "dark"].includes(theme) ? theme : null;
    if (known) document.documentElement.dataset.theme = known;
    else delete document.documentElement.dataset.theme;
    return known ? `Switched to the ${known} theme` : "The theme follows your system again";
  },
  set_composer_text({ text }, chat) {
    chat.setComposerValue({ text: String(text ?? "") });
    return "Filled in the message box";
  },
};

/** Does what the server wishes; what to tell the user of it. */
export function applyEffect({ name, data }, chat) {
  return Object.hasOwn(EFFECTS, name) ? EFFECTS[name](data ?? {}, chat) : `The assistant sent the effect “${name}”`;
}

/** Marks every place of a text in the conversation. Returns whether there is one. */
function highlight(root, text) {
  const wanted = text.trim().toLowerCase();
  const ranges = [];
  const walker = document.createTreeWalker(root.getElementById("log"), NodeFilter.SHOW_TEXT);
  while (wanted && walker.nextNode()) {
    const { currentNode } = walker;
    const words = currentNode.data.toLowerCase();
    for (let at = words.indexOf(wanted); at >= 0; at = words.indexOf(wanted, at + wanted.length)) {
      const range = document.createRange();
      range.setStart(currentNode, at);
      range.setEnd(currentNode, at + wanted.length);
      ranges.push(range);
    }
  }
  if (!root.adoptedStyleSheets.includes(HIGHLIGHTED)) root.adoptedStyleSheets.push(HIGHLIGHTED);
  CSS.highlights?.set(HIGHLIGHT, new Highlight(...ranges));
  return ranges.length > 0;
}
