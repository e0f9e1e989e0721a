/** A run as this page sees it, from the click that began it to its end. */
export class Run {
  allowCancel = false;
  stopping = false;
  connected = true;
  /** An `error` event came. */
  failed = false;
  /** @type {{text: string, icon?: string}|null} */
  progress = null;
  openItems = new Set();
  /** It changed an item of an earlier run, which a replay cannot rebuild. */
  touchedOthers = false;
  #own = new Set();

  /**
   * @param {object} options
   * @param {string|null} [options.id] null until the POST is answered
   * @param {boolean} [options.fromStart] followed by replay, not begun here
   * @param {(() => void)|null} [options.again] what Retry does, where that is not answering the message again
   */
  constructor({ id = null, type = null, fromStart = false, pending = null, again = null }) {
    Object.assign(this, { id, type, fromStart, pending, again });
    this.key = crypto.randomUUID();
    this.pendingId = `pending:${this.key}`;
  }

  observe(event) {
    switch (event.type) {
      case "stream_options":
        this.allowCancel = event.stream_options.allow_cancel;
        return;
      case "progress_update":
        this.progress = { text: event.text, icon: event.icon };
        return;
      case "thread.item.added":
        this.#own.add(event.item.id);
        this.openItems.add(event.item.id);
        break;
      case "thread.item.done":
      case "thread.item.replaced":
        this.#own.add(event.item.id);
        this.openItems.delete(event.item.id);
        break;
      case "thread.item.updated":
        if (!this.#own.has(event.item_id)) this.touchedOthers = this.fromStart;
        break;
      default:
        return;
    }
    if (event.item?.type !== "user_message") this.progress = null;
  }
}
