/** Tells the other tabs of the same user what happened here. */
export class Tabs {
  #channel = new BroadcastChannel("relaykit");

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session;
  }

  /** A run of a thread began: tabs that show the thread follow it. */
  runStarted(threadId, runId) {
    this.#post({ type: "run", threadId, runId });
  }

  /** The list of threads changed. */
  threadsChanged() {
    this.#post({ type: "threads" });
  }

  /** A thread was deleted. */
  threadDeleted(threadId) {
    this.#post({ type: "deleted", threadId });
  }

  #post(message) {
    this.#channel.postMessage({ ...message, owner: this.session.owner });
  }

  /** @param {(message: {type: string, threadId?: string, runId?: string}) => void} listener */
  listen(listener) {
    this.#channel.addEventListener("message", ({ data }) => {
      if (this.session.identity && data.owner === this.session.owner) listener(data);
    });
  }
}
