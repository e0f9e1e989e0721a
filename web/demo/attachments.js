import { ApiError } from "./api.js";
import { el, ownOrigin } from "./dom.js";
import { icon } from "./icons.js";

/** Files chosen for the next message: registered, uploaded, shown as chips. */
export class Attachments {
  #files = new Map();
  #next = 0;

  /** @param {{api: import("./api.js").Api, list: HTMLElement, announcer: object, onChange: () => void}} parts */
  constructor({ api, list, announcer, onChange }) {
    Object.assign(this, { api, list, announcer, onChange });
  }

  get isUploading() {
    return [...this.#files.values()].some((file) => !file.attachment);
  }

  /** The uploaded ones, as the server described them. */
  get ready() {
    return [...this.#files.values()].flatMap((file) => file.attachment ?? []);
  }

  /** Forgets the chips; the files belong to a message now. */
  clear() {
    this.#files.clear();
    this.list.replaceChildren();
    this.onChange();
  }

  async add(file) {
    const key = (this.#next += 1);
    const remove = el("button", { type: "button", class: "icon-button small", "aria-label": `Remove ${file.name}`, on: { click: () => this.#remove(key) } }, icon("close"));
    const chip = el("li", { class: "chip uploading" }, icon("document"), el("span", { class: "chip-name" }, file.name), remove);
    this.#files.set(key, { chip, attachment: null });
    this.list.append(chip);
    this.onChange();
    try {
      const attachment = await this.#upload(file);
      if (!this.#files.has(key)) return this.#discard(attachment);
      this.#files.get(key).attachment = attachment;
      chip.classList.remove("uploading");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#drop(key);
      this.announcer.toast(`${file.name}: ${error.message}`);
    }
    this.onChange();
  }

  async #upload(file) {
    const params = { name: file.name, size: file.size, mime_type: file.type || "application/octet-stream" };
    const attachment = await this.api.call("attachments.create", params);
    const { upload_descriptor: target } = attachment;
    if (target) await put(target, file);
    return attachment;
  }

  #remove(key) {
    const { attachment } = this.#files.get(key);
    this.#drop(key);
    if (attachment) this.#discard(attachment);
    this.onChange();
  }

  #drop(key) {
    this.#files.get(key).chip.remove();
    this.#files.delete(key);
  }

  /** Best effort: what is left behind belongs to no message. */
  async #discard({ id }) {
    await this.api.call("attachments.delete", { attachment_id: id }).catch(() => {});
  }
}

/** Sends the bytes where the server said. The address is signed and may be anyone's: no token goes along. */
async function put({ url, method, headers }, file) {
  let response;
  try {
    response = await fetch(ownOrigin(url), { method, headers, body: file, credentials: "omit" });
  } catch {
    throw new ApiError({ status: 0, code: "network", message: "the upload failed." });
  }
  if (response.ok) return;
  const body = await response.json().catch(() => null);
  throw new ApiError({ status: response.status, code: "upload", message: body?.error?.message ?? "the upload was refused." });
}
