/**
 * What is known of one thread. Pure: events in, ids of changed items out.
 *
 * Events are applied to items keyed by their id, so that a replay of a run from its start ends in the same state:
 * `added`, `done` and `replaced` set an item whole, and updates build upon the `added` before them.
 */
export class ThreadState {
  /** @type {Map<string, object>} in the order of the conversation */
  items = new Map();
  /** Ids of items that are still being written. */
  open = new Set();
  hasEarlier = false;
  /** The cursor of `items.list` that continues with earlier items. */
  earlierAfter = null;

  constructor(id = null) {
    this.id = id;
    this.title = null;
    this.created_at = null;
    this.status = { type: "active" };
    this.allowedImageDomains = [];
  }

  setThread(thread) {
    this.id = thread.id;
    this.title = thread.title ?? null;
    this.created_at = thread.created_at;
    this.status = thread.status ?? { type: "active" };
    this.allowedImageDomains = thread.allowed_image_domains ?? [];
  }

  /** The newest page of `items.list` in descending order takes the place of all that was known. */
  loadNewest(page) {
    const kept = [...this.items.values()].filter((item) => item.local && item.type !== "user_message");
    const running = [...this.items.values()].filter((item) => this.open.has(item.id));
    this.items = new Map();
    for (const item of [...page.data].reverse()) this.items.set(item.id, item);
    for (const item of running) if (!this.items.has(item.id)) this.items.set(item.id, item);
    for (const item of kept) this.items.set(item.id, item);
    this.#setEarlier(page);
  }

  /** A further page in descending order goes before all that is known. */
  loadEarlier(page) {
    const earlier = new Map([...page.data].reverse().map((item) => [item.id, item]));
    for (const [id, item] of this.items) earlier.set(id, item);
    this.items = earlier;
    this.#setEarlier(page);
  }

  #setEarlier(page) {
    this.hasEarlier = Boolean(page.has_more);
    this.earlierAfter = page.after ?? null;
  }

  /** Puts something at the end that only this client knows: an error, a notice, a message on its way. */
  putLocal(item) {
    this.items.set(item.id, { ...item, local: true });
  }

  /** Takes away local things of some types. */
  dropLocal(...types) {
    for (const item of [...this.items.values()]) if (item.local && types.includes(item.type)) this.remove(item.id);
  }

  hasLocal(...types) {
    return [...this.items.values()].some((item) => item.local && types.includes(item.type));
  }

  remove(id) {
    this.open.delete(id);
    return this.items.delete(id);
  }

  /** Applies an event about an item. Returns the id of the item that changed, or null. */
  apply(event) {
    switch (event.type) {
      case "thread.item.added":
        this.items.set(event.item.id, structuredClone(event.item));
        this.open.add(event.item.id);
        return event.item.id;
      case "thread.item.done":
      case "thread.item.replaced":
        this.items.set(event.item.id, event.item);
        this.open.delete(event.item.id);
        return event.item.id;
      case "thread.item.removed":
        return this.remove(event.item_id) ? event.item_id : null;
      case "thread.item.updated": {
        const item = this.items.get(event.item_id);
        if (!item) return null;
        this.items.set(event.item_id, updated(item, event.update));
        return event.item_id;
      }
      default:
        return null;
    }
  }

  /** Whether these newest items, newest first, are known as they are. */
  equals(newest) {
    const known = [...this.items.values()].filter((item) => !item.local).reverse();
    const same = (item, index) => JSON.stringify(item) === JSON.stringify(known[index]);
    return newest.every(same) && (known.length === newest.length || this.hasEarlier);
  }

  /** The newest item that the server knows and that says something. */
  get last() {
    return this.#newest((item) => item.type !== "end_of_turn");
  }

  get lastUserMessage() {
    return this.#newest((item) => item.type === "user_message");
  }

  #newest(matches) {
    return [...this.items.values()].findLast((item) => !item.local && matches(item));
  }

  /** Forgets everything after an item, as `threads.retry_after_item` does on the server. */
  dropAfter(id) {
    let found = false;
    for (const key of [...this.items.keys()]) {
      if (found) this.remove(key);
      if (key === id) found = true;
    }
  }
}

/** The item after an update; the item that came in is left as it was. */
function updated(item, update) {
  switch (update.type) {
    case "assistant_message.content_part.added":
    case "assistant_message.content_part.done":
      return withPart(item, update.content_index, () => update.content);
    case "assistant_message.content_part.text_delta":
      return withPart(item, update.content_index, (part) => ({ ...part, text: part.text + update.delta }));
    case "assistant_message.content_part.annotation_added":
      return withPart(item, update.content_index, (part) => ({
        ...part,
        annotations: inserted(part.annotations ?? [], update.annotation_index, update.annotation),
      }));
    case "workflow.task.added":
    case "workflow.task.updated": {
      const tasks = [...item.workflow.tasks];
      tasks[Math.min(update.task_index, tasks.length)] = update.task;
      return { ...item, workflow: { ...item.workflow, tasks } };
    }
    case "widget.root.updated":
      return { ...item, widget: update.widget };
    case "widget.component.updated":
      return { ...item, widget: mapComponent(item.widget, update.component_id, () => update.component) };
    case "widget.streaming_text.value_delta":
      return {
        ...item,
        widget: mapComponent(item.widget, update.component_id, (component) => ({
          ...component,
          value: (component.value ?? "") + update.delta,
        })),
      };
    case "generated_image.updated":
      return { ...item, image: update.image, progress: update.progress ?? null };
    default:
      return item;
  }
}

function withPart(item, index, change) {
  const content = [...(item.content ?? [])];
  while (content.length <= index) content.push({ type: "output_text", text: "", annotations: [] });
  content[index] = change(content[index]);
  return { ...item, content };
}

function inserted(list, index, value) {
  const copy = [...list];
  copy.splice(Math.min(index, copy.length), 0, value);
  return copy;
}

function mapComponent(node, id, change) {
  if (!node || typeof node !== "object") return node;
  if (node.id === id) return change(node);
  if (!node.children) return node;
  const children = Array.isArray(node.children)
    ? node.children.map((child) => mapComponent(child, id, change))
    : mapComponent(node.children, id, change);
  return { ...node, children };
}
