import { type MarkedRun, type Marks, textOf } from "../server/protocol.js";
import { isLocal } from "./item_kinds.js";
import type { ThreadState } from "./state.js";

/** The ids of the marks at the ends of runs. */
const MARK = /^(?:error|stopped):(run_.*)$/;

/**
 * Shows the marks that the server tells: what was stopped or has failed, what waits, and the person's feedback. Marks
 * of runs that the server does not tell any more go.
 *
 * @param followed the runs that the page followed meanwhile: it knows how they stand better than the answer does
 */
export function showMarks(
  state: ThreadState,
  { runs, feedback }: Marks,
  followed: ReadonlySet<string> = new Set(),
): void {
  const told = new Set(runs.map(({ id }) => id));
  for (const { id } of [...state.items.values()]) {
    const runId = MARK.exec(id)?.[1];
    if (runId !== undefined && !told.has(runId) && !followed.has(runId)) state.remove(id);
  }
  state.waiting.clear();
  for (const { status, item_id: id, id: runId } of runs) {
    if (status === "waiting" && id !== null && !followed.has(runId)) state.waiting.set(id, runId);
  }
  // Each mark is put right behind its item, so the newest of several behind the same one comes first.
  for (const run of [...runs].reverse()) showMark(state, run, followed.size > 0);
  if ([...state.items.values()].some(({ type }) => type === "unanswered")) state.noteUnanswered();
  for (const [id, kind] of Object.entries(feedback)) state.setFeedback(id, kind);
}

function showMark(state: ThreadState, run: MarkedRun, goesOn: boolean): void {
  const { id, status, error, last_item_ids: added, item_id: first } = run;
  const place =
    added === null
      ? endOfTurn(state, first)
      : ([...added, first].find((each) => each !== null && state.items.has(each)) ?? null);
  if (status === "waiting" || place === null || state.items.has(`error:${id}`)) return;
  if (status === "cancelled") {
    state.putAfter(place, { id: `stopped:${id}`, type: "stopped" });
    return;
  }
  const reason = error === "timeout" ? "timeout" : added?.length === 0 ? "lost" : null;
  // To answer the message again deletes all that stands behind it, so only the last one offers it.
  const canRetry = !goesOn && run.kind !== "threads.custom_action" && state.last?.id === place;
  state.putAfter(place, { id: `error:${id}`, type: "error", canRetry, again: null, ...(reason && { reason }) });
}

/** The last item of the turn that begins with this one, before the next message; null where it is not loaded. */
function endOfTurn({ items }: ThreadState, first: string | null): string | null {
  let last: string | null = null;
  for (const { id, type } of items.values()) {
    if (last !== null && type === "user_message") break;
    if (last !== null || id === first) last = id;
  }
  return last;
}

/** What failed cannot be tried again any more, because the conversation went on behind it. */
export function endRetries({ items }: ThreadState): void {
  for (const item of items.values()) {
    if (item.type === "error" && item.canRetry) items.set(item.id, { ...item, canRetry: false });
  }
}

/** Marks the items that a failed run was writing: the server does not have them. Those without a word go. */
export function breakOff({ items, open }: ThreadState, ids: Iterable<string>): void {
  for (const id of [...ids]) {
    open.delete(id);
    const item = items.get(id);
    if (item === undefined || isLocal(item)) continue;
    if (item.type === "assistant_message" && textOf(item.content, "") === "") items.delete(id);
    else items.set(id, { ...item, broken: true });
  }
}
