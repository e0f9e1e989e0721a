import { ApiError } from "./api.js";
import { pause } from "./backoff.js";
import { callClientTool } from "./client_tools.js";

/** A tab that only watches lets the one that began the run answer its client tool call first. */
const WATCHER_DELAY_MS = 1_500;

/** What a person (or a widget, or a client tool) does to the open thread: each a ChatKit request. */
export class Commands {
  /** @param {{api: import("./api.js").Api, conversation: import("./conversation.js").Conversation, announcer: import("./announcer.js").Announcer}} parts */
  constructor({ api, conversation, announcer }) {
    Object.assign(this, { api, conversation, announcer });
    conversation.addEventListener("settled", ({ began }) => this.#answerToolCall(began));
  }

  get #threadId() {
    return this.conversation.state.id;
  }

  /** @returns {Promise<boolean>} whether the message was accepted */
  send({ text, attachments = [] }) {
    const content = text ? [{ type: "input_text", text }] : [];
    const input = { content, attachments: attachments.map(({ id }) => id), inference_options: {} };
    const pending = { content, attachments };
    if (!this.#threadId) return this.conversation.start("threads.create", { input }, { pending });
    return this.conversation.start("threads.add_user_message", { thread_id: this.#threadId, input }, { pending });
  }

  /** Stops every run of the thread; the end of each stream says when it has. */
  async stop() {
    const runs = [...this.conversation.runs].filter((run) => run.id && !run.stopping);
    this.conversation.change(() => runs.forEach((run) => { run.stopping = true; }));
    await Promise.all(runs.map((run) => this.#orToast(this.api.cancel(run.id), () => { run.stopping = false; })));
  }

  /** Does again what failed: an action as it was, else the answer to the last message. */
  async retry({ again = null } = {}) {
    const message = this.conversation.state.lastUserMessage;
    if (again) return again();
    if (!message) return false;
    const kept = new Map(this.conversation.state.items);
    this.conversation.change((state) => state.dropAfter(message.id));
    const params = { thread_id: message.thread_id ?? this.#threadId, item_id: message.id };
    const accepted = await this.conversation.start("threads.retry_after_item", params);
    if (!accepted) this.conversation.change((state) => { state.items = kept; });
    return accepted;
  }

  /** Dispatches a widget's action, streaming or not as it says. */
  async action(item, { type, payload, handler = "server", streaming = true }) {
    const params = { thread_id: this.#threadId, item_id: item.id, action: { type, payload } };
    if (handler === "client") return this.announcer.toast(`The widget asked this page to “${type}”`);
    if (streaming) {
      const begin = () => this.conversation.start("threads.custom_action", params, { again: begin });
      return begin();
    }
    const answer = await this.#orToast(this.api.call("threads.sync_custom_action", params));
    const updated = answer?.updated_item;
    if (updated) this.conversation.change((state) => state.apply({ type: "thread.item.replaced", item: updated }));
  }

  /** @param {{status: "answered"|"skipped", answers: object}} input */
  submitAnswers(item, input) {
    return this.conversation.start("threads.add_structured_input", { thread_id: this.#threadId, item_id: item.id, input });
  }

  /** @param {"positive"|"negative"} kind */
  async feedback(item, kind) {
    const params = { thread_id: this.#threadId, item_ids: [item.id], kind };
    const answer = await this.#orToast(this.api.call("items.feedback", params));
    if (answer) this.announcer.say("Thank you for the feedback");
    return Boolean(answer);
  }

  /** Runs a client tool call that waits in the thread and posts its output: in one tab only, and once. */
  async #answerToolCall(began) {
    const { last } = this.conversation.state;
    if (last?.type !== "client_tool_call" || last.status !== "pending") return;
    const { signal } = this.conversation;
    if (!began) await pause(WATCHER_DELAY_MS, signal).catch(() => {});
    if (signal.aborted || this.conversation.isRunning) return;
    await navigator.locks.request(`relaykit.tool.${last.id}`, () => this.#orToast(this.#postToolOutput(last, signal)));
  }

  async #postToolOutput(call, signal) {
    const page = await this.conversation.newestItems(call.thread_id, 1);
    const newest = page.data[0];
    if (signal.aborted || this.conversation.isRunning || newest?.id !== call.id || newest.status !== "pending") return;
    const result = await callClientTool(newest);
    const completed = { ...newest, status: "completed", output: result };
    this.conversation.change((state) => state.items.set(call.id, completed));
    await this.conversation.start("threads.add_client_tool_output", { thread_id: call.thread_id, result });
  }

  async #orToast(promise, onError = () => {}) {
    try {
      return await promise;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      onError();
      this.announcer.toast(error.message);
      return null;
    }
  }
}
