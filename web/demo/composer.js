import { Attachments } from "./attachments.js";
import { icon } from "./icons.js";

/** The message box. What could not be sent comes back into it. */
export class Composer {
  /** @param {{api: object, conversation: object, commands: object, announcer: object, places: Record<string, HTMLElement>, onSent: () => void}} parts */
  constructor({ api, conversation, commands, announcer, places, onSent }) {
    Object.assign(this, { conversation, commands, places, onSent });
    const onChange = () => this.refresh();
    this.attachments = new Attachments({ api, announcer, list: places.attachments, onChange });
    places.send.append(icon("send"));
    places.attach.append(icon("attach"));
    places.stop.prepend(icon("square"));
    places.composer.addEventListener("submit", (event) => this.#submit(event));
    places.message.addEventListener("input", onChange);
    places.message.addEventListener("keydown", (event) => this.#key(event));
    places.message.addEventListener("paste", (event) => this.#addFiles(event.clipboardData.files));
    places.attach.addEventListener("click", () => places.file.click());
    places.file.addEventListener("change", () => {
      this.#addFiles(places.file.files);
      places.file.value = "";
    });
    places.stop.addEventListener("click", () => this.#stop());
    conversation.addEventListener("change", onChange);
    conversation.addEventListener("thread", onChange);
  }

  focus() {
    this.places.message.focus();
  }

  setText(text) {
    this.places.message.value = text;
    this.refresh();
    this.focus();
  }

  /** Sends a text as it is, whatever the box holds. */
  async sendText(text) {
    this.onSent();
    await this.commands.send({ text });
  }

  refresh() {
    const { places, conversation } = this;
    const { status } = conversation.state;
    const blocked = status.type !== "active";
    places.note.hidden = !blocked;
    places.note.textContent = blocked ? status.reason ?? `This conversation is ${status.type}.` : "";
    places.message.disabled = blocked;
    places.attach.disabled = blocked;
    const empty = !places.message.value.trim() && this.attachments.ready.length === 0;
    places.send.disabled = blocked || empty || this.attachments.isUploading;
    this.#refreshStop();
    places.message.style.height = "auto";
    places.message.style.height = `${places.message.scrollHeight}px`;
  }

  #refreshStop() {
    const { stop } = this.places;
    const runs = [...this.conversation.runs];
    const shown = runs.some((run) => run.id && run.allowCancel);
    if (!shown && document.activeElement === stop) this.focus();
    stop.hidden = !shown;
    stop.disabled = shown && runs.every((run) => run.stopping);
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.places.composer.requestSubmit();
    }
  }

  async #submit(event) {
    event.preventDefault();
    const { message, send } = this.places;
    if (send.disabled) return;
    const text = message.value.trim();
    const attachments = this.attachments.ready;
    message.value = "";
    this.attachments.clear();
    this.onSent();
    const accepted = await this.commands.send({ text, attachments });
    if (!accepted && !message.value) this.setText(text);
  }

  #addFiles(files) {
    for (const file of files) this.attachments.add(file);
  }

  #stop() {
    this.focus();
    this.commands.stop();
  }
}
