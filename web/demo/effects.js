const HIGHLIGHT = "relaykit";
const HIGHLIGHTED = new CSSStyleSheet();
HIGHLIGHTED.replaceSync(
  `::highlight(${HIGHLIGHT}) { background: light-dark(#ffe08a, #6b5200); color: light-dark(#1a1e23, #ffffff); }`,
);

/**
 * The effects that a server can have on this page: name -> function(data, chat), which returns a message for the user.
 * A site puts its own here. Each effect checks its data, because the server only asks for it.
 */
const EFFECTS = {
  highlight({ text }, chat) {
    return highlight(chat.shadowRoot, String(text ?? "")) ? `Highlighted “${text}”` : `“${text}” is not on this page`;
  },
  open_page({ path }) {
    const url = new URL(String(path ?? "/"), location.origin);
    if (url.origin !== location.origin) return "The assistant wanted to open another site";
    // The link opens another tab once the reader agrees, because leaving this page would end the conversation's view.
    const link = Object.assign(document.createElement("a"), { href: url.href, target: "_blank", rel: "noopener" });
    link.textContent = url.pathname;
    const note = document.createElement("span");
    note.append("The assistant suggests this page: ", link);
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

/** Performs an effect and returns the message for the user. */
export function applyEffect({ name, data }, chat) {
  return Object.hasOwn(EFFECTS, name) ? EFFECTS[name](data ?? {}, chat) : `The assistant sent the effect “${name}”`;
}

/** Marks every occurrence of a text in the conversation. Returns whether there is one. */
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
