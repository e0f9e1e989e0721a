// An interface of a site's own on top of the client, as small as it can be: it shows the thread in the page's address,
// and what comes to it. `window.site` has what the tests ask for.
import { createChatKitFetch, pageContext, readEvents } from "/client/index.js";

const params = new URLSearchParams(location.search);
const thread = document.getElementById("thread");
const stop = document.getElementById("stop");

const site = {
  ttlSeconds: Number(params.get("ttl") ?? 600),
  tokens: 0,
  telemetry: [],
  states: [],
  reloads: 0,
  errors: [],
  /** Texts that became shorter, or other ones, or went away. */
  flickers: [],
  isAnswering: false,
  threadId: params.get("thread"),
};
window.site = site;

async function getToken() {
  site.tokens += 1;
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub: params.get("user"), ttl_seconds: site.ttlSeconds }),
  });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return (await response.json()).access_token;
}

const chat = createChatKitFetch({
  url: "/chatkit",
  getToken,
  metadata: () => ({ userInfo: { id: params.get("user") }, pageContext: pageContext() }),
  limits: { maxWaitMs: 1_000 },
  onReload: async () => {
    site.reloads += 1;
    await load();
  },
  onTelemetry: (happened) => site.telemetry.push(happened),
});
chat.connection.subscribe(() => site.states.push(chat.connection.state));

window.getToken = getToken;

const request = (type, params) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ type, params }),
});

/** What is known of each item, by id: its line and whether it is finished. */
const items = new Map();

function line(item) {
  let known = items.get(item.id);
  if (known === undefined) {
    known = { element: document.createElement("li"), isDone: false };
    known.element.dataset.type = item.type;
    thread.append(known.element);
    items.set(item.id, known);
  }
  return known;
}

const textOf = (item) => (item.content ?? []).map((part) => part.text).join("");

function show(item) {
  const known = line(item);
  known.isDone = true;
  if (known.element.textContent !== textOf(item)) known.element.textContent = textOf(item);
}

function apply(event) {
  switch (event.type) {
    case "thread.created":
      site.threadId = event.thread.id;
      params.set("thread", site.threadId);
      history.replaceState(null, "", `?${params}`);
      return;
    case "thread.item.added":
      line(event.item);
      return;
    case "thread.item.done":
    case "thread.item.replaced":
      show(event.item);
      return;
    case "thread.item.removed":
      items.get(event.item_id)?.element.remove();
      items.delete(event.item_id);
      return;
    case "thread.item.updated": {
      const known = items.get(event.item_id);
      const { delta } = event.update;
      // A replay tells again of what was finished before this page came.
      if (delta !== undefined && !known.isDone) known.element.append(delta);
      return;
    }
    case "error":
      site.errors.push(event.message);
      return;
  }
}

async function follow(response, stopRun) {
  site.isAnswering = true;
  stop.hidden = false;
  stop.onclick = stopRun;
  try {
    for await (const { event } of readEvents(response)) apply(event);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    stop.hidden = true;
    site.isAnswering = false;
  }
}

async function send(text) {
  const input = { content: [{ type: "input_text", text }], attachments: [], inference_options: {} };
  const stopping = new AbortController();
  // What leaves with the page may abort what it waits for; that stops no run.
  addEventListener("pagehide", () => stopping.abort());
  const asked = site.threadId
    ? request("threads.add_user_message", { thread_id: site.threadId, input })
    : request("threads.create", { input });
  const response = await chat("/chatkit", { ...asked, signal: stopping.signal });
  await follow(response, () => stopping.abort());
}

async function load() {
  const response = await chat("/chatkit", request("items.list", { thread_id: site.threadId, limit: 100, order: "asc" }));
  for (const item of (await response.json()).data) show(item);
}

const texts = new Map();
new MutationObserver(() => {
  for (const [element, before] of texts) {
    const now = element.isConnected ? element.textContent : null;
    if (now === null || !now.startsWith(before)) site.flickers.push([before, now]);
    if (now === null) texts.delete(element);
  }
  for (const { element } of items.values()) if (element.isConnected) texts.set(element, element.textContent);
}).observe(thread, { childList: true, subtree: true, characterData: true });

document.getElementById("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = document.getElementById("message");
  const text = message.value;
  message.value = "";
  void send(text);
});

if (site.threadId) {
  await load();
  const run = await chat.resumeThread(site.threadId);
  if (run) void follow(run.response, () => run.stop());
}
document.body.dataset.ready = "true";
