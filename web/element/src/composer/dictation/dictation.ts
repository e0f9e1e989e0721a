import { ApiError } from "../../server/api.js";
import { fill } from "../../texts/index.js";
import { el } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import type { ComposerHost } from "../host.js";
import { base64Of, microphoneProblem, timeText } from "./audio.js";
import { Recording } from "./recording.js";

/** The longest recording. It has a limit because it goes to the server in one piece. */
const MAX_SECONDS = 300;
const TICK_MS = 500;

type State = "idle" | "asking" | "recording" | "transcribing";

/** Dictation of a message: the page records the speech, and the server turns it into text. */
export class Dictation {
  readonly #start = el("button", { id: "dictate", type: "button", class: "icon-button" }, icon("mic"));
  readonly #finish = el("button", { type: "button", class: "icon-button" }, icon("check"));
  readonly #drop = el("button", { type: "button", class: "icon-button" }, icon("close"));
  readonly #state = el("span", { class: "composer-recording" });
  readonly node = el("span", { class: "composer-part" }, this.#state, this.#drop, this.#finish, this.#start);
  #now: State = "idle";
  #recording: Recording | null = null;
  #ticking: ReturnType<typeof setInterval> | undefined;
  /** Aborts when the person cancels the present dictation. */
  #wanted = new AbortController();

  /** @param onText called with the spoken text @param onChange called after each change of `isBusy` */
  constructor(
    private host: ComposerHost,
    private readonly onText: (text: string) => void,
    private readonly onChange: () => void,
  ) {
    this.#start.addEventListener("click", () => this.#begin());
    this.#finish.addEventListener("click", () => this.#end());
    this.#drop.addEventListener("click", () => {
      this.cancel();
      this.#start.focus();
    });
    this.setOptions(host);
  }

  get isBusy(): boolean {
    return this.#now !== "idle";
  }

  setOptions(host: ComposerHost): void {
    this.host = host;
    const { dictate, finishRecording, dropRecording } = host.texts.composer;
    this.#start.setAttribute("aria-label", dictate);
    this.#finish.setAttribute("aria-label", finishRecording);
    this.#drop.setAttribute("aria-label", dropRecording);
    this.#show();
  }

  /** Ends the dictation without a text. */
  cancel(): void {
    this.#wanted.abort();
    this.#recording?.end();
    this.#become("idle");
  }

  async #begin(): Promise<void> {
    const { texts, announcer } = this.host;
    if (!Recording.isSupported) return announcer.toast(texts.composer.recordingUnsupported);
    this.#wanted = new AbortController();
    const { signal } = this.#wanted;
    this.#become("asking");
    try {
      const recording = await Recording.begin();
      if (signal.aborted) return void recording.end();
      this.#recording = recording;
      this.#become("recording");
      this.#finish.focus();
    } catch (error) {
      if (signal.aborted) return;
      this.#become("idle");
      announcer.toast(texts.composer[microphoneProblem(error instanceof Error ? error.name : "")]);
    }
  }

  async #end(): Promise<void> {
    const { signal } = this.#wanted;
    const recording = this.#recording;
    if (recording === null) return;
    this.#become("transcribing");
    try {
      const text = await this.#transcribed(await recording.end());
      if (!signal.aborted) this.#heard(text);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.host.announcer.toast(error.message);
    } finally {
      if (!signal.aborted) this.#become("idle");
    }
  }

  async #transcribed(sound: Blob): Promise<string> {
    const bytes = new Uint8Array(await sound.arrayBuffer());
    const params = { audio_base64: base64Of(bytes), mime_type: sound.type };
    const { text } = await this.host.api.call<{ text: string }>("input.transcribe", params);
    return text.trim();
  }

  #heard(text: string): void {
    if (text === "") this.host.announcer.toast(this.host.texts.composer.nothingHeard);
    else this.onText(text);
  }

  #become(state: State): void {
    this.#now = state;
    if (state !== "recording") this.#recording = null;
    clearInterval(this.#ticking);
    if (state === "recording") this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    this.#show();
    this.onChange();
  }

  #tick(): void {
    this.#show();
    if (this.#seconds >= MAX_SECONDS) this.#end();
  }

  get #seconds(): number {
    return this.#recording === null ? 0 : (Date.now() - this.#recording.beganAtMs) / 1000;
  }

  #show(): void {
    const { recording, transcribing } = this.host.texts.composer;
    this.node.hidden = !this.host.options.composer?.dictation?.enabled && this.#now === "idle";
    this.#start.hidden = this.isBusy && this.#now !== "asking";
    this.#start.disabled = this.#now === "asking";
    this.#finish.hidden = this.#now !== "recording";
    this.#drop.hidden = !this.isBusy;
    this.#state.hidden = this.#now !== "recording" && this.#now !== "transcribing";
    this.#state.classList.toggle("live", this.#now === "recording");
    this.#state.textContent =
      this.#now === "recording" ? fill(recording, { time: timeText(this.#seconds) }) : transcribing;
  }
}
