/**
 * Applies one event of a run to the thread's state, and does what it asks for beside that.
 *
 * @param {object} parts
 * @param {import("./thread_state.js").ThreadState} parts.state
 * @param {import("./run.js").Run} parts.run
 * @param {object} parts.event a ChatKit ThreadStreamEvent
 * @param {string|null} parts.cursor
 * @param {import("./client_effects.js").ClientEffects} parts.effects
 * @param {import("./announcer.js").Announcer} parts.announcer
 */
export function applyEvent({ state, run, event, cursor, effects, announcer }) {
  switch (event.type) {
    case "thread.created":
    case "thread.updated":
      state.setThread(event.thread);
      break;
    case "client_effect":
      effects.apply(event, { runId: run.id, cursor });
      break;
    case "error":
      run.failed = true;
      state.putLocal({ ...event, id: `error:${run.id}`, type: "error", again: run.again });
      break;
    case "notice":
      state.putLocal({ ...event, id: `notice:${run.id}:${cursor}`, type: "notice" });
      break;
    default:
      applyItem(state, run, event, announcer);
  }
  run.observe(event);
}

function applyItem(state, run, event, announcer) {
  const wasDone = event.item && state.items.has(event.item.id) && !state.open.has(event.item.id);
  state.apply(event);
  if (event.type !== "thread.item.done") return;
  if (event.item.type === "user_message") state.remove(run.pendingId);
  if (event.item.type === "assistant_message" && !wasDone) {
    announcer.say(`Assistant: ${event.item.content.map((part) => part.text).join("\n")}`);
  }
}
