import type { ChatKitOptions } from "@openai/chatkit";
import type {
  AssistantMessage,
  Attachment,
  Feedback,
  Shown,
  StructuredInputItem,
  UserMessage,
  WidgetAction,
  WidgetItem,
} from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import type { Locale } from "../texts/locale.js";
import type { Announcer } from "./announcer.js";
import type { ImageSource } from "./images.js";

/** The person's actions on an item of the open thread. They throw nothing: failures are told to the person. */
export interface ItemActions {
  /** Tries again what failed, or else asks for another answer to the last message. Returns whether it was accepted. */
  retry(item: Shown): Promise<boolean>;
  /** Asks for another answer to the message of a finished answer. */
  regenerate(item: AssistantMessage): Promise<boolean>;
  feedback(item: Shown, kind: "positive" | "negative"): Promise<boolean>;
  /** Performs an action. Resolves when it is done, a streaming one with its run, or when it was refused. */
  act(item: WidgetItem, action: WidgetAction): Promise<void>;
  /** Sends the answers. Returns whether they were accepted. */
  submitAnswers(item: StructuredInputItem, status: "answered" | "skipped", answers: Answers): Promise<boolean>;
  /** Loads the item again after an image of it could not be loaded, because its link may have expired. */
  reload(item: Shown): Promise<void>;
  readonly canRetry: boolean;
  /** Takes a message back that waits. Returns after the server has said whether it still could. */
  withdraw(item: UserMessage): Promise<void>;
  /** Puts a message into the message box again. One that waits is taken back. */
  edit(item: UserMessage): Promise<void>;
  /** Shows an image as large as the element has room. */
  enlarge(image: OpenImage): void;
  /** Has the browser save a file that was sent. */
  fetchFile(file: Attachment): Promise<void>;
  /** Whether the server gives addresses of files that were sent. */
  readonly canFetchFiles: boolean;
}

export interface OpenImage {
  readonly name: string;
  readonly source: ImageSource;
}

export type Answers = Readonly<Record<string, { readonly values: readonly string[]; readonly skipped: boolean }>>;

/** The context in which the view of an item is drawn. */
export interface ViewContext {
  readonly texts: Texts;
  /** The language tag (BCP 47) for dates and numbers. */
  readonly locale: string;
  readonly options: ChatKitOptions;
  readonly actions: ItemActions;
  readonly announcer: Announcer;
  /** The hosts whose images an answer may show. */
  readonly imageDomains: readonly string[];
  /** The person's feedback on an item; null where none was given. */
  feedbackOf(itemId: string): Feedback | null;
  /** Whether the item is still being written. */
  readonly open: boolean;
  /** Tells the page, once, which part of the item could not be drawn, without its content. */
  notDrawn(part: string, error: unknown): void;
  /** Tells the page of a `chatkit-link://` address or an entity that the person followed. */
  emit(type: string, detail: unknown): void;
}

/** The part of the context that all items share. */
export type SharedContext = Omit<ViewContext, "open" | "imageDomains" | "notDrawn" | "feedbackOf">;

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
