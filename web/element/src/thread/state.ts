import { isFields } from "../server/fields.js";
import type {
  Annotation,
  AnswerPart,
  AssistantMessage,
  GeneratedImageItem,
  LocalItem,
  Page,
  Shown,
  StreamEvent,
  Task,
  Thread,
  ThreadItem,
  ThreadStatus,
  UserMessage,
  WidgetItem,
  WidgetNode,
  WorkflowItem,
} from "../server/protocol.js";

const LOCAL_TYPES = new Set(["error", "notice", "stopped", "unanswered"]);
const ACTIVE: ThreadStatus = { type: "active" };

/**
 * What is known of one thread. Pure: events in, items out.
 *
 * Events are applied to items keyed by their id, so that a replay of a run from its start ends in the same state:
 * `added`, `done` and `replaced` set an item whole, and updates build upon the `added` before them.
 */
export class ThreadState {
  id: string | null = null;
  title: string | null = null;
  createdAt: string | null = null;
  status: ThreadStatus = ACTIVE;
  imageDomains: readonly string[] = [];
  /** In the order of the conversation. */
  items = new Map<string, Shown>();
  /** Ids of items that are still being written. */
  readonly open = new Set<string>();
  hasEarlier = false;
  /** The cursor of `items.list` that continues with earlier items. */
  earlierAfter: string | null = null;
  #changes = 0;
  /** Of each item that an event has changed: at which change. */
  readonly #changedAt = new Map<string, number>();

  setThread(thread: Thread): void {
    this.id = thread.id;
    this.title = textOf(thread.title);
    this.createdAt = textOf(thread.created_at);
    this.status = thread.status ? { ...thread.status, reason: textOf(thread.status.reason) } : ACTIVE;
    this.imageDomains = (thread.allowed_image_domains ?? []).filter((domain) => typeof domain === "string");
  }

  /** What changes after it is newer than an answer that was asked for now. */
  get mark(): number {
    return this.#changes;
  }

  /**
   * The newest page of `items.list` in descending order takes the place of all that was known, but for what is earlier than
   * all of it, what is still being written, what only this page has, and what has changed since the `mark` at which it
   * was asked for.
   */
  loadNewest(given: Page<ThreadItem>, mark: number = this.mark): void {
    const page = { ...given, data: given.data.filter(isItem) };
    const known = [...this.items.values()];
    const isNewer = (id: string) => (this.#changedAt.get(id) ?? 0) > mark;
    const isKept = (item: Shown) => isLocal(item) || isPending(item) || this.open.has(item.id) || isNewer(item.id);
    const oldest = page.data.at(-1)?.id;
    const from = page.has_more === true ? known.findIndex(({ id }) => id === oldest) : -1;
    const shown: Shown[] = from > 0 ? known.slice(0, from) : [];
    const newest = [...page.data].reverse();
    shown.push(...newest.flatMap((item) => (isNewer(item.id) ? (this.items.get(item.id) ?? []) : item)));
    const ids = new Set(shown.map(({ id }) => id));
    // Each behind what it stood behind before.
    let before: string | null = null;
    for (const item of known) {
      if (!ids.has(item.id) && isKept(item)) {
        const at = shown.findIndex(({ id }) => id === before);
        shown.splice(at < 0 ? shown.length : at + 1, 0, item);
        ids.add(item.id);
      }
      if (ids.has(item.id)) before = item.id;
    }
    this.items = new Map(shown.map((item) => [item.id, item]));
    if (from <= 0) this.#setEarlier(page);
  }

  /** A further page in descending order goes before all that is known. */
  loadEarlier(page: Page<ThreadItem>): void {
    const earlier = new Map<string, Shown>(
      page.data
        .filter(isItem)
        .reverse()
        .map((item) => [item.id, item]),
    );
    for (const [id, item] of this.items) earlier.set(id, item);
    this.items = earlier;
    this.#setEarlier(page);
  }

  #setEarlier(page: Page<ThreadItem>): void {
    this.hasEarlier = page.has_more === true;
    this.earlierAfter = page.after ?? null;
  }

  /** The item behind this one, of those that the server has. */
  storedAfter(id: string): string | null {
    const known = [...this.items.values()];
    const at = known.findIndex((item) => item.id === id);
    return (
      known.slice(at + 1).find((item) => !isLocal(item) && !isPending(item) && !this.open.has(item.id))?.id ?? null
    );
  }

  /** Puts something at the end that only this page knows. */
  put(item: LocalItem | UserMessage): void {
    this.items.set(item.id, item);
  }

  /** Takes away local things of some types. */
  dropLocal(...types: LocalItem["type"][]): void {
    for (const item of [...this.items.values()]) if (types.some((type) => type === item.type)) this.remove(item.id);
  }

  get hasLocal(): boolean {
    return [...this.items.values()].some(isLocal);
  }

  remove(id: string): boolean {
    this.open.delete(id);
    return this.items.delete(id);
  }

  /** Applies an event about an item; others change nothing. */
  apply(event: StreamEvent): void {
    const id = (event.item as ThreadItem | undefined)?.id ?? event.item_id;
    if (id !== undefined) this.#changedAt.set(String(id), ++this.#changes);
    switch (event.type) {
      case "thread.item.added": {
        const item = event.item as ThreadItem;
        this.items.set(item.id, item);
        this.open.add(item.id);
        break;
      }
      case "thread.item.done":
      case "thread.item.replaced": {
        const item = event.item as ThreadItem;
        this.items.set(item.id, item);
        this.open.delete(item.id);
        break;
      }
      case "thread.item.removed":
        this.remove(String(event.item_id));
        break;
      case "thread.item.updated": {
        const item = this.items.get(String(event.item_id));
        if (item !== undefined && !isLocal(item)) this.items.set(item.id, updated(item, event.update as StreamEvent));
        break;
      }
    }
  }

  /** Whether the items of the newest page are known as they are. */
  equals({ data, has_more: hasMore }: Page<ThreadItem>): boolean {
    const newest = data.filter(isItem);
    const known = [...this.items.values()].filter((item) => !isLocal(item)).reverse();
    const isSame = (item: ThreadItem, index: number) => fingerprint(item) === fingerprint(known[index]);
    return newest.every(isSame) && (known.length === newest.length || hasMore === true);
  }

  /** The newest item that the server knows and that says something. */
  get last(): ThreadItem | undefined {
    return this.#newest((item) => item.type !== "end_of_turn");
  }

  get lastUserMessage(): UserMessage | undefined {
    return this.#newest((item) => item.type === "user_message") as UserMessage | undefined;
  }

  /** The message that an item answers. */
  messageBefore(id: string): UserMessage | undefined {
    let message: UserMessage | undefined;
    for (const item of this.items.values()) {
      if (item.id === id) return message;
      if (item.type === "user_message" && !item.pending) message = item;
    }
    return undefined;
  }

  #newest(matches: (item: ThreadItem) => boolean): ThreadItem | undefined {
    const known = [...this.items.values()].filter((item): item is ThreadItem => !isLocal(item) && !isPending(item));
    return known.findLast(matches);
  }

  /** Forgets everything after an item, as `threads.retry_after_item` does on the server. */
  dropAfter(id: string): void {
    let isFound = false;
    for (const key of [...this.items.keys()]) {
      if (isFound) this.remove(key);
      if (key === id) isFound = true;
    }
  }
}

/** Entries of another shape cannot be told apart, and are passed over. */
function isItem(item: unknown): item is ThreadItem {
  return isFields(item) && typeof item.id === "string" && typeof item.type === "string";
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** Of an item that nests too deep to be written down nothing is known, and so it differs from each other one. */
function fingerprint(item: unknown): unknown {
  try {
    return JSON.stringify(item);
  } catch {
    return Symbol("too deep");
  }
}

function isLocal(item: Shown): item is LocalItem {
  return LOCAL_TYPES.has(item.type);
}

function isPending(item: Shown): boolean {
  return item.type === "user_message" && item.pending === true;
}

/** The item after an update; the item that came in is left as it was. An update that does not fit changes nothing. */
function updated(item: ThreadItem, update: StreamEvent): ThreadItem {
  switch (item.type) {
    case "assistant_message":
      return updatedMessage(item, update);
    case "workflow":
      return updatedWorkflow(item, update);
    case "widget":
      return updatedWidget(item, update);
    case "generated_image":
      if (update.type !== "generated_image.updated") return item;
      return {
        ...item,
        image: (update.image as NonNullable<GeneratedImageItem["image"]> | undefined) ?? null,
        progress: (update.progress as number) ?? null,
      };
    default:
      return item;
  }
}

function updatedMessage(item: AssistantMessage, update: StreamEvent): AssistantMessage {
  const index = Number(update.content_index);
  switch (update.type) {
    case "assistant_message.content_part.added":
    case "assistant_message.content_part.done":
      return withPart(item, index, () => update.content as AnswerPart);
    case "assistant_message.content_part.text_delta":
      return withPart(item, index, (part) => ({ ...part, text: part.text + String(update.delta) }));
    case "assistant_message.content_part.annotation_added":
      return withPart(item, index, (part) => {
        const annotations = [...(part.annotations ?? [])];
        annotations.splice(Number(update.annotation_index), 0, update.annotation as Annotation);
        return { ...part, annotations };
      });
    default:
      return item;
  }
}

const EMPTY: AnswerPart = { type: "output_text", text: "", annotations: [] };

function withPart(item: AssistantMessage, index: number, change: (part: AnswerPart) => AnswerPart): AssistantMessage {
  const content = [...(item.content ?? [])];
  while (content.length <= index) content.push(EMPTY);
  content[index] = change(content[index] ?? EMPTY);
  return { ...item, content };
}

function updatedWorkflow(item: WorkflowItem, update: StreamEvent): WorkflowItem {
  if (update.type !== "workflow.task.added" && update.type !== "workflow.task.updated") return item;
  const tasks = [...item.workflow.tasks];
  tasks[Math.min(Number(update.task_index), tasks.length)] = update.task as Task;
  return { ...item, workflow: { ...item.workflow, tasks } };
}

function updatedWidget(item: WidgetItem, update: StreamEvent): WidgetItem {
  const id = String(update.component_id);
  switch (update.type) {
    case "widget.root.updated":
      return { ...item, widget: update.widget as WidgetNode };
    case "widget.component.updated":
      return { ...item, widget: withComponent(item.widget, id, () => update.component as WidgetNode) };
    case "widget.streaming_text.value_delta": {
      const grown = (component: WidgetNode) => ({
        ...component,
        value: String(component.value ?? "") + String(update.delta),
        streaming: update.done !== true,
      });
      return { ...item, widget: withComponent(item.widget, id, grown) };
    }
    default:
      return item;
  }
}

function withComponent(node: WidgetNode, id: string, change: (node: WidgetNode) => WidgetNode): WidgetNode {
  if (node === null || typeof node !== "object") return node;
  if (node.id === id) return change(node);
  const { children } = node;
  if (Array.isArray(children)) return { ...node, children: children.map((child) => withComponent(child, id, change)) };
  if (children) return { ...node, children: withComponent(children as WidgetNode, id, change) };
  return node;
}
