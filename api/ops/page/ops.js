/** The console's frame: who is signed in, and which screen the address says. */

import { Acts } from "./acts.js";
import { Api, ApiError } from "./api.js";
import { byId, h } from "./dom.js";
import { clock, several } from "./format.js";
import { findings, overviewParts } from "./overview.js";
import { runParts } from "./run.js";
import { filterForm, runsParts } from "./runs.js";
import { announce, Screen, setTitle } from "./screen.js";
import { showSignIn } from "./sign_in.js";
import { Journal } from "./timeline.js";
import { workersTable } from "./workers.js";

/**
 * @typedef {import("./api.js").Caller} Caller @typedef {import("./api.js").Overview} Overview
 * @typedef {import("./api.js").CallerLoad} CallerLoad @typedef {import("./api.js").Worker} Worker
 * @typedef {import("./api.js").SilentWorker} SilentWorker
 * @typedef {import("./api.js").RunDetails} RunDetails @typedef {import("./api.js").RunPage} RunPage
 */

const api = new Api();
const main = byId("main");
const acts = new Acts(api, showOutcome);

/** @type {Caller | null} */
let caller = null;
/** @type {Screen<any> | null} */
let screen = null;

/** @param {(string | Node)[]} content */
function showOutcome(content) {
  const outcome = document.getElementById("outcome");
  if (!outcome) return; // another token is asked for meanwhile
  outcome.replaceChildren(`${clock(Date.now())} `, ...content);
  outcome.hidden = false;
  announce(outcome.textContent ?? "");
}

function overview() {
  return new Screen({
    onRefused: signIn,
    title: "Overview",
    ask: async (signal) => {
      const [shown, callers] = await Promise.all([
        /** @type {Promise<Overview>} */ (api.get("overview", undefined, signal)),
        busiest(signal),
      ]);
      return { shown, callers };
    },
    parts: ({ shown, callers }) => overviewParts(shown, callers, api.now()),
    announces: ({ shown }) =>
      findings(shown)
        .map(({ key }) => key)
        .join(" ") || "Nothing stands out.",
  });
}

/** Not known where a service is away, which the overview says. @param {AbortSignal} signal */
async function busiest(signal) {
  try {
    return /** @type {{callers: CallerLoad[]}} */ (await api.get("queue", undefined, signal)).callers;
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) return null;
    throw error;
  }
}

/** @param {URLSearchParams} query */
function runs(query) {
  const form = filterForm(query, (address) => {
    const before = location.hash;
    location.hash = address;
    if (location.hash === before) screen?.poll.now();
  });
  return new Screen({
    onRefused: signIn,
    title: "Runs",
    before: form,
    ask: (signal) => /** @type {Promise<RunPage>} */ (api.get("runs", query, signal)),
    parts: (page) => runsParts(page, query, api.now()),
    isFinal: () => true,
    announces: (page) =>
      page.runs.length
        ? `${several(page.runs.length, "run")}${page.next ? ", and older ones" : ""}.`
        : "No run matches.",
  });
}

/** @param {string} runId */
function run(runId) {
  const journal = new Journal();
  let withContent = false;
  return new Screen({
    onRefused: signIn,
    title: `Run ${runId}`,
    absent: `There is no run ${runId}.`,
    ask: async (signal) => {
      const query = withContent ? new URLSearchParams({ content: "1" }) : undefined;
      const details = /** @type {RunDetails} */ (await api.get(`runs/${encodeURIComponent(runId)}`, query, signal));
      await journal.read(api, runId, signal);
      return details;
    },
    parts: (details) => runParts(details, journal, /** @type {Caller} */ (caller), api.now()),
    isFinal: (details) => details.ended_at !== null && details.awaited_item === null && journal.isWhole,
    announces: (details) => `The run is ${details.status}${details.error ? `: ${details.error}` : ""}.`,
    onPress: (button, details) => {
      const act = /** @type {import("./acts.js").RunAct | undefined} */ (button.dataset.act);
      if (act) acts.askRun(act, details, () => screen?.poll.now());
      if (button.dataset.more !== undefined) journal.allowMore();
      if (button.dataset.content !== undefined) {
        withContent = true;
        journal.restart(true);
      }
      if (!act) screen?.poll.now();
    },
  });
}

function workers() {
  return new Screen({
    onRefused: signIn,
    title: "Workers",
    ask: (signal) =>
      /** @type {Promise<{workers: Worker[], silent_workers: SilentWorker[]}>} */ (
        api.get("workers", undefined, signal)
      ),
    parts: (answer) => [
      h("div", { class: "list" }, workersTable(answer.workers, answer.silent_workers, api.now(), true)),
    ],
    announces: ({ workers: all }) =>
      `Workers: ${all.length}, of which ${all.filter((each) => each.draining).length} drain.`,
    onPress: (button, { workers: all }) => {
      const worker = all.find(({ id }) => id === button.dataset.drain);
      if (worker) acts.askDrain(worker, all, () => screen?.poll.now());
    },
  });
}

/** Shows what the address says. @param {boolean} isStart whether the page was just opened: the focus stays then */
function route(isStart) {
  screen?.stop();
  acts.close();
  const address = location.hash.slice(1) || "/";
  const at = address.indexOf("?");
  const path = at < 0 ? address : address.slice(0, at);
  const query = new URLSearchParams(at < 0 ? "" : address.slice(at + 1));
  screen = screenOf(path, query);
  for (const link of byId("nav").querySelectorAll("a")) {
    const isCurrent = link.getAttribute("href") === (path.startsWith("/runs/") ? "#/runs" : `#${path}`);
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (isStart) return;
  scrollTo(0, 0);
  screen?.focus();
}

/** @param {string} path @param {URLSearchParams} query @returns {Screen<any> | null} */
function screenOf(path, query) {
  const runId = /^\/runs\/(.+)$/.exec(path)?.[1];
  if (runId) return run(decoded(runId));
  if (path === "/runs") return runs(query);
  if (path === "/workers") return workers();
  if (path === "/") return overview();
  const heading = h("h1", { tabindex: -1 }, "Not found");
  main.replaceChildren(heading, h("p", {}, "The console has no such page. ", h("a", { href: "#/" }, "Overview")));
  setTitle("Not found");
  return null;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // no percent-encoding: as it was typed
  }
}

/** @param {import("./api.js").ApiError} refused */
function signIn(refused) {
  screen?.stop();
  screen = null;
  acts.close();
  caller = null;
  showFrame();
  showSignIn(refused, api.hasToken, (token) => {
    api.signIn(token);
    start(false);
  });
}

/** What is there for a caller who is signed in, and only then. */
function showFrame() {
  byId("nav").hidden = caller === null;
  byId("sign-out").hidden = caller === null || !api.canSignOut;
  const who = byId("who");
  who.hidden = caller === null;
  who.textContent = caller ? `${caller.user}${caller.tenant ? ` (${caller.tenant})` : ""}` : "";
}

/** Asks who the caller is, until the API says so. @param {boolean} isStart whether the page was just opened */
function start(isStart) {
  screen?.stop();
  screen = new Screen({
    onRefused: signIn,
    title: "Console",
    ask: () => api.caller(),
    parts: () => [],
    isFinal: () => true,
    onAnswer: (found) => {
      caller = found;
      showFrame();
      route(isStart);
    },
  });
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment says which screen is shown
  main.focus();
});
byId("try-now").addEventListener("click", () => screen?.poll.now());
byId("sign-out").addEventListener("click", () => {
  api.signOut();
  start(false);
});
addEventListener("hashchange", () => {
  if (caller) route(false);
});
setInterval(() => screen?.tick(), 1_000);
byId("footer").textContent =
  `Times are those of this browser: ${new Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
start(true);
