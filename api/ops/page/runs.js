/** The list of runs. Its filter is the address, so that a link to what somebody sees can be shared. */

import { h } from "./dom.js";
import { ago, UNKNOWN } from "./format.js";
import { free, runLink, runsAddress, status, table, userLink } from "./parts.js";

/** @typedef {import("./api.js").RunPage} RunPage @typedef {RunPage["runs"][number]} ListedRun */

const STATUSES = ["waiting", "queued", "running", "completed", "failed", "cancelled"];

/** @type {[string, string, string][]} */
const FIELDS = [
  ["run", "Run", "its whole id"],
  ["error", "Error", "such as timeout"],
  ["tenant", "Tenant", ""],
  ["user", "User", "the sub of the token"],
  ["thread", "Thread", "its whole id"],
  ["since", "Accepted within", "90s, 15m, 24h, 7d"],
  ["older_than", "Older than", "90s, 15m, 24h, 7d"],
];

/**
 * The form of the filter, filled with the one of the address.
 * @param {URLSearchParams} query
 * @param {(address: string) => void} search
 */
export function filterForm(query, search) {
  const chosen = query.getAll("status");
  const form = /** @type {HTMLFormElement} */ (
    h(
      "form",
      { class: "filter", role: "search", "aria-label": "Runs" },
      h(
        "fieldset",
        { class: "choices" },
        h("legend", {}, "Status"),
        STATUSES.map((name) =>
          h(
            "label",
            {},
            h("input", { type: "checkbox", name: "status", value: name, checked: chosen.includes(name) }),
            name,
          ),
        ),
      ),
      FIELDS.map(([name, label, hint]) =>
        h(
          "p",
          { class: "field" },
          h("label", { for: `filter-${name}` }, label),
          h("input", {
            id: `filter-${name}`,
            name,
            value: query.get(name) ?? "",
            placeholder: hint,
            autocomplete: "off",
            autocapitalize: "off",
            spellcheck: "false",
          }),
        ),
      ),
      h(
        "p",
        { class: "buttons" },
        h("button", { type: "submit", class: "primary" }, "Search"),
        h("a", { href: "#/runs" }, "All runs"),
      ),
    )
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (typeof value === "string" && value.trim()) given.append(name, value.trim());
    }
    search(given.size ? `#/runs?${given}` : "#/runs");
  });
  return form;
}

/**
 * @param {RunPage} page @param {URLSearchParams} query @param {number} now
 * @returns {HTMLElement[]}
 */
export function runsParts(page, query, now) {
  const shown = [
    h("h2", { class: "unseen", "data-key": "title" }, "Runs that were found"),
    ...(page.redis === "ok"
      ? []
      : [
          h(
            "p",
            { class: "problem", "data-key": "redis" },
            `Which worker has a run is not known: Redis is away: ${page.redis}`,
          ),
        ]),
    h(
      "div",
      { class: "list", "data-key": "list" },
      table("Runs", COLUMNS(now), page.runs, (run) => run.id, "No run matches."),
    ),
  ];
  return [...shown, pages(page, query)];
}

/** @param {number} now @returns {import("./parts.js").Column<ListedRun>[]} */
const COLUMNS = (now) => [
  { head: "Run", cell: (run) => runLink(run.id) },
  { head: "Status", cell: status },
  { head: "Error", cell: (run) => free(run.error) },
  { head: "Accepted", cell: (run) => ago(run.accepted_at, now) },
  { head: "Attempt", isNumber: true, cell: (run) => String(run.attempt) },
  { head: "Tenant", cell: (run) => free(run.tenant) },
  { head: "User", cell: userLink },
  {
    head: "Thread",
    cell: (run) => h("a", { href: runsAddress({ thread: run.thread_id }), class: "id short" }, run.thread_id),
  },
  { head: "Kind", cell: (run) => run.kind.replace(/^threads\./, "") },
  { head: "Worker", cell: worker },
];

/** @param {ListedRun} run */
function worker({ worker: place }) {
  if (!place) return UNKNOWN;
  return [place.is_held ? "" : "lost: ", h("span", { class: "id short" }, place.worker_id)];
}

/** @param {RunPage} page @param {URLSearchParams} query */
function pages(page, query) {
  const newest = new URLSearchParams(query);
  newest.delete("before");
  const older = new URLSearchParams(newest);
  if (page.next) older.set("before", page.next);
  const links = [
    query.has("before") &&
      h("a", { href: newest.size ? `#/runs?${newest}` : "#/runs", "data-key": "newest" }, "Newest runs"),
    page.next && h("a", { href: `#/runs?${older}`, "data-key": "older" }, "Older runs"),
  ];
  return h("nav", { class: "pages", "aria-label": "Pages", "data-key": "pages", hidden: !links.some(Boolean) }, links);
}
