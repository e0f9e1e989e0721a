/** What an operator does: each act asks first, and says what it will do and to what. */

import { ApiError, told } from "./api.js";
import { byId, h } from "./dom.js";
import { several, UNKNOWN } from "./format.js";
import { facts, runLink } from "./parts.js";

/** @typedef {import("./api.js").RunDetails} RunDetails @typedef {import("./api.js").Worker} Worker */

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {[string, string][]} of what it is done to
 * @property {string[]} effects
 * @property {string} yes
 * @property {string} no
 * @property {string} path of the act, below /ops/api
 * @property {object} [body]
 */

/** @param {RunDetails} run @returns {[string, string][]} */
function ofRun(run) {
  const of = /** @type {[string, string][]} */ ([
    ["Run", run.id],
    ["User", run.user],
    ["Thread", run.thread_id],
    ["Status", run.status],
  ]);
  return run.tenant ? [...of, ["Tenant", run.tenant]] : of;
}

/** @param {RunDetails} run @param {string} act */
function runPath(run, act) {
  return `runs/${encodeURIComponent(run.id)}/${act}`;
}

/** @param {RunDetails} run @returns {Question} */
function cancel(run) {
  const hasBegun = run.status === "running" || run.attempt > 0;
  const effect =
    run.status === "running"
      ? "Its worker stops it and keeps the part of the answer that is there. " +
        "A worker that is gone cannot: then the next one ends it."
      : "It was handed back by a worker. The worker that takes it next ends it.";
  return {
    title: "Cancel this run?",
    of: ofRun(run),
    effects: [
      hasBegun ? effect : "It has not begun, so it ends at once, and no worker is needed. Its user gets no answer.",
      "This cannot be undone.",
    ],
    yes: "Cancel the run",
    no: "Leave it as it is",
    path: runPath(run, "cancel"),
  };
}

/** @param {RunDetails} run @returns {Question} */
function endWait(run) {
  return {
    title: "End the wait for this call's output?",
    of: [...ofRun(run), ["Awaited call", run.awaited_item ?? UNKNOWN]],
    effects: [
      "The run has ended with a client tool call. " +
        "A worker gives the call up in its next round, as after the user's own stop.",
      "An output that the user's page still sends is refused.",
      "This cannot be undone.",
    ],
    yes: "End the wait",
    no: "Leave it as it is",
    path: runPath(run, "cancel"),
  };
}

/** @param {RunDetails} run @returns {Question} */
function requeue(run) {
  return {
    title: "Requeue this run?",
    of: ofRun(run),
    effects: [
      "It is due now, and not only when a worker finds that it has no job or that its worker is lost.",
      "A run that a worker holds stays with it.",
    ],
    yes: "Requeue the run",
    no: "Leave it as it is",
    path: runPath(run, "requeue"),
  };
}

/** @param {RunDetails} run @returns {Question} */
function force(run) {
  const worker = run.job?.place?.worker_id;
  return {
    title: "Take this run from its worker?",
    of: [...ofRun(run), ...(worker ? /** @type {[string, string][]} */ ([["Worker", worker]]) : [])],
    effects: [
      "Its lease is taken away. The attempt that runs now is lost, and counts as one.",
      "What that worker goes on to write is refused. Tools that it has called have done what they did.",
      "The next attempt begins after the time of a lease.",
      "This cannot be undone.",
    ],
    yes: "Take it away and requeue it",
    no: "Leave it as it is",
    path: runPath(run, "requeue"),
    body: { force: true },
  };
}

/** @param {RunDetails} run @returns {Question} */
function retry(run) {
  return {
    title: "Answer this message again?",
    of: ofRun(run),
    effects: [
      "A new run of the same user answers the same message. What the thread has after the message is deleted.",
      "It is refused unless this run is the newest of its thread.",
      "This cannot be undone.",
    ],
    yes: "Retry by a new run",
    no: "Leave it as it is",
    path: runPath(run, "retry"),
  };
}

/** @param {Worker} worker @param {Worker[]} all @returns {Question} */
function drain(worker, all) {
  const others = all.filter(({ id, draining }) => id !== worker.id && !draining);
  return {
    title: "Drain this worker?",
    of: [
      ["Worker", worker.id],
      ["Host", worker.host],
      ["Process", String(worker.pid)],
      ["Executes", several(worker.used, "run")],
    ],
    effects: [
      "It takes no run any more, finishes what it executes or hands it back, and ends. Its supervisor starts it again.",
      others.length
        ? `${several(others.length, "other worker")} ${others.length === 1 ? "takes" : "take"} runs meanwhile.`
        : "No other worker takes runs: until it is back nothing is executed.",
      "This cannot be undone.",
    ],
    yes: "Drain the worker",
    no: "Leave it as it is",
    path: `workers/${encodeURIComponent(worker.id)}/drain`,
  };
}

const RUN_ACTS = { cancel, endWait, requeue, force, retry };
const LABELS = {
  cancel: "Cancel …",
  endWait: "End the wait …",
  requeue: "Requeue …",
  force: "Take from its worker …",
  retry: "Retry …",
};

/** @typedef {keyof typeof RUN_ACTS} RunAct */

/** The acts that may succeed on a run in this state. @param {RunDetails} run @returns {RunAct[]} */
export function offered(run) {
  if (run.ended_at) return run.awaited_item ? ["endWait", "retry"] : ["retry"];
  if (run.status === "waiting") return ["cancel"];
  return run.job?.place?.is_held ? ["cancel", "force"] : ["cancel", "requeue"];
}

/** @param {RunAct} act */
export function actButton(act) {
  const isDanger = act !== "requeue";
  return h(
    "button",
    { type: "button", "data-act": act, "data-key": act, class: isDanger && "danger-quiet" },
    LABELS[act],
  );
}

/** Asks about acts, does them, and says what came of them. One at a time. */
export class Acts {
  #api;
  #say;
  /** @type {Question | null} */ #asked = null;
  #isDoing = false;
  /** @type {() => void} */ #done = () => {};
  #dialog = /** @type {HTMLDialogElement} */ (byId("question"));
  #yes = /** @type {HTMLButtonElement} */ (byId("question-yes"));
  #no = byId("question-no");
  #problem = byId("question-problem");

  /**
   * @param {import("./api.js").Api} api
   * @param {(content: (string | Node)[]) => void} say shows what came of it
   */
  constructor(api, say) {
    this.#api = api;
    this.#say = say;
    this.#no.addEventListener("click", () => this.close());
    this.#yes.addEventListener("click", () => void this.#doIt());
    this.#dialog.addEventListener("cancel", (event) => {
      if (this.#isDoing) event.preventDefault();
    });
  }

  /** @param {RunAct} act @param {RunDetails} run @param {() => void} done */
  askRun(act, run, done) {
    this.#ask(RUN_ACTS[act](run), done);
  }

  /** @param {Worker} worker @param {Worker[]} all @param {() => void} done */
  askDrain(worker, all, done) {
    this.#ask(drain(worker, all), done);
  }

  /** Without doing anything. */
  close() {
    if (!this.#isDoing && this.#dialog.open) this.#dialog.close();
  }

  /** @param {Question} question @param {() => void} done */
  #ask(question, done) {
    if (this.#dialog.open) return;
    this.#asked = question;
    this.#done = done;
    byId("question-title").textContent = question.title;
    byId("question-text").replaceChildren(
      facts(question.of),
      h(
        "ul",
        {},
        question.effects.map((effect) => h("li", {}, effect)),
      ),
    );
    this.#problem.hidden = true;
    this.#no.textContent = question.no;
    this.#no.hidden = false;
    this.#yes.textContent = question.yes;
    this.#yes.hidden = false;
    this.#dialog.showModal();
    this.#no.focus();
  }

  async #doIt() {
    const asked = this.#asked;
    if (this.#isDoing || !asked) return;
    this.#isDoing = true;
    this.#dialog.setAttribute("aria-busy", "true");
    this.#yes.textContent = "Working …";
    this.#no.hidden = true;
    /** @type {(string | Node)[]} */
    let said;
    try {
      said = outcomeText(asked, await this.#api.post(asked.path, asked.body));
      this.#dialog.close();
    } catch (error) {
      const isRefused = error instanceof ApiError && error.status < 500;
      said = [`${asked.yes}: ${isRefused ? "not done." : "it is not known whether it was done."} ${told(error)}`];
      this.#fail(String(said[0]));
    }
    this.#isDoing = false;
    this.#dialog.removeAttribute("aria-busy");
    this.#no.hidden = false;
    if (this.#dialog.open) this.#no.focus();
    else this.#say(said); // also where the browser has closed the dialog meanwhile
    this.#done();
  }

  /** @param {string} problem */
  #fail(problem) {
    this.#problem.textContent = problem;
    this.#problem.hidden = false;
    this.#yes.hidden = true;
    this.#no.textContent = "Close";
  }
}

/** @param {Question} asked @param {import("./api.js").Outcome} outcome @returns {(string | Node)[]} */
function outcomeText(asked, outcome) {
  const said = /** @type {(string | Node)[]} */ ([`${asked.yes}: ${outcome.outcome}.`]);
  if (outcome.run_id) said.push(" ", runLink(outcome.run_id));
  if (outcome.has_token === false) said.push(" The new run has no token of its caller.");
  return said;
}
