import type { OpenAIChatKit } from "@openai/chatkit";
import type { UserContent } from "../server/protocol.js";

/** What `setComposerValue` takes: the given parts are set, the others stay. */
export type ComposerValue = Parameters<OpenAIChatKit["setComposerValue"]>[0];

/** The names that a value may choose from. */
interface Choices {
  readonly tools: readonly { readonly id: string }[];
  readonly models: readonly { readonly id: string }[];
  readonly canAttach: boolean;
}

/** Throws TypeError for an unknown tool or model, and for files where attachments are not enabled. */
export function check({ selectedToolId, selectedModelId, files }: ComposerValue, choices: Choices): void {
  const isTool = selectedToolId == null || choices.tools.some(({ id }) => id === selectedToolId);
  if (!isTool) throw new TypeError(`no tool has the id ${selectedToolId}`);
  const isModel = selectedModelId === undefined || choices.models.some(({ id }) => id === selectedModelId);
  if (!isModel) throw new TypeError(`no model has the id ${selectedModelId}`);
  if (files?.length && !choices.canAttach) throw new TypeError("composer.attachments is not enabled");
}

/** The content that a value sets; null where it leaves that. */
export function contentOf({ content, text }: ComposerValue): readonly UserContent[] | null {
  return content ?? (text === undefined ? null : [{ type: "input_text", text }]);
}
