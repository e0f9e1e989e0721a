import { ApiError } from "../../server/api.js";
import type { Attachment } from "../../server/protocol.js";
import { fill } from "../../texts/index.js";
import { el } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { type ImageSource, picture, previewSource } from "../../ui/images.js";
import type { ComposerHost } from "../host.js";
import { typed } from "./file_type.js";
import { type AttachmentRules, allowedTypes, isAccepted, maxCount, problemOf, sizeText } from "./rules.js";
import { discard, upload } from "./upload.js";

/** A file of the next message. `attachment` is null until the server has the file. */
export interface PendingAttachment {
  readonly name: string;
  readonly chip: HTMLElement;
  readonly state: HTMLElement;
  readonly remove: HTMLElement;
  /** Whether this page uploaded the file, so that it belongs to no message yet. */
  readonly isOurs: boolean;
  readonly preview: string | null;
  readonly upload: AbortController;
  attachment: Attachment | null;
}

/** The files of the next message. They are checked, uploaded and shown as chips. */
export class Attachments {
  readonly node = el("ul", { id: "attachments", class: "attachments", hidden: true });
  #pending: PendingAttachment[] = [];

  constructor(
    private host: ComposerHost,
    private readonly onChange: () => void,
    /** The person removed a file, and its button is gone with it. */
    private readonly onRemoved: () => void,
  ) {
    this.setOptions(host);
  }

  setOptions(host: ComposerHost): void {
    this.host = host;
    this.node.setAttribute("aria-label", host.texts.composer.attachments);
    for (const pending of this.#pending) this.#label(pending);
  }

  /** The rules for attachments; null where the site allows none. */
  get rules(): AttachmentRules | null {
    const rules = this.host.options.composer?.attachments;
    return rules?.enabled ? rules : null;
  }

  get isUploading(): boolean {
    return this.#pending.some(({ attachment }) => attachment === null);
  }

  /** The uploaded files, as the server described them. */
  get ready(): Attachment[] {
    return this.#pending.flatMap(({ attachment }) => attachment ?? []);
  }

  /** Uploads the files that the rules allow, and shows why others are refused. Resolves when all uploads have ended. */
  async add(files: Iterable<File>): Promise<void> {
    const { rules } = this;
    if (rules === null) return;
    const isOfType = (type: string): boolean => isAccepted(rules, { name: "", size: 0, type });
    const fitting = [...files].map((file) => typed(file, isOfType)).filter((file) => this.#isFitting(file, rules));
    const free = Math.max(0, maxCount(rules) - this.#pending.length);
    if (fitting.length > free) this.#report(fill(this.host.texts.composer.tooManyFiles, { count: maxCount(rules) }));
    await Promise.all(fitting.slice(0, free).map((file) => this.#upload(file)));
  }

  /** Replaces the files by attachments that the server already has. */
  replace(attachments: readonly Attachment[]): void {
    this.empty();
    this.addKnown(attachments);
  }

  /** Adds attachments that the server already has. */
  addKnown(attachments: readonly Attachment[]): void {
    for (const attachment of attachments) {
      const source = attachment.type === "image" ? previewSource(attachment.preview_url) : null;
      const pending = this.#addChip(attachment.name, source, { isOurs: false, preview: null });
      pending.attachment = attachment;
      this.#show(pending);
    }
    this.onChange();
  }

  /** Hands the files over to a message. */
  take(): PendingAttachment[] {
    const taken = this.#pending;
    this.#pending = [];
    this.#draw();
    return taken;
  }

  /** Takes the files of a message back that was not accepted. */
  giveBack(pending: readonly PendingAttachment[]): void {
    this.#pending = [...pending, ...this.#pending];
    this.#draw();
  }

  /** Discards the files, here and on the server. */
  empty(): void {
    this.discard(this.take());
  }

  /** Discards files that were handed over to a message, here and on the server. */
  discard(taken: readonly PendingAttachment[]): void {
    for (const pending of taken) this.#drop(pending);
  }

  async #upload(file: File): Promise<void> {
    const preview = file.type.startsWith("image/") ? URL.createObjectURL(file) : null;
    const pending = this.#addChip(file.name, previewSource(preview), { isOurs: true, preview });
    const { host } = this;
    try {
      const attachment = await upload(file, host, pending.upload.signal);
      if (pending.upload.signal.aborted) return discard(attachment, host.api);
      pending.attachment = attachment;
      this.#show(pending);
      host.announcer.say(fill(host.texts.composer.attached, { name: file.name }));
    } catch (error) {
      if (pending.upload.signal.aborted) return;
      this.#remove(pending);
      this.#reportProblem(file.name, error instanceof ApiError ? error.message : host.texts.composer.uploadFailed);
      if (!(error instanceof ApiError)) throw error;
    } finally {
      this.onChange();
    }
  }

  #addChip(
    name: string,
    source: ImageSource | null,
    rest: Pick<PendingAttachment, "isOurs" | "preview">,
  ): PendingAttachment {
    const state = el("span", { class: "unseen" });
    const remove = el("button", { type: "button", class: "icon-button small" }, icon("close"));
    const sign = source === null ? icon("document") : image(source);
    const chip = el("li", { class: "chip uploading" }, sign, el("span", { class: "chip-name" }, name), state, remove);
    const pending: PendingAttachment = {
      name,
      chip,
      state,
      remove,
      ...rest,
      upload: new AbortController(),
      attachment: null,
    };
    remove.addEventListener("click", () => {
      this.#remove(pending);
      this.onRemoved();
    });
    this.#pending.push(pending);
    this.#label(pending);
    this.#draw();
    return pending;
  }

  #label({ name, state, remove, attachment }: PendingAttachment): void {
    const { texts } = this.host;
    state.textContent = attachment === null ? texts.composer.uploading : "";
    remove.setAttribute("aria-label", fill(texts.composer.remove, { name }));
  }

  #show(pending: PendingAttachment): void {
    pending.chip.classList.remove("uploading");
    this.#label(pending);
  }

  #remove(pending: PendingAttachment): void {
    this.#pending = this.#pending.filter((other) => other !== pending);
    this.#drop(pending);
    this.#draw();
  }

  #drop(pending: PendingAttachment): void {
    pending.upload.abort();
    release([pending]);
    if (pending.attachment && pending.isOurs) discard(pending.attachment, this.host.api);
  }

  #draw(): void {
    const chips = this.#pending.map(({ chip }) => chip);
    for (const shown of [...this.node.children]) if (!chips.some((chip) => chip === shown)) shown.remove();
    chips.forEach((chip, at) => {
      if (this.node.children[at] !== chip) this.node.insertBefore(chip, this.node.children[at] ?? null);
    });
    this.node.hidden = chips.length === 0;
    this.onChange();
  }

  #isFitting(file: File, rules: AttachmentRules): boolean {
    const problem = problemOf(file, rules);
    if (problem === null) return true;
    const { texts, locale } = this.host;
    const { tooLarge, wrongType } = texts.composer;
    this.#reportProblem(
      file.name,
      problem.kind === "type"
        ? fill(wrongType, { types: allowedTypes(rules) })
        : fill(tooLarge, { size: sizeText(problem.maxBytes, locale) }),
    );
    return false;
  }

  #reportProblem(name: string, problem: string): void {
    this.#report(fill(this.host.texts.composer.fileProblem, { name, problem }));
  }

  #report(text: string): void {
    this.host.announcer.toast(text);
  }
}

/** Frees the previews of files that belong to a message now. */
export function release(pending: readonly PendingAttachment[]): void {
  for (const { preview } of pending) if (preview !== null) URL.revokeObjectURL(preview);
}

/** A small picture, or an icon where the picture cannot be loaded. */
function image(source: ImageSource): HTMLElement {
  const shown = picture(source, { alt: "" });
  shown.addEventListener("error", () => shown.replaceWith(icon("square-image")), { once: true });
  return shown;
}
