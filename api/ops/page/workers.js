/** The workers, and how each is drained. */

import { h } from "./dom.js";
import { age, count, duration, UNKNOWN } from "./format.js";
import { table, workerState } from "./parts.js";

/** @typedef {import("./api.js").Worker & {silent_seconds?: number}} Shown */

const SAME_SECONDS = 0.1;

/**
 * Those that are there, then those that have become silent without a word.
 * @param {import("./api.js").Worker[]} workers @param {import("./api.js").SilentWorker[]} silent @param {number} now
 * @param {boolean} withActs
 * @returns {HTMLElement}
 */
export function workersTable(workers, silent, now, withActs) {
  /** @type {Shown[]} */
  const shown = [...workers, ...silent.map(({ state, silent_seconds }) => ({ ...state, silent_seconds }))];
  /** @type {import("./parts.js").Column<Shown>[]} */
  const columns = [
    { head: "Worker", cell: (worker) => h("span", { class: "id" }, worker.id) },
    { head: "State", cell: state },
    { head: "Runs", isNumber: true, cell: (worker) => `${count(worker.used)} of ${count(worker.slots)}` },
    { head: "Used", cell: (worker) => used(worker) },
    { head: "Host", cell: (worker) => worker.host },
    { head: "Process", isNumber: true, cell: (worker) => String(worker.pid) },
    { head: "Version", cell: (worker) => worker.version },
    { head: "Up", isNumber: true, cell: (worker) => up(worker, now) },
    { head: "Clock", isNumber: true, cell: (worker) => offset(worker.clock_offset_seconds) },
  ];
  if (withActs) columns.push({ head: "Acts", cell: drainButton });
  return table("Workers", columns, shown, (worker) => worker.id, "No worker is there.");
}

/** @param {Shown} worker */
function state(worker) {
  if (worker.silent_seconds === undefined) return workerState(worker);
  return h("span", { class: "status failed" }, `silent for ${age(worker.silent_seconds * 1000)}`);
}

/** @param {Shown} worker @param {number} now */
function up(worker, now) {
  return worker.silent_seconds === undefined ? age(now - worker.started_at * 1000) : UNKNOWN;
}

/** How far a clock is ahead of a service's, in words. @param {number | null | undefined} seconds */
export function offset(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (Math.abs(seconds) < SAME_SECONDS) return "right";
  return `${duration(Math.abs(seconds))} ${seconds > 0 ? "ahead" : "behind"}`;
}

/** @param {import("./api.js").Worker} worker */
function used(worker) {
  const name = `${worker.used} of ${worker.slots} slots`;
  return h("meter", { min: 0, max: Math.max(1, worker.slots), value: worker.used, "aria-label": name }, name);
}

/** @param {Shown} worker */
function drainButton(worker) {
  if (worker.draining || worker.silent_seconds !== undefined) return UNKNOWN;
  const label = `Drain worker ${worker.id}`;
  return h(
    "button",
    { type: "button", "data-drain": worker.id, "aria-label": label, class: "danger-quiet" },
    "Drain …",
  );
}
