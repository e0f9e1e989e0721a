export type { ConnectionState } from "./connection.js";
export { type ReceivedEvent, readEvents } from "./events.js";
export { Refusal } from "./failures.js";
export {
  type ChatKitFetch,
  type ChatKitFetchOptions,
  createChatKitFetch,
  RESUME_ACTION,
  type ResumedRun,
} from "./fetch.js";
export type { RunStatus } from "./follow.js";
export type { Limits } from "./limits.js";
export type { Messages } from "./messages.js";
export { type PageContext, pageContext } from "./page_context.js";
export { Unanswered } from "./post.js";
export { type ChatKitReady, type ChatKitReadyOptions, chatKitReady, type ScriptState } from "./ready.js";
export type { OnTelemetry, Telemetry } from "./telemetry.js";
export type { GetToken } from "./tokens.js";
export { type ResumeInWidgetOptions, resumeInWidget, type Widget } from "./widget.js";
