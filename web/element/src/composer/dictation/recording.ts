import { RECORDING_TYPES } from "./audio.js";

/** A recording from the microphone, which is free again after its end. */
export class Recording {
  readonly beganAtMs = Date.now();
  readonly #chunks: Blob[] = [];
  readonly #recorder: MediaRecorder;

  private constructor(private readonly stream: MediaStream) {
    const mimeType = RECORDING_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(stream, mimeType === undefined ? {} : { mimeType });
    this.#recorder.addEventListener("dataavailable", ({ data }) => this.#chunks.push(data));
    this.#recorder.start();
  }

  static get isSupported(): boolean {
    return typeof MediaRecorder === "function" && navigator.mediaDevices !== undefined;
  }

  /** Asks for the microphone. Throws the errors of `getUserMedia`. */
  static async begin(): Promise<Recording> {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    try {
      return new Recording(stream);
    } catch (error) {
      free(stream);
      throw error;
    }
  }

  /** Ends the recording and returns its sound. */
  async end(): Promise<Blob> {
    if (this.#recorder.state !== "inactive") {
      const ended = new Promise((resolve) => this.#recorder.addEventListener("stop", resolve, { once: true }));
      this.#recorder.stop();
      await ended;
    }
    free(this.stream);
    return new Blob(this.#chunks, { type: this.#recorder.mimeType || RECORDING_TYPES[0] });
  }
}

function free(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
