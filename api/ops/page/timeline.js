/** A run's journal: what was written when, how much of it, and where nothing was. */

import { ApiError, told } from "./api.js";
import { h } from "./dom.js";
import { age, between, count, duration, moment, several, size } from "./format.js";
import { table } from "./parts.js";

/** @typedef {import("./api.js").RunEvent} RunEvent @typedef {import("./api.js").EventPage} EventPage */

const PAGE = 1_000;
const MOST = 10_000;
const GAP_SECONDS = 2;
const MOST_TEXT = 20_000;

/**
 * A line of the timeline. Entries that follow each other and are of one kind are one: the deltas of an answer.
 * @typedef {object} Line
 * @property {"entries" | "gap" | "missing"} type
 * @property {RunEvent} first of a gap the entry before it
 * @property {RunEvent} last of a gap the entry after it
 * @property {number} seconds of a gap
 * @property {number} untimed entries in a gap that have no time
 * @property {number} bytes
 * @property {RunEvent[]} entries
 */

/** The entries that this page has read, and how it reads on. */
export class Journal {
  /** @type {RunEvent[]} */ entries = [];
  /** Why there is no more to be read; a sentence. @type {string | null} */ problem = null;
  hasMore = false;
  withContent = false;
  #most = MOST;
  #grownAt = Date.now();

  /** @param {boolean} withContent */
  restart(withContent) {
    this.withContent = withContent;
    this.entries = [];
  }

  allowMore() {
    this.#most += MOST;
  }

  /**
   * Reads what has come since.
   * @param {import("./api.js").Api} api @param {string} runId @param {AbortSignal} signal
   */
  async read(api, runId, signal) {
    const [entries, withContent] = [this.entries, this.withContent];
    this.problem = null;
    this.hasMore = false;
    try {
      let next = /** @type {string | null} */ (entries.at(-1)?.cursor ?? "");
      while (next !== null) {
        if (entries.length >= this.#most) {
          this.hasMore = true;
          return;
        }
        const query = new URLSearchParams({ limit: String(PAGE) });
        if (next) query.set("after", next);
        if (withContent) query.set("content", "1");
        const page = /** @type {EventPage} */ (
          await api.get(`runs/${encodeURIComponent(runId)}/events`, query, signal)
        );
        signal.throwIfAborted();
        if (this.entries !== entries) return; // it was begun anew meanwhile
        if (page.events.length) this.#grownAt = Date.now();
        entries.push(...page.events);
        next = page.events.length ? page.next : null;
      }
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError) || error.isSignIn) throw error;
      this.problem = told(error);
    }
  }

  /** Whether nothing can follow what was read of a run that has ended. */
  get isWhole() {
    return this.problem !== null || this.entries.length === 0 || this.entries.at(-1)?.kind === "end" || this.hasMore;
  }

  /** @param {import("./api.js").RunDetails} run @param {number} now @returns {HTMLElement[]} */
  parts(run, now) {
    const entries = this.entries;
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const untimed = entries.every(({ at }) => at) ? "" : " When some of them were written is not known.";
    const quiet = Date.now() - this.#grownAt;
    const isQuiet = !run.ended_at && quiet >= GAP_SECONDS * 1_000;
    const none = this.problem === null && "There are none: none were written yet, or their time in Redis is over.";
    return [
      h(
        "p",
        { "data-key": "sum", class: "note" },
        entries.length ? `${several(entries.length, "entry", "entries")}, ${size(bytes)}.${untimed}` : none,
      ),
      ...(isQuiet && entries.length
        ? [h("p", { "data-key": "quiet", class: "gap" }, `No new entry for ${age(quiet)}, as long as this page looks.`)]
        : []),
      ...(this.problem === null ? [] : [h("p", { "data-key": "problem", class: "problem" }, this.problem)]),
      ...(entries.length ? [linesTable(linesOf(entries), run.accepted_at, now)] : []),
      ...(this.hasMore
        ? [h("button", { type: "button", "data-more": true, "data-key": "more" }, `Read ${count(MOST)} more entries`)]
        : []),
    ];
  }
}

/** Before the first entry of a journal, which is 0-1. @type {RunEvent} */
const BEGINNING = { cursor: "0-0", kind: "", detail: "", bytes: 0, at: null };

/** @param {readonly RunEvent[]} entries @returns {Line[]} */
export function linesOf(entries) {
  /** @type {Line[]} */
  const lines = [];
  let before = BEGINNING;
  /** @type {RunEvent | undefined} */
  let timed;
  let untimed = 0;
  for (const entry of entries) {
    if (areMissing(before.cursor, entry.cursor)) lines.push(line("missing", before, entry));
    const seconds = between(timed?.at, entry.at);
    if (timed && seconds !== null && seconds >= GAP_SECONDS) {
      lines.push({ ...line("gap", timed, entry), seconds, untimed });
    }
    if (entry.at) [timed, untimed] = [entry, 0];
    else untimed += 1;
    const last = lines.at(-1);
    if (last?.type === "entries" && last.first.kind === entry.kind && last.first.detail === entry.detail) {
      last.last = entry;
      last.bytes += entry.bytes;
      last.entries.push(entry);
    } else lines.push({ ...line("entries", entry, entry), bytes: entry.bytes, entries: [entry] });
    before = entry;
  }
  return lines;
}

/** @param {Line["type"]} type @param {RunEvent} first @param {RunEvent} last @returns {Line} */
function line(type, first, last) {
  return { type, first, last, seconds: 0, untimed: 0, bytes: 0, entries: [] };
}

/** Whether entries between the two are not kept. @param {string} before @param {string} after */
function areMissing(before, after) {
  const [attempt, seq] = before.split("-").map(Number);
  const [nextAttempt, nextSeq] = after.split("-").map(Number);
  if (seq === undefined || nextSeq === undefined) return false;
  if (before === BEGINNING.cursor) return after !== "0-1"; // each later attempt follows on it
  return attempt === nextAttempt ? nextSeq > seq + 1 : nextSeq > 1;
}

/** @param {Line[]} lines @param {string} acceptedAt @param {number} now */
function linesTable(lines, acceptedAt, now) {
  const at = (/** @type {Line} */ { entries }) => entries[0]?.at;
  /** @type {import("./parts.js").Column<Line>[]} */
  const columns = [
    { head: "Entry", cell: cursor },
    { head: "What", cell: what },
    { head: "Time", cell: (each) => each.entries.length && moment(at(each), now) },
    {
      head: "Since accepted",
      isNumber: true,
      cell: (each) => each.entries.length && duration(between(acceptedAt, at(each))),
    },
    { head: "Lasts", isNumber: true, cell: lasts },
    { head: "Entries", isNumber: true, cell: ({ entries }) => entries.length && count(entries.length) },
    { head: "Size", isNumber: true, cell: ({ entries, bytes }) => entries.length && size(bytes) },
  ];
  return table("Entries of the journal", columns, lines, ({ type, first, last }) =>
    type === "entries" ? first.cursor : `${type} ${last.cursor}`,
  );
}

/** From the first of several entries to the last. @param {Line} line */
function lasts({ entries, first, last }) {
  return entries.length > 1 ? duration(between(first.at, last.at)) : "";
}

/** @param {Line} line */
function cursor({ type, first, last }) {
  if (first === BEGINNING) return h("span", { class: "id" }, `before ${last.cursor}`);
  if (type !== "entries") return h("span", { class: "id" }, `after ${first.cursor}`);
  return h("span", { class: "id" }, first === last ? first.cursor : `${first.cursor} to ${last.cursor}`);
}

/** @param {Line} line */
function what({ type, first, last, seconds, untimed, entries }) {
  if (type === "missing" && first === BEGINNING) {
    return h("span", { class: "gap" }, `Entries before ${last.cursor} are not kept`);
  }
  if (type === "missing") {
    return h("span", { class: "gap" }, `Entries between ${first.cursor} and ${last.cursor} are not kept`);
  }
  if (type === "gap") {
    const passed = duration(seconds);
    return untimed
      ? h(
          "span",
          { class: "detail" },
          `${passed} since ${first.cursor}, in which ${several(untimed, "entry", "entries")} came`,
        )
      : h("span", { class: "gap" }, `${passed} without an entry`);
  }
  const attempt = /** @type {string} */ (first.cursor.split("-")[0]);
  const name =
    first.kind === "attempt"
      ? h("strong", {}, `Attempt ${attempt} begins`)
      : first.kind === "end"
        ? h("strong", {}, `End: ${first.detail}`)
        : first.kind;
  const detail = first.kind === "end" || !first.detail ? null : h("span", { class: "detail" }, ` ${first.detail}`);
  const content = entries.some((entry) => "data" in entry) && first.kind !== "attempt" && first.kind !== "end";
  return [name, detail, content ? written(entries) : null];
}

/** @param {RunEvent[]} entries */
function written(entries) {
  let text = "";
  for (const entry of entries) {
    text += `${JSON.stringify(entry.data)}\n`;
    if (text.length > MOST_TEXT) {
      text = `${text.slice(0, MOST_TEXT)}\n… the rest is left out`;
      break;
    }
  }
  return h("details", {}, h("summary", {}, "Content"), h("pre", { tabindex: 0 }, text));
}
