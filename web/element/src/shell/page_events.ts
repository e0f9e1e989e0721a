import { spokenText } from "../markdown/spoken.js";
import { textOf } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import type { ConversationEvents } from "../thread/events.js";
import type { Announcer } from "../ui/announcer.js";

type PageEvents = Pick<
  ConversationEvents,
  "refused" | "effect" | "answered" | "stopped" | "runEnded" | "responding" | "failed"
>;

/** The notices of a conversation that become events of the element, or words for the person. */
export function pageEvents(
  emit: (type: string, detail?: unknown) => void,
  announcer: Announcer,
  texts: () => Texts,
): PageEvents {
  return {
    refused: (error) => {
      announcer.toast(error.message);
      emit("chatkit.error", { error });
    },
    effect: (name, data) => emit("chatkit.effect", { name, data }),
    answered: ({ content }) =>
      announcer.say(fill(texts().shell.answered, { text: spokenText(textOf(content, "\n\n")) })),
    stopped: () => announcer.say(texts().items.stopped),
    runEnded: (runId, status) => emit("chatkit.log", { name: "run.end", data: { run_id: runId, status } }),
    responding: (isResponding) => emit(isResponding ? "chatkit.response.start" : "chatkit.response.end"),
    failed: (message) => emit("chatkit.error", { error: new Error(message) }),
  };
}
