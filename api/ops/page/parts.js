/** What several screens show: tables, lists of facts, the status of a run, links to runs. */

import { h } from "./dom.js";
import { age, ago, UNKNOWN } from "./format.js";

/** @typedef {import("./dom.js").Child} Child */

/**
 * @template T
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: T) => Child | Child[]} cell
 * @property {boolean} [isNumber]
 */

/**
 * A table that is a list of cards on a narrow screen; the roles keep what it is when its display changes.
 * @template T
 * @param {string} caption
 * @param {Column<T>[]} columns the first is the row's header
 * @param {readonly T[]} rows
 * @param {(row: T) => string} key
 * @param {string} [whenEmpty]
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows, key, whenEmpty = "None.") {
  if (rows.length === 0) return h("p", { class: "none", "data-key": caption }, whenEmpty);
  const heads = columns.map(({ head, isNumber }) =>
    h("th", { role: "columnheader", scope: "col", class: isNumber && "number" }, head),
  );
  const lines = rows.map((row) =>
    h(
      "tr",
      { role: "row", "data-key": key(row) },
      columns.map((column, place) => cell(column, row, place === 0)),
    ),
  );
  return h(
    "table",
    { role: "table", "data-key": caption },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    h("tbody", { role: "rowgroup" }, lines),
  );
}

/**
 * One element in each cell, which stands beside its label on a narrow screen.
 * @template T
 * @param {Column<T>} column @param {T} row @param {boolean} isHeader
 */
function cell({ head, cell: content, isNumber }, row, isHeader) {
  const shown = content(row);
  const isEmpty = !shown || shown === UNKNOWN;
  return h(
    isHeader ? "th" : "td",
    {
      role: isHeader ? "rowheader" : "cell",
      scope: isHeader && "row",
      "data-label": head,
      class: [isNumber ? "number" : "", isEmpty ? "empty" : ""].join(" ").trim() || null,
    },
    shown ? h("span", { class: "value" }, shown) : null,
  );
}

/**
 * Names with what is known of them; what is not known is left out.
 * @param {[string, Child | Child[]][]} given
 */
export function facts(given) {
  const known = given.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "");
  return h(
    "dl",
    { class: "facts" },
    known.map(([name, value]) => h("div", { "data-key": name }, h("dt", {}, name), h("dd", {}, value))),
  );
}

/**
 * @param {string} title @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function part(title, ...children) {
  const id = `part-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return h("section", { "aria-labelledby": id, "data-key": title }, h("h2", { id }, title), ...children);
}

/** @param {{status: string, cancel_requested?: boolean, ended_at?: string | null}} run */
export function status(run) {
  const asked = run.cancel_requested && !run.ended_at ? ", to be stopped" : "";
  return h("span", { class: `status ${run.status}` }, run.status + asked);
}

/** @param {string} runId */
export function runAddress(runId) {
  return `#/runs/${encodeURIComponent(runId)}`;
}

/** @param {string} runId */
export function runLink(runId) {
  return h("a", { href: runAddress(runId), class: "id" }, runId);
}

/** A text of any length, such as a name that somebody chose. @param {string | null} text @param {string} [href] */
export function free(text, href) {
  return text ? h(href ? "a" : "span", { class: "free", href }, text) : UNKNOWN;
}

/** @param {{user: string, tenant: string}} owner */
export function userLink({ user, tenant }) {
  return free(user, runsAddress({ user, tenant }));
}

/** @param {Record<string, string | null | undefined>} filter */
export function runsAddress(filter) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) if (value) query.append(name, value);
  return query.size ? `#/runs?${query}` : "#/runs";
}

/** @param {import("./api.js").Worker} worker */
export function workerState(worker) {
  if (worker.blocked_seconds > 0) {
    return h("span", { class: "status failed" }, `blocked for ${age(worker.blocked_seconds * 1000)}`);
  }
  return worker.draining
    ? h("span", { class: "status waiting" }, "draining")
    : h("span", { class: "status completed" }, "takes runs");
}

/**
 * @param {import("./api.js").Act[]} acts
 * @param {number} now
 * @param {boolean} [withTarget]
 */
export function actsTable(acts, now, withTarget = true) {
  /** @type {Column<import("./api.js").Act>[]} */
  const columns = [
    { head: "Act", cell: (act) => act.act },
    { head: "When", cell: (act) => ago(act.at, now) },
    ...(withTarget ? [{ head: "Of", cell: (/** @type {import("./api.js").Act} */ act) => target(act) }] : []),
    { head: "By", cell: (act) => free(act.actor) },
    { head: "Outcome", cell: (act) => free(act.outcome ?? "not known") },
  ];
  return table("Acts", columns, acts, (act) => `act-${act.id}`, "None.");
}

/** @param {import("./api.js").Act} act */
function target(act) {
  return act.target.startsWith("run_") ? runLink(act.target) : h("span", { class: "id" }, act.target);
}
