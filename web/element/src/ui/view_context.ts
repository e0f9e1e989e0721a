import type { ChatKitOptions } from "@openai/chatkit";
import type { AssistantMessage, Shown, StructuredInputItem, WidgetAction, WidgetItem } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Locale } from "../texts/locale.js";
import type { Announcer } from "./announcer.js";

/** What a person does to an item of the open thread. None of these throws: what fails is told to the person. */
export interface ItemActions {
  /** Does again what failed, else asks for another answer to the last message; whether it was accepted. */
  retry(item: Shown): Promise<boolean>;
  /** Asks for another answer to the message that a finished answer belongs to. */
  regenerate(item: AssistantMessage): Promise<boolean>;
  feedback(item: Shown, kind: "positive" | "negative"): Promise<boolean>;
  /** Resolves when a synchronous action is done, or when a streaming one was accepted. */
  act(item: WidgetItem, action: WidgetAction): Promise<void>;
  /** Whether the answers were accepted. */
  submitAnswers(item: StructuredInputItem, status: "answered" | "skipped", answers: Answers): Promise<boolean>;
  /** An image of the item could not be loaded; its link may have ended. */
  reload(item: Shown): Promise<void>;
  readonly canRetry: boolean;
}

export type Answers = Readonly<Record<string, { readonly values: readonly string[]; readonly skipped: boolean }>>;

/** What the views of items are drawn with. */
export interface ViewContext {
  readonly texts: Texts;
  /** BCP 47, for dates and numbers. */
  readonly locale: string;
  readonly options: ChatKitOptions;
  readonly actions: ItemActions;
  readonly announcer: Announcer;
  /** Hosts whose images an answer may show. */
  readonly imageDomains: readonly string[];
  /** The item is still being written. */
  readonly open: boolean;
  /** Tells the page, once, which part of the item could not be drawn; not a word of what it says. */
  notDrawn(part: string, error: unknown): void;
  /** Tells the page of a `chatkit-link://` address or of an entity that was followed. */
  emit(type: string, detail: unknown): void;
}

/** The part of the context that all items share. */
export type SharedContext = Omit<ViewContext, "open" | "imageDomains" | "notDrawn">;

/** The shared context. Its members read the locale and the options at each use, so that a view has the current ones. */
export function sharedContext(
  locale: () => Locale,
  options: () => ChatKitOptions,
  listeners: Pick<ViewContext, "actions" | "announcer" | "emit">,
): SharedContext {
  return {
    get texts() {
      return locale().texts;
    },
    get locale() {
      return locale().tag;
    },
    get options() {
      return options();
    },
    ...listeners,
  };
}

/** The view of an item. A view without `update` is drawn anew when its item changes. */
export interface ItemView {
  readonly node: HTMLElement;
  update?(item: Shown, open: boolean): void;
}
