/**
 * The part of the ChatKit protocol that the element reads, after `chatkit.types` of openai-chatkit 1.6.5. A server may
 * send more, or a later version, so the element checks the values that it reads and ignores unknown ones.
 */

export interface ThreadStatus {
  readonly type: "active" | "locked" | "closed";
  readonly reason?: string | null;
}

export interface Thread {
  readonly id: string;
  readonly title?: string | null;
  readonly created_at?: string;
  /** The time of its last message; only where the server tells it. */
  readonly active_at?: string | null;
  readonly status?: ThreadStatus;
  readonly allowed_image_domains?: readonly string[] | null;
}

export interface Page<T> {
  readonly data: readonly T[];
  readonly has_more?: boolean;
  readonly after?: string | null;
}

export interface TextPart {
  readonly type: "input_text";
  readonly text: string;
}

export interface TagPart {
  readonly type: "input_tag";
  readonly id: string;
  readonly text: string;
  readonly data?: Record<string, unknown>;
  readonly group?: string | null;
  readonly interactive?: boolean;
}

export type UserContent = TextPart | TagPart;

export interface Attachment {
  readonly type: "file" | "image";
  readonly id: string;
  readonly name: string;
  readonly mime_type: string;
  readonly preview_url?: string | null;
  /** The target of the bytes in a two-phase upload. */
  readonly upload_descriptor?: {
    readonly url: string;
    readonly method: string;
    readonly headers?: Record<string, string>;
  } | null;
}

export interface InferenceOptions {
  readonly tool_choice?: { readonly id: string } | null;
  readonly model?: string | null;
}

export interface Source {
  readonly type: "url" | "file" | "entity";
  readonly title?: string;
  readonly description?: string | null;
  readonly attribution?: string | null;
  readonly url?: string;
  readonly filename?: string;
  readonly id?: string;
  readonly icon?: string | null;
  readonly label?: string | null;
  readonly inline_label?: string | null;
  readonly interactive?: boolean;
  readonly data?: Record<string, unknown>;
}

export interface Annotation {
  readonly source: Source;
  /** The number of characters of the text before the annotation. */
  readonly index?: number | null;
}

export interface AnswerPart {
  readonly type: "output_text";
  readonly text: string;
  readonly annotations?: readonly Annotation[];
}

export interface Task {
  readonly type: string;
  readonly status_indicator?: "none" | "loading" | "complete";
  readonly title?: string | null;
  readonly title_query?: string | null;
  readonly icon?: string | null;
  readonly content?: string | null;
  readonly queries?: readonly string[];
  readonly sources?: readonly Source[];
}

export interface Workflow {
  readonly type: string;
  readonly tasks: readonly Task[];
  readonly summary?: { readonly title?: string; readonly icon?: string | null; readonly duration?: number } | null;
  readonly expanded?: boolean;
}

export interface StructuredInput {
  readonly type: string;
  readonly id: string;
  readonly question: string;
  readonly description?: string | null;
  readonly multiple?: boolean;
  readonly options?: readonly { readonly value: string }[];
  readonly answer?: { readonly values?: readonly string[]; readonly skipped?: boolean } | null;
}

/** A component of a widget. Each type has fields of its own. */
export interface WidgetNode {
  readonly type?: string;
  readonly id?: string;
  readonly [field: string]: unknown;
}

export interface WidgetAction {
  readonly type: string;
  readonly payload?: unknown;
  readonly handler?: "server" | "client";
  readonly streaming?: boolean;
  readonly loadingBehavior?: "auto" | "none" | "self" | "container";
}

interface Stored {
  readonly id: string;
  readonly thread_id?: string;
  readonly created_at?: string;
  /** The run failed while the item was being written, and the server does not have it. */
  readonly broken?: boolean;
}

export interface UserMessage extends Stored {
  readonly type: "user_message";
  readonly content: readonly UserContent[];
  readonly attachments?: readonly Attachment[];
  readonly quoted_text?: string | null;
  readonly inference_options?: InferenceOptions;
  /** The message is on its way, and the server does not have it yet. */
  readonly pending?: boolean;
  /** The run that will answer the message, while it waits behind another one. */
  readonly waiting?: string;
}

export interface AssistantMessage extends Stored {
  readonly type: "assistant_message";
  readonly content: readonly AnswerPart[];
}

export interface WidgetItem extends Stored {
  readonly type: "widget";
  readonly widget: WidgetNode;
  readonly copy_text?: string | null;
}

export interface ClientToolCall extends Stored {
  readonly type: "client_tool_call";
  readonly status: "pending" | "completed";
  readonly call_id: string;
  readonly name: string;
  readonly arguments: Record<string, unknown>;
  readonly output?: unknown;
}

export interface WorkflowItem extends Stored {
  readonly type: "workflow";
  readonly workflow: Workflow;
}

export interface TaskItem extends Stored {
  readonly type: "task";
  readonly task: Task;
}

export interface StructuredInputItem extends Stored {
  readonly type: "structured_input";
  readonly status: "pending" | "answered" | "skipped";
  readonly inputs: readonly StructuredInput[];
}

export interface GeneratedImageItem extends Stored {
  readonly type: "generated_image";
  readonly image?: { readonly id: string; readonly url: string } | null;
  readonly progress?: number | null;
}

export interface EndOfTurn extends Stored {
  readonly type: "end_of_turn";
}

export type ThreadItem =
  | UserMessage
  | AssistantMessage
  | WidgetItem
  | ClientToolCall
  | WorkflowItem
  | TaskItem
  | StructuredInputItem
  | GeneratedImageItem
  | EndOfTurn;

/** An item that only this page has. It is drawn among the items of the server. */
export type LocalItem =
  | {
      readonly id: string;
      readonly type: "error";
      readonly message?: string;
      /** The reason where the run's own words are not known; `lost`: nothing of the answer was kept. */
      readonly reason?: "timeout" | "lost";
      readonly canRetry: boolean;
      readonly again: Again | null;
    }
  | {
      readonly id: string;
      readonly type: "notice";
      readonly level: string;
      readonly title?: string | null;
      readonly message: string;
    }
  | { readonly id: string; readonly type: "stopped" }
  /** The thread ends with a message that no run answers. */
  | { readonly id: string; readonly type: "unanswered" };

export type Feedback = "positive" | "negative";

/** A run of a thread that is to be marked there, from `GET /threads/{id}/marks`, which only Relaykit has. */
export interface MarkedRun {
  readonly id: string;
  readonly kind: string;
  readonly status: "waiting" | "failed" | "cancelled";
  readonly error: string | null;
  /** The item that the run follows, such as the message that it answers. */
  readonly item_id: string | null;
  /**
   * The last items that the run has added, the newest first. Those that are hidden from clients are among them. Null
   * where the server cannot tell.
   */
  readonly last_item_ids: readonly string[] | null;
}

export interface Marks {
  /** The oldest run first. */
  readonly runs: readonly MarkedRun[];
  /** The person's feedback by item id. */
  readonly feedback: Readonly<Record<string, Feedback>>;
}

/** Tries again what failed. Returns whether the server accepted it. */
export type Again = () => Promise<boolean>;

export type Shown = ThreadItem | LocalItem;

/** An event of a run, `ThreadStreamEvent`. */
export interface StreamEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The text of an answer. */
export function textOf(content: readonly AnswerPart[], between: string): string {
  const parts: readonly (AnswerPart | null)[] = Array.isArray(content) ? content : [];
  return parts
    .map((part) => part?.text)
    .filter((text) => typeof text === "string")
    .join(between);
}
