import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Attachment, InferenceOptions, UserContent } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Announcer } from "../ui/announcer.js";

/** A message as a person wrote it. */
export interface Draft {
  readonly content: readonly UserContent[];
  readonly attachments: readonly Attachment[];
  readonly quotedText: string | null;
  readonly inferenceOptions: InferenceOptions;
}

/** What the composer is given. */
export interface ComposerHost {
  readonly texts: Texts;
  readonly locale: string;
  readonly options: ChatKitOptions;
  readonly api: Api;
  readonly announcer: Announcer;
  /** Whether the server took the message; what it did not take comes back into the box. */
  send(draft: Draft): Promise<boolean>;
  /** The user's Stop. */
  stop(): void;
  /** An event of the element, `chatkit.tool.change` for one. */
  emit(type: string, detail: unknown): void;
}

/** What the composer shows of the open thread. */
export interface ComposerState {
  /** Why nothing can be sent here, or null. */
  readonly blocked: string | null;
  readonly canStop: boolean;
  readonly isStopping: boolean;
}
