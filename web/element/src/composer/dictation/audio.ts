/** The types that `input.transcribe` of ChatKit accepts. The first one that the browser can record is used. */
export const RECORDING_TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"] as const;

const CHUNK_BYTES = 0x8000;

export function base64Of(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK_BYTES));
  }
  return btoa(text);
}

/** A time as minutes and seconds. */
export function timeText(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** The text for a refusal of the microphone, by the name of the error of `getUserMedia`. */
export function microphoneProblem(name: string): "microphoneRefused" | "microphoneMissing" | "microphoneBusy" {
  if (name === "NotAllowedError" || name === "SecurityError") return "microphoneRefused";
  return name === "NotFoundError" || name === "OverconstrainedError" ? "microphoneMissing" : "microphoneBusy";
}
