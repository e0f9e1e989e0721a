/**
 * Tools that run in the browser: name -> function(arguments) returning what JSON can carry.
 * A site puts its own here. What a tool returns is stored in the thread and read by the model.
 */
const TOOLS = {
  get_local_time() {
    const now = new Date();
    const { timeZone, locale } = Intl.DateTimeFormat().resolvedOptions();
    const text = now.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    return { iso: now.toISOString(), local: text, time_zone: timeZone, locale };
  },
  get_page_selection() {
    return { text: lastSelection, url: location.href };
  },
  get_page_context() {
    return { url: location.href, title: document.title, path: location.pathname, language: navigator.language };
  },
};

const MAX_SELECTION_CHARS = 4_000;
let lastSelection = "";

/** Typing into the message box clears the page's selection, so the last one is remembered. */
document.addEventListener("selectionchange", () => {
  const text = document.getSelection()?.toString().trim();
  if (text) lastSelection = text.slice(0, MAX_SELECTION_CHARS);
});

/**
 * Runs a client tool call. A result is kept for the visit, so that a reload between the call and its answer does
 * not run the tool again. An unknown tool and a failing one answer with an error instead of leaving the run waiting.
 */
export async function callClientTool({ id, name, arguments: args }) {
  const key = `relaykit.tool.${id}`;
  const kept = sessionStorage.getItem(key);
  if (kept) return JSON.parse(kept);
  let result;
  try {
    result = Object.hasOwn(TOOLS, name) ? await TOOLS[name](args) : { error: `This page has no tool ${name}.` };
  } catch (error) {
    result = { error: `The tool ${name} failed: ${error.message}` };
  }
  sessionStorage.setItem(key, JSON.stringify(result));
  return result;
}
