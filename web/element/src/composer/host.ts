import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Attachment, InferenceOptions, UserContent } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Announcer } from "../ui/announcer.js";

/** A message as the person wrote it. */
export interface Draft {
  readonly content: readonly UserContent[];
  readonly attachments: readonly Attachment[];
  readonly quotedText: string | null;
  readonly inferenceOptions: InferenceOptions;
}

/** The parts of the chat that the composer uses. */
export interface ComposerHost {
  readonly texts: Texts;
  readonly locale: string;
  readonly options: ChatKitOptions;
  readonly api: Api;
  readonly announcer: Announcer;
  /** Sends the message; false where the server did not accept it, and it comes back into the box. */
  send(draft: Draft): Promise<boolean>;
  /** Sends the user's Stop. */
  stop(): void;
  /** Emits an event of the element, such as `chatkit.tool.change`. */
  emit(type: string, detail: unknown): void;
}

/** The state of the open thread that the composer shows. */
export interface ComposerState {
  /** The reason why no message can be sent, or null. */
  readonly blocked: string | null;
  readonly canStop: boolean;
  readonly isStopping: boolean;
}

/** What a draft has besides its words. */
export function summaryOf({ attachments, inferenceOptions }: Draft): Record<string, unknown> {
  return {
    attachments: attachments.length,
    tool_id: inferenceOptions.tool_choice?.id ?? null,
    model_id: inferenceOptions.model ?? null,
  };
}
