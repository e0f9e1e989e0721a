// Stands in for the stock element, whose script is only on OpenAI's CDN: what @openai/chatkit's types say of it, and what
// is known of how it treats answers. A network error shows an error, an early end looks like the end, nothing resumes;
// the signal of a request is aborted after every answer too.
class StockElement extends HTMLElement {
  #options = null;
  #threadId = null;
  #items = new Map();
  errors = [];
  posts = 0;

  setOptions(options) {
    const isFirst = this.#options === null;
    this.#options = options;
    if (!isFirst) return;
    this.innerHTML = `<ol></ol><form><input aria-label="Message to the assistant"><button>Ask</button></form>`;
    this.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.sendUserMessage({ text: this.querySelector("input").value });
    });
    this.#say("ready");
    if (options.initialThread) void this.setThreadId(options.initialThread);
  }

  async setThreadId(threadId) {
    this.#threadId = threadId;
    this.#items.clear();
    this.#say("thread.change", { threadId });
    this.#draw();
    if (threadId === null) return;
    this.#say("thread.load.start", { threadId });
    await this.fetchUpdates();
    this.#say("thread.load.end", { threadId });
  }

  async fetchUpdates() {
    const body = { type: "threads.get_by_id", params: { thread_id: this.#threadId } };
    const thread = await (await this.#post(body)).json();
    for (const item of thread.items.data) this.#items.set(item.id, item);
    this.#draw();
  }

  async sendUserMessage({ text }) {
    const input = { content: [{ type: "input_text", text }], attachments: [], inference_options: {} };
    await this.#stream(
      this.#threadId === null
        ? { type: "threads.create", params: { input } }
        : { type: "threads.add_user_message", params: { thread_id: this.#threadId, input } },
    );
  }

  async sendCustomAction(action, itemId) {
    const params = { thread_id: this.#threadId, item_id: itemId ?? null, action };
    await this.#stream({ type: "threads.custom_action", params });
  }

  async #stream(body) {
    const ending = new AbortController();
    this.#say("response.start");
    try {
      const response = await this.#post(body, ending.signal);
      let rest = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.startsWith("data: ")) this.#apply(JSON.parse(line.slice(6)));
      }
    } catch (error) {
      this.errors.push(String(error));
      this.#say("error", { error });
    } finally {
      ending.abort();
      this.#say("response.end");
    }
  }

  #post(body, signal) {
    this.posts += 1;
    const { url, fetch } = this.#options.api;
    const headers = { "content-type": "application/json", "chatkit-frame-instance-id": "stand-in" };
    return fetch(url, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  #apply(event) {
    switch (event.type) {
      case "thread.created":
        this.#threadId = event.thread.id;
        this.#say("thread.change", { threadId: this.#threadId });
        break;
      case "thread.item.added":
      case "thread.item.done":
      case "thread.item.replaced":
        this.#items.set(event.item.id, event.item);
        break;
      case "thread.item.removed":
        this.#items.delete(event.item_id);
        break;
      case "thread.item.updated": {
        const item = this.#items.get(event.item_id);
        if (event.update.delta === undefined) return;
        item.content = [{ text: (item.content[0]?.text ?? "") + event.update.delta }];
        break;
      }
      case "error":
        this.errors.push(event.message);
        break;
    }
    this.#draw();
  }

  #draw() {
    const lines = [...this.#items.values()].map((item) => {
      const line = document.createElement("li");
      line.dataset.type = item.type;
      line.textContent = (item.content ?? []).map((part) => part.text).join("");
      return line;
    });
    this.querySelector("ol").replaceChildren(...lines);
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(`chatkit.${name}`, { detail }));
  }
}

customElements.define("openai-chatkit", StockElement);
