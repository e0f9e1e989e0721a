import { Announcer } from "./announcer.js";
import { Api } from "./api.js";
import { ClientEffects } from "./client_effects.js";
import { Commands } from "./commands.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { el } from "./dom.js";
import { Session } from "./session.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { Tabs } from "./tabs.js";
import { ThreadView } from "./thread_view.js";

const SUGGESTIONS = [
  "Write a long answer about how a run lives",
  "What happens when the connection drops?",
  "What time is it where I am?",
  "Show me a widget",
];
/** Coming back to the page asks the server for news, but not more often than this. */
const SYNC_EVERY_MS = 3_000;

const byId = (id) => document.getElementById(id);
const threadInAddress = () => new URLSearchParams(location.search).get("thread");

const session = new Session();
const api = new Api(session);
const tabs = new Tabs(session);
const announcer = new Announcer({ live: byId("live"), toasts: byId("toasts") });
const page = {
  textRoot: byId("log"),
  setTheme: (theme) => (theme ? (document.documentElement.dataset.theme = theme) : delete document.documentElement.dataset.theme),
  setComposerText: (text) => composer.setText(text),
};
const effects = new ClientEffects({ page, announcer });
const conversation = new Conversation({ api, tabs, effects, announcer });
const commands = new Commands({ api, conversation, announcer });
const view = new ThreadView({
  conversation,
  commands,
  places: {
    log: byId("log"), scroller: byId("scroller"), latest: byId("latest"), earlier: byId("earlier"),
    welcome: byId("welcome"), progress: byId("progress"),
  },
});
const composer = new Composer({
  api, conversation, commands, announcer,
  places: {
    composer: byId("composer"), message: byId("message"), send: byId("send"), stop: byId("stop"),
    attach: byId("attach"), file: byId("file"), attachments: byId("attachments"), note: byId("composer-note"),
  },
  onSent: () => view.toEnd(),
});
const sidebar = new Sidebar({
  api, tabs, announcer,
  places: {
    sidebar: byId("sidebar"), backdrop: byId("backdrop"), stage: byId("stage"), menu: byId("menu"), title: byId("title"),
    newThread: byId("new-thread"), threads: byId("threads"), more: byId("more-threads"), none: byId("no-threads"),
    confirm: byId("confirm"), confirmText: byId("confirm-text"),
  },
  onOpen: (id) => go(id),
  onDeleted: (id) => id === conversation.state.id && go(null),
});

/** Opens a thread, or a new one for null, and puts it into the address. */
async function go(threadId) {
  history.pushState(null, "", threadId ? `/?thread=${encodeURIComponent(threadId)}` : "/");
  sidebar.toggle(false);
  await show(threadId);
  composer.focus();
}

async function show(threadId) {
  if (!threadId) return conversation.clear();
  try {
    return await conversation.open(threadId);
  } catch (error) {
    conversation.clear();
    return announcer.toast(error.message);
  }
}

function threadChanged() {
  const { state } = conversation;
  const known = state.id !== null;
  const title = known ? titleOf(state) : "New conversation";
  byId("title").textContent = title;
  document.title = known && state.title ? `${state.title} – Relaykit` : "Relaykit";
  byId("thread-status").hidden = state.status.type === "active";
  byId("thread-status").textContent = state.status.type;
  if (known && threadInAddress() !== state.id && session.identity) {
    history.replaceState(null, "", `/?thread=${encodeURIComponent(state.id)}`);
    sidebar.refresh();
  }
  sidebar.show(known ? state : null);
}

let syncedAtMs = 0;
function cameBack() {
  if (document.hidden || !session.identity || Date.now() - syncedAtMs < SYNC_EVERY_MS) return;
  syncedAtMs = Date.now();
  conversation.sync();
}

function heard({ type, threadId, runId }) {
  if (type === "threads") sidebar.refresh();
  if (type === "run" && threadId === conversation.state.id) conversation.follow(runId);
  if (type !== "deleted") return;
  sidebar.refresh();
  if (threadId === conversation.state.id) go(null);
}

function escape(event) {
  if (event.key !== "Escape" || event.defaultPrevented || byId("confirm").open) return;
  if (sidebar.isOver) sidebar.toggle(false);
  else if (!byId("stop").hidden) commands.stop();
}

async function enter(identity) {
  await session.signIn(identity);
  byId("sign-in").hidden = true;
  byId("chat").hidden = false;
  byId("who").textContent = identity.tenant ? `${identity.sub} (${identity.tenant})` : identity.sub;
  sidebar.refresh();
  await show(threadInAddress());
  composer.refresh();
  composer.focus();
}

async function signInSubmitted(event) {
  event.preventDefault();
  const problem = byId("sign-in-error");
  problem.hidden = true;
  const fields = new FormData(event.currentTarget);
  try {
    await enter({ sub: fields.get("sub").trim(), tenant: fields.get("tenant").trim() || null });
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

function askWho(problem = "") {
  byId("sign-in").hidden = false;
  byId("sign-in-error").textContent = problem;
  byId("sign-in-error").hidden = !problem;
  byId("sign-in-name").focus();
}

function signOut() {
  session.signOut();
  location.assign("/");
}

byId("suggestions").append(
  ...SUGGESTIONS.map((text) => el("li", {}, el("button", { type: "button", class: "button secondary", on: { click: () => composer.sendText(text).then(() => composer.focus()) } }, text))),
);
byId("new-thread").addEventListener("click", () => go(null));
byId("sign-out").addEventListener("click", signOut);
byId("sign-in-form").addEventListener("submit", signInSubmitted);
document.addEventListener("keydown", escape);
document.addEventListener("visibilitychange", cameBack);
window.addEventListener("focus", cameBack);
window.addEventListener("online", cameBack);
window.addEventListener("popstate", () => session.identity && show(threadInAddress()));
conversation.addEventListener("thread", threadChanged);
conversation.addEventListener("failure", ({ error }) => announcer.toast(error.message));
tabs.listen(heard);

const remembered = Session.remembered();
if (remembered) enter(remembered).catch((error) => askWho(error.message));
else askWho();
