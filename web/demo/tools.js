/**
 * Tools that run in the browser: name -> function(params), which returns a JSON value. A site puts its own here. The
 * result of a tool is stored in the thread and read by the model.
 */
const TOOLS = {
  get_local_time() {
    const now = new Date();
    const { timeZone, locale } = Intl.DateTimeFormat().resolvedOptions();
    const text = now.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    return { iso: now.toISOString(), local: text, time_zone: timeZone, locale };
  },
  get_page_selection() {
    return { text: lastSelection, url: pageUrl() };
  },
  get_page_context() {
    return { url: pageUrl(), title: document.title, path: location.pathname, language: navigator.language };
  },
};

/** The address without its query and fragment, where secrets travel. */
const pageUrl = () => location.origin + location.pathname;

const MAX_SELECTION_CHARS = 4_000;
let lastSelection = "";

/** The page's last selection. It is remembered because typing into the message box clears the selection. */
document.addEventListener("selectionchange", () => {
  const text = document.getSelection()?.toString().trim();
  if (text) lastSelection = text.slice(0, MAX_SELECTION_CHARS);
});

/** ChatKit's `onClientTool`. */
export function runTool({ name, params }) {
  return Object.hasOwn(TOOLS, name) ? TOOLS[name](params) : { error: `This page has no tool ${name}.` };
}
