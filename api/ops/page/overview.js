/** The overview: what stands out, the figures, the workers, what has ended, the last acts. */

import { h } from "./dom.js";
import { age, count, duration, several, UNKNOWN } from "./format.js";
import { actsTable, facts, free, part, runsAddress, status, table, userLink } from "./parts.js";
import { offset, workersTable } from "./workers.js";

/** @typedef {import("./api.js").Overview} Overview @typedef {import("./api.js").CallerLoad} CallerLoad */

const LATE_SECONDS = 30;
const BLOCKED_SECONDS = 1;
/** @type {Record<string, string>} */
const NAMES = { redis: "Redis", postgresql: "PostgreSQL" };

/**
 * What an operator should look at first. The keys carry no figure, so that each is announced when it begins and when it
 * is over, and not with each poll.
 * @param {Overview} overview
 * @returns {{key: string, isGrave: boolean, text: string, href?: string, link?: string}[]}
 */
export function findings(overview) {
  const { workers, queue } = overview;
  const found = [];
  for (const [name, said] of [
    ["PostgreSQL", overview.postgresql],
    ["Redis", overview.redis],
  ]) {
    if (said !== "ok") found.push({ key: `${name} is away.`, isGrave: true, text: `${name} is away: ${said}` });
  }
  const takes = workers?.filter((worker) => !worker.draining) ?? [];
  const due = queue?.due ?? 0;
  if (workers?.length === 0)
    found.push({ key: "No worker is there.", isGrave: true, text: "No worker is there: no run is executed." });
  else if (workers && takes.length === 0) {
    found.push({ key: "All workers drain.", isGrave: true, text: "All workers drain: none takes runs." });
  }
  for (const worker of workers ?? []) {
    if (worker.blocked_seconds < BLOCKED_SECONDS) continue;
    const key = `Worker ${worker.id} is blocked.`;
    const since = age(worker.blocked_seconds * 1000);
    found.push({
      key,
      isGrave: true,
      text: `Worker ${worker.id} on ${worker.host} is blocked: a call has not returned for ${since}.`,
    });
  }
  if (queue && due > 0 && (takes.length === 0 || queue.oldest_due_seconds >= LATE_SECONDS)) {
    const cause = takes.length && queue.used >= queue.slots ? " All slots are used." : "";
    found.push({
      key: "Runs wait for a worker.",
      isGrave: true,
      text:
        `${several(due, "run")} ${due === 1 ? "waits" : "wait"} for a worker, ` +
        `the oldest for ${duration(queue.oldest_due_seconds)}.${cause}`,
      href: runsAddress({ status: "queued" }),
      link: "Show them",
    });
  }
  const failed = (overview.ended_last_hour ?? []).filter((end) => end.status === "failed");
  if (failed.length) {
    const runs = sum(failed.map((end) => end.count));
    found.push({
      key: "Runs have failed.",
      isGrave: false,
      text:
        `${several(runs, "run")} failed within the hour${failed.length > 1 ? ", most with" : ":"} ` +
        `${failed[0]?.error ?? "no error"}.`,
      href: runsAddress({ status: "failed" }),
      link: "Show them",
    });
  }
  return found;
}

/**
 * @param {Overview} overview @param {CallerLoad[] | null} callers null: not known @param {number} now
 * @returns {HTMLElement[]}
 */
export function overviewParts(overview, callers, now) {
  const { queue, workers, ended_last_hour: ended, acts } = overview;
  const found = findings(overview);
  return [
    h(
      "ul",
      { class: "findings", "data-key": "findings", "aria-label": "What stands out" },
      found.length
        ? found.map(({ key, isGrave, text, href, link }) =>
            h(
              "li",
              { "data-key": key, class: isGrave ? "grave" : "warns" },
              `${isGrave ? "Problem" : "Note"}: ${text} `,
              href && h("a", { href }, link),
            ),
          )
        : [h("li", { "data-key": "calm", class: "calm" }, "Nothing stands out.")],
    ),
    part("Queue", queue ? figures(queue, workers) : none("Not known at the moment.")),
    part(
      "Workers",
      workers ? workersTable(workers, overview.silent_workers ?? [], now, false) : none("Not known: Redis is away."),
    ),
    h(
      "div",
      { class: "columns", "data-key": "columns" },
      part("Ended within the hour", ended ? endedTable(ended) : none("Not known: PostgreSQL is away.")),
      part("Callers with the most runs", callers ? callersTable(callers) : none("Not known at the moment.")),
    ),
    part("Last acts", acts ? actsTable(acts, now) : none("Not known: PostgreSQL is away.")),
    part(
      "Services",
      facts([
        ["PostgreSQL", service(overview.postgresql)],
        ["Redis", service(overview.redis)],
        ["Sessions of PostgreSQL", overview.database ? sessions(overview.database) : UNKNOWN],
        ["Clock of this API", clocks(overview.clock)],
        ["Relaykit", overview.version],
      ]),
    ),
  ];
}

/**
 * The workers say themselves what is free, sooner than the figures of the queue do.
 * @param {import("./api.js").Queue} queue @param {import("./api.js").Worker[]} [workers]
 */
function figures(queue, workers) {
  const takes = workers?.filter(({ draining }) => !draining);
  const slots = takes ? sum(takes.map((worker) => worker.slots)) : queue.slots;
  const used = takes ? sum(takes.map((worker) => worker.used)) : queue.used;
  const claiming = takes ? takes.length : queue.workers - queue.draining;
  return h(
    "dl",
    { class: "figures" },
    figure("Due", h("a", { href: runsAddress({ status: "queued" }) }, count(queue.due))),
    figure("Oldest due", queue.due ? duration(queue.oldest_due_seconds) : UNKNOWN),
    figure("Running", h("a", { href: runsAddress({ status: "running" }) }, count(queue.running))),
    figure("Waiting for their thread", h("a", { href: runsAddress({ status: "waiting" }) }, count(queue.waiting))),
    figure("Free slots", `${count(Math.max(0, slots - used))} of ${count(slots)}`),
    figure("Workers that take runs", `${count(claiming)} of ${count(workers?.length ?? queue.workers)}`),
  );
}

/** @param {number[]} numbers */
function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

/** @param {string} name @param {string | HTMLElement} value */
function figure(name, value) {
  return h("div", { "data-key": name }, h("dt", {}, name), h("dd", {}, value));
}

/** @param {string} said */
function service(said) {
  return h("span", { class: `status ${said === "ok" ? "completed" : "failed"}` }, said);
}

/** @param {import("./api.js").Sessions} found */
function sessions(found) {
  const { sessions: open, max_connections: most, active, wait_for_locks: locks } = found;
  const oldest = duration(found.oldest_transaction_seconds);
  return (
    `${count(open)} of ${count(most)}, ${count(active)} active, ${count(locks)} wait for locks, ` +
    `${count(found.idle_in_transaction)} idle in a transaction, the oldest transaction for ${oldest}`
  );
}

/** @param {Record<string, number | null>} found */
function clocks(found) {
  const parts = Object.entries(found).map(([service, seconds]) => `${offset(seconds)} by ${NAMES[service] ?? service}`);
  return parts.join(", ") || UNKNOWN;
}

/** @param {string} text */
function none(text) {
  return h("p", { class: "none" }, text);
}

/** @param {{status: string, error: string | null, count: number}[]} ended */
function endedTable(ended) {
  return table(
    "Ended within the hour",
    [
      { head: "Status", cell: (end) => status(end) },
      { head: "Error", cell: (end) => free(end.error) },
      {
        head: "Runs",
        isNumber: true,
        cell: (end) => h("a", { href: runsAddress({ status: end.status, error: end.error }) }, count(end.count)),
      },
    ],
    ended,
    (end) => `${end.status} ${end.error}`,
    "No run has ended.",
  );
}

/** @param {CallerLoad[]} callers */
function callersTable(callers) {
  return table(
    "Callers with the most runs",
    [
      {
        head: "User",
        cell: userLink,
      },
      { head: "Tenant", cell: (each) => free(each.tenant) },
      { head: "Queued", isNumber: true, cell: (each) => count(each.queued) },
      { head: "Running", isNumber: true, cell: (each) => count(each.running) },
      { head: "Waiting", isNumber: true, cell: (each) => count(each.waiting) },
      {
        head: "Oldest due",
        isNumber: true,
        cell: (each) => (each.queued ? duration(each.oldest_due_seconds) : UNKNOWN),
      },
    ],
    callers,
    (each) => JSON.stringify([each.tenant, each.user]),
    "No caller has a run that has not ended.",
  );
}
