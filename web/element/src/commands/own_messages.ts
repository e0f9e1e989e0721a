import type { Draft } from "../composer/host.js";
import type { UserMessage } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import { FAILED, reportFailure } from "../ui/report_failure.js";
import type { ToolCallsHost } from "./tool_calls.js";

/** The parts of the element that a message goes back to, and its current texts. */
export interface OwnMessagesHost extends ToolCallsHost {
  readonly texts: () => Texts;
  /** Puts the parts of a message into the message box, before what is there, and focuses it. */
  readonly giveBack: (draft: Draft) => void;
  readonly focusComposer: () => void;
  /** The person has changed the thread otherwise than by a run. */
  readonly changedThread: (threadId: string, runId: string) => void;
}

/** Takes the person's own messages back, and gives them to the message box again. */
export class OwnMessages {
  constructor(private readonly host: OwnMessagesHost) {}

  async withdraw(item: UserMessage): Promise<void> {
    if (await this.#takeBack(item)) this.host.focusComposer();
  }

  async edit(item: UserMessage): Promise<void> {
    const { signal } = this.host.conversation;
    const isTaken = item.waiting === undefined || (await this.#takeBack(item));
    if (!isTaken || signal.aborted) return;
    const {
      content,
      attachments = [],
      quoted_text: quotedText = null,
      inference_options: inferenceOptions = {},
    } = item;
    this.host.giveBack({ content, attachments, quotedText, inferenceOptions });
  }

  async #takeBack(item: UserMessage): Promise<boolean> {
    const { announcer, conversation, changedThread } = this.host;
    const threadId = this.host.conversation.state.id;
    const isTaken = await reportFailure(conversation.withdraw(item), this.host);
    if (isTaken === FAILED) return false;
    const { withdrawn, answeredAlready } = this.host.texts().items;
    if (!isTaken) announcer.toast(answeredAlready);
    else announcer.say(withdrawn);
    if (isTaken && threadId !== null && item.waiting !== undefined) changedThread(threadId, item.waiting);
    return isTaken;
  }
}
