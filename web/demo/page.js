import { createChatKitFetch, pageContext } from "/demo/relaykit-chat.js";
import { applyEffect } from "/demo/effects.js";
import { offeredOptions } from "/demo/offers.js";
import { Session } from "/demo/session.js";
import { runTool } from "/demo/tools.js";

const PROMPTS = [
  "Write a long answer about how a run lives",
  "What happens when the connection drops?",
  "What time is it where I am?",
  "Show me a widget",
];

const byId = (id) => document.getElementById(id);
const threadInAddress = () => new URLSearchParams(location.search).get("thread");
const chat = byId("chat");
const session = new Session();

function options(offered) {
  const fetch = createChatKitFetch({
    url: "/chatkit",
    getToken: ({ refused }) => session.token(refused),
    metadata: () => ({ userInfo: { id: session.identity.sub, name: session.identity.sub }, pageContext: pageContext() }),
    onReload: () => chat.fetchUpdates(),
  });
  return {
    api: { url: "/chatkit", domainKey: "local", fetch, uploadStrategy: { type: "two_phase" } },
    initialThread: threadInAddress(),
    drafts: { user: JSON.stringify([session.identity.tenant, session.identity.sub]) },
    onClientTool: runTool,
    ...offered,
    composer: { placeholder: "Write a message", attachments: { enabled: true }, ...offered.composer },
    startScreen: {
      greeting: "What would you like to know?",
      prompts: PROMPTS.map((prompt) => ({ label: prompt, prompt })),
    },
    thread: { autoScroll: true },
    threadItemActions: { feedback: true, retry: true },
    widgets: { onAction: async ({ type }) => toast(`The widget asked this page to “${type}”`) },
  };
}

/** Adds an entry to the browser's history where the person chose a thread, and none where a new thread got its id. */
function threadChanged({ detail: { threadId } }) {
  if (threadInAddress() === threadId) return;
  const address = threadId ? `?thread=${encodeURIComponent(threadId)}` : location.pathname;
  history[threadInAddress() === null ? "replaceState" : "pushState"](null, "", address);
}

/** Says in the page's title that an answer is being written in some conversation, or is there to be read. */
function runsChanged({ detail: { running, finished } }) {
  const mark = finished.length > 0 ? "● " : running.length > 0 ? "… " : "";
  document.title = `${mark}Relaykit`;
}

function toast(content) {
  const note = Object.assign(document.createElement("div"), { className: "toast" });
  note.append(content);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), 6_000);
}

async function enter(identity) {
  await session.signIn(identity);
  const offered = await offeredOptions();
  byId("sign-in").hidden = true;
  byId("chat-page").hidden = false;
  byId("who").textContent = identity.tenant ? `${identity.sub} (${identity.tenant})` : identity.sub;
  chat.setOptions(options(offered));
  await chat.focusComposer();
}

async function signInSubmitted(event) {
  event.preventDefault();
  const fields = new FormData(event.currentTarget);
  try {
    await enter({ sub: fields.get("sub").trim(), tenant: fields.get("tenant").trim() || null });
  } catch (error) {
    askWho(error.message);
  }
}

function askWho(problem = "") {
  byId("sign-in").hidden = false;
  byId("sign-in-error").textContent = problem;
  byId("sign-in-error").hidden = !problem;
  byId("sign-in-name").focus();
}

/** The operators' console has a link where it is on. */
async function offerConsole() {
  const options = await fetch("/ops/options.json").catch(() => null);
  byId("console").hidden = !options?.ok;
}

function signOut() {
  session.signOut();
  location.assign(location.pathname);
}

byId("sign-out").addEventListener("click", signOut);
byId("sign-in-form").addEventListener("submit", signInSubmitted);
chat.addEventListener("chatkit.thread.change", threadChanged);
chat.addEventListener("relaykit.runs", runsChanged);
chat.addEventListener("chatkit.effect", ({ detail }) => toast(applyEffect(detail, chat)));
window.addEventListener("popstate", () => session.identity && chat.setThreadId(threadInAddress()));

offerConsole();
const remembered = Session.remembered();
if (remembered) enter(remembered).catch((error) => askWho(error.message));
else askWho();
