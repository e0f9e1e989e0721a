import type { Attachments } from "../attachments/attachments.js";
import { tagOf } from "../draft.js";
import type { ComposerHost } from "../host.js";
import type { MessageBox } from "../message_box.js";
import type { ToolPicker } from "../tool_picker.js";
import type { Span } from "../typing.js";
import { CommandSource } from "./command_source.js";
import { MentionSource } from "./mention_source.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** The parts of the composer that a chosen suggestion changes. */
export interface SourceParts {
  readonly host: () => ComposerHost;
  readonly box: MessageBox;
  readonly attachments: Attachments;
  readonly tools: ToolPicker;
  chooseFiles(): void;
  /** Begins a search as if the person had typed its sign. */
  begin(sign: string, span: Span): void;
}

export function suggestionSources(parts: SourceParts): SuggestionSource[] {
  const { host, box } = parts;
  const commands = new CommandSource(host, {
    builtIn: () => builtIn(parts),
    cut: (span) => box.replace(span, ""),
    insert: (entity) => {
      box.mention(tagOf(entity), box.caret);
      box.node.focus();
    },
    begin: () => parts.begin("/", { start: 0, end: 0 }),
  });
  const mentions = new MentionSource(
    host,
    () => box.marks,
    (entity, span) => box.mention(tagOf(entity), span),
  );
  return [commands, mentions];
}

/** The composer's own commands. */
function builtIn({ host, box, attachments, tools, chooseFiles }: SourceParts): Suggestion[] {
  const command = (label: string, icon: string, act: () => void): Suggestion => {
    const choose = (span: Span) => {
      box.replace(span, "");
      act();
    };
    return { label, icon, choose };
  };
  const attach = command(host().texts.composer.attach, "attach", chooseFiles);
  const ofTools = tools.tools.map(({ id, label, icon }) => command(label, icon, () => tools.choose(id)));
  return attachments.rules === null ? ofTools : [attach, ...ofTools];
}
