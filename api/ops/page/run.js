/** A run's page: its row, where it is, what was done to it, what was written. */

import { actButton, offered } from "./acts.js";
import { h } from "./dom.js";
import { age, between, count, duration, moment, several, UNKNOWN } from "./format.js";
import { actsTable, facts, part, runsAddress, status, userLink, workerState } from "./parts.js";

/** @typedef {import("./api.js").RunDetails} RunDetails @typedef {import("./timeline.js").Journal} Journal */

/**
 * @param {RunDetails} run @param {Journal} journal @param {import("./api.js").Caller} caller @param {number} now
 * @returns {HTMLElement[]}
 */
export function runParts(run, journal, caller, now) {
  return [
    h(
      "p",
      { class: "run-state", "data-key": "state" },
      status(run),
      run.error && h("span", { class: "error-code" }, run.error),
      h("span", { class: "note" }, sentence(run, now)),
    ),
    ...(run.redis === "ok"
      ? []
      : [
          h(
            "p",
            { class: "problem", "data-key": "redis" },
            `Its job, its worker and its journal are not known: Redis is away: ${run.redis}`,
          ),
        ]),
    h(
      "div",
      { class: "buttons", role: "group", "aria-label": "Acts on this run", "data-key": "acts" },
      offered(run).map(actButton),
    ),
    h(
      "div",
      { class: "columns", "data-key": "columns" },
      part("Row", row(run, now)),
      part("Life", life(run, now)),
      part("Where it is", place(run, now)),
    ),
    part("Timeline", ...journal.parts(run, now)),
    part("Acts on it", actsTable(run.acts, now, false)),
    part("Content", ...content(run, caller)),
  ];
}

/** @param {RunDetails} run @param {number} now */
function sentence(run, now) {
  const since = (/** @type {string} */ at) => duration((now - new Date(at).getTime()) / 1000);
  if (run.ended_at) {
    const ended = `ended after ${duration(between(run.accepted_at, run.ended_at))}`;
    return run.awaited_item ? `${ended}; its thread awaits the output of a client tool call` : ended;
  }
  if (run.status === "waiting") return `waits behind another run of its thread, for ${since(run.accepted_at)}`;
  if (run.status === "running") {
    const lost = run.job && !run.job.place?.is_held;
    const executed = run.started_at ? `for ${since(run.started_at)}` : "";
    return lost ? `no worker holds it: it is taken over when its job is due` : `is executed ${executed}`;
  }
  return `waits for a worker, for ${since(run.due_at)}`;
}

/** @param {RunDetails} run @param {number} now */
function row(run, now) {
  const limit = run.max_attempts === null ? "RUN_MAX_ATTEMPTS" : count(run.max_attempts);
  const uncounted = run.handed_back ? `; ${count(run.handed_back)} of them handed back, which do not count` : "";
  return facts([
    ["Kind", run.kind],
    ["Tenant", run.tenant || UNKNOWN],
    ["User", userLink(run)],
    ["Thread", h("a", { class: "id", href: runsAddress({ thread: run.thread_id }) }, run.thread_id)],
    ["Attempts", `${count(run.attempt)}, at most ${limit}${uncounted}`],
    ["Error", run.error && h("a", { href: runsAddress({ status: run.status, error: run.error }) }, run.error)],
    ["Awaited call", run.awaited_item && h("span", { class: "id" }, run.awaited_item)],
    ["Awaited until", run.awaited_until && moment(run.awaited_until, now)],
    ["Stop requested", run.cancel_requested ? "yes" : "no"],
    ["First noted at a client", run.received_at ? moment(run.received_at, now) : UNKNOWN],
    ["Trace", run.trace_id && h("code", { class: "id" }, run.trace_id)],
  ]);
}

/** @param {RunDetails} run @param {number} now */
function life(run, now) {
  /** @type {[string, string | null, string, string | null][]} */
  const steps = [
    ["Accepted", run.accepted_at, "", null],
    ["Due", run.due_at, "after", run.accepted_at],
    ["Started", run.started_at, "after", run.due_at],
    [`Ended: ${run.status}`, run.ended_at, "after", run.started_at ?? run.accepted_at],
  ];
  return h(
    "ol",
    { class: "life" },
    steps
      .filter(([, at]) => at)
      .map(([name, at, word, since]) => {
        const seconds = between(since, at);
        const took =
          seconds !== null && seconds >= 0 ? h("span", { class: "note" }, ` ${word} ${duration(seconds)}`) : null;
        return h("li", { "data-key": name }, h("strong", {}, name), " ", moment(at, now), took);
      }),
  );
}

/** @param {RunDetails} run @param {number} now */
function place(run, now) {
  const { job, worker } = run;
  /** @type {[string, import("./parts.js").Child | import("./parts.js").Child[]][]} */
  const known = [
    ["Job", job && jobText(job)],
    ["Worker", job?.place && h("span", { class: "id" }, job.place.worker_id)],
    ["Its state", job?.place && (worker ? workerState(worker) : "gone")],
    ["On", worker && `${worker.host}, process ${worker.pid}, Relaykit ${worker.version}`],
    ["Up for", worker && age(now - worker.started_at * 1000)],
    [
      "Lease",
      job?.place &&
        (job.lease_seconds === null ? "has ended" : `for ${duration(job.lease_seconds)}, unless it is renewed`),
    ],
    [
      "Entries by attempt",
      run.attempts
        .map(({ attempt, entries }) => `attempt ${attempt}: ${entries === null ? "none left" : count(entries)}`)
        .join(", ") || "none",
    ],
    ["Followers", followers(run.followers)],
  ];
  return facts(known);
}

/** @param {number | null} processes */
function followers(processes) {
  if (processes === null) return "not known";
  return processes === 0 ? "none" : `clients of ${several(processes, "API")}`;
}

/** @param {import("./api.js").Job} job */
function jobText(job) {
  if (!job.has_job) return "none";
  if (job.lease_seconds !== null) return "held by a worker";
  if (job.due_seconds === null) return "due, in the fair order";
  return job.due_seconds > 0 ? `due in ${duration(job.due_seconds)}` : `due since ${duration(-job.due_seconds)}`;
}

/** @param {RunDetails} run @param {import("./api.js").Caller} caller */
function content(run, caller) {
  if (!caller.content) {
    return [
      h(
        "p",
        { class: "note" },
        "What was written is shown to callers whose token has the claim of OPS_CONTENT_CLAIM as well.",
      ),
    ];
  }
  if (!run.content) {
    return [
      h(
        "p",
        { class: "note" },
        "What users, server and model wrote, and the claims of the token, are shown when you ask for them.",
      ),
      h("button", { type: "button", "data-content": true }, "Show what was written"),
    ];
  }
  return Object.entries(run.content).map(([name, value]) =>
    h(
      "details",
      { open: true, "data-key": name },
      h("summary", {}, name),
      h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)),
    ),
  );
}
