import type { ThreadStatus } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { ComposerState } from "./host.js";

/** The part of a conversation that Stop acts on. */
interface Turn {
  readonly awaited: Stoppable | null;
  readonly runs: ReadonlySet<Stoppable & { readonly allowCancel: boolean }>;
}

interface Stoppable {
  readonly isStopping: boolean;
}

/** The targets of Stop: the client tool call that is awaited, or else the runs that allow a Stop. */
export function stoppable({ awaited, runs }: Turn): readonly Stoppable[] {
  return awaited !== null ? [awaited] : [...runs].filter((run) => run.allowCancel);
}

/** The composer's state for a thread with this status and turn. */
export function composerState(status: ThreadStatus, turn: Turn, { shell }: Texts): ComposerState {
  const blocked = status.type === "active" ? null : status.reason || shell[status.type];
  const stopped = stoppable(turn);
  const canStop = stopped.length > 0;
  return { blocked, canStop, isStopping: canStop && stopped.every(({ isStopping }) => isStopping) };
}

export function isSameState(one: ComposerState, other: ComposerState): boolean {
  return one.blocked === other.blocked && one.canStop === other.canStop && one.isStopping === other.isStopping;
}
