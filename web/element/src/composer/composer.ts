import { el } from "../ui/dom.js";
import { Attachments, release } from "./attachments/attachments.js";
import { FileIntake } from "./attachments/file_intake.js";
import { acceptAttribute } from "./attachments/rules.js";
import { Dictation } from "./dictation/dictation.js";
import { Disclaimer } from "./disclaimer.js";
import { complete } from "./draft.js";
import { type DraftsHost, ThreadDrafts } from "./drafts/thread_drafts.js";
import { type Sent, ThreadFiles } from "./drafts/thread_files.js";
import { NO_WORDS } from "./drafts/words.js";
import { EnterKey } from "./enter_key.js";
import { ComposerFrame } from "./frame.js";
import type { ComposerHost, ComposerState, Draft } from "./host.js";
import { MessageBox } from "./message_box.js";
import { ModelPicker } from "./model_picker.js";
import { Quotation } from "./quotation.js";
import { isSameState } from "./status.js";
import { suggestionSources } from "./suggestions/sources.js";
import { Suggestions } from "./suggestions/suggestions.js";
import { ToolPicker } from "./tool_picker.js";
import type { Span } from "./typing.js";
import { type ComposerValue, check, contentOf } from "./value.js";

/** The message box with its tools. A message that the server did not accept comes back into the box. */
export class Composer {
  readonly #frame = new ComposerFrame();
  readonly #disclaimer = new Disclaimer();
  readonly #box: MessageBox;
  readonly #attachments: Attachments;
  readonly #quotation: Quotation;
  readonly #tools: ToolPicker;
  readonly #models: ModelPicker;
  readonly #dictation: Dictation;
  readonly #suggestions: Suggestions;
  readonly #controls: HTMLFieldSetElement;
  readonly #drafts: ThreadDrafts;
  readonly #files: ThreadFiles;
  readonly #intake: FileIntake;
  readonly node: HTMLFormElement;
  #state: ComposerState = { blocked: null, canStop: false, isStopping: false };

  constructor(
    private host: ComposerHost,
    drafts: DraftsHost,
  ) {
    const refresh = () => this.#refresh();
    const focus = () => this.focus();
    this.#drafts = new ThreadDrafts(drafts);
    this.#box = new MessageBox(host.texts, refresh);
    this.#attachments = new Attachments(host, refresh, focus);
    this.#files = new ThreadFiles(this.#attachments);
    this.#intake = new FileIntake(this.#attachments, () => this.#canAttach);
    this.#quotation = new Quotation(host.texts, () => {
      this.#refresh();
      this.focus();
    });
    this.#tools = new ToolPicker(host, refresh, focus);
    this.#models = new ModelPicker(host);
    this.#dictation = new Dictation(host, (text) => this.#insertDictated(text), refresh);
    const sources = suggestionSources({
      host: () => this.host,
      box: this.#box,
      attachments: this.#attachments,
      tools: this.#tools,
      chooseFiles: () => this.#frame.file.click(),
      begin: (sign, span) => this.#begin(sign, span),
    });
    this.#suggestions = new Suggestions(this.#box.node, () => this.host, sources);
    const { node: tools } = this.#tools;
    const left = [this.#frame.file, this.#frame.attach, this.#frame.mention, tools, this.#models.node];
    this.#controls = el("fieldset", { class: "composer-controls" }, ...left, this.#frame.keys, this.#dictation.node);
    this.node = this.#form();
    this.#listen();
    this.setOptions(host);
  }

  /** Applies new options and texts. The typed text stays. */
  setOptions(host: ComposerHost): void {
    this.host = host;
    this.node.setAttribute("aria-label", host.texts.composer.form);
    this.#frame.setTexts(host.texts);
    this.#box.setTexts(host.texts);
    this.#quotation.setTexts(host.texts);
    this.#disclaimer.setOptions(host);
    for (const part of [this.#attachments, this.#tools, this.#models, this.#dictation]) part.setOptions(host);
    this.#refresh();
  }

  /** Shows what the open thread allows. Each delta of an answer calls it, so an unchanged state is not drawn again. */
  show(state: ComposerState): void {
    if (isSameState(state, this.#state)) return;
    this.#state = state;
    if (state.blocked !== null && this.#dictation.isBusy) this.#dictation.cancel();
    this.#refresh();
  }

  /** Shows what was written in a thread, or in a new one for null, and keeps what was written in the one before. */
  open(threadId: string | null, isLoaded: boolean): void {
    const before = this.#drafts.threadId;
    const opened = this.#drafts.open(threadId, isLoaded);
    if (opened === null) return;
    const { isBefore, words } = opened;
    if (!isBefore) {
      if (before !== undefined) this.#files.leave(before);
      this.#quotation.text = words.quotedText;
      this.#box.set(complete(words.content));
    }
    this.#giveBack({ ...(isBefore ? words : NO_WORDS), pending: this.#files.take(threadId), toolId: null });
    this.#suggestions.refresh();
  }

  /** Drops what was written in a thread that was deleted. */
  forget(threadId: string): void {
    this.#drafts.forget(threadId);
    this.#files.discard(threadId);
  }

  focus(): void {
    this.#box.node.focus();
  }

  /**
   * Sets the given parts and leaves the others. Resolves when `files` are uploaded. Throws TypeError for an unknown
   * tool or model, and for files where attachments are not enabled.
   */
  async setValue(value: ComposerValue): Promise<void> {
    const canAttach = this.#attachments.rules !== null;
    check(value, { tools: this.#tools.tools, models: this.#models.models, canAttach });
    const content = contentOf(value);
    if (content !== null) this.#box.set(complete(content));
    if (value.reply !== undefined) this.#quotation.text = value.reply || null;
    if (value.attachments !== undefined) this.#attachments.replace(value.attachments);
    if (value.selectedToolId !== undefined) this.#tools.choose(value.selectedToolId);
    if (value.selectedModelId !== undefined) this.#models.choose(value.selectedModelId);
    this.#suggestions.refresh();
    this.#refresh();
    if (value.files !== undefined) await this.#attachments.add(value.files);
  }

  /** Puts the parts of a message before what is in the box, and focuses it. */
  giveBack({ content, attachments, quotedText, inferenceOptions }: Draft): void {
    this.#attachments.addKnown(attachments);
    this.#giveBack({ content, pending: [], quotedText, toolId: inferenceOptions.tool_choice?.id ?? null });
    this.#refresh();
    this.focus();
  }

  quote(text: string): void {
    this.#quotation.text = text;
    this.#refresh();
    this.focus();
  }

  /** Takes the files that are dropped on the place. */
  takeFilesFrom(place: HTMLElement): void {
    this.#intake.fromDrop(place);
  }

  get #canAttach(): boolean {
    return this.#attachments.rules !== null && this.#state.blocked === null;
  }

  /** Ends the composer and discards its content, the uploaded attachments on the server included. */
  end(): void {
    this.#suggestions.close();
    this.#dictation.cancel();
    this.#attachments.empty();
    this.#files.discardAll();
  }

  #form(): HTMLFormElement {
    const row = el("div", { class: "composer-tools" }, this.#controls, this.#frame.stop, this.#frame.send);
    const { label, node, tags } = this.#box;
    const box = el("div", { class: "composer-box" }, this.#suggestions.node, label, node, row);
    const above = [this.#frame.note, this.#quotation.node, this.#attachments.node, tags];
    return el("form", { id: "composer", class: "composer" }, ...above, box, this.#disclaimer.node);
  }

  #listen(): void {
    const { node: message } = this.#box;
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    new EnterKey(
      message,
      (event) => this.#suggestions.key(event),
      () => this.#enter(),
    );
    this.#intake.fromClipboard(message);
    this.#intake.fromDialog(this.#frame, () => this.focus());
    this.#frame.mention.addEventListener("click", () => this.#begin("@", this.#box.caret));
    this.#frame.stop.addEventListener("click", () => {
      this.focus();
      this.host.stop();
    });
  }

  get #isEmpty(): boolean {
    return this.#box.isEmpty && this.#attachments.ready.length === 0;
  }

  #refresh(): void {
    this.#drafts.save({ content: this.#box.content, quotedText: this.#quotation.text });
    const { blocked } = this.#state;
    const { options, texts } = this.host;
    const { composer } = options;
    const rules = this.#attachments.rules;
    this.#frame.note.hidden = blocked === null;
    this.#frame.note.textContent = blocked;
    this.#box.node.disabled = blocked !== null;
    this.#box.node.placeholder =
      this.#tools.chosen?.placeholderOverride ?? composer?.placeholder ?? texts.composer.placeholder;
    this.#controls.disabled = blocked !== null;
    this.#frame.attach.hidden = rules === null;
    this.#frame.accept = rules === null ? null : acceptAttribute(rules);
    this.#frame.mention.hidden = !options.entities?.onTagSearch || !options.entities.showComposerMenu;
    const isBusy = this.#attachments.isUploading || this.#dictation.isBusy;
    this.#frame.send.disabled = blocked !== null || isBusy || this.#isEmpty;
    this.#refreshStop();
  }

  #refreshStop(): void {
    const { canStop, isStopping } = this.#state;
    if ((!canStop || isStopping) && this.#frame.stop.matches(":focus")) this.focus();
    this.#frame.stop.hidden = !canStop;
    this.#frame.stop.disabled = canStop && isStopping;
  }

  #enter(): void {
    const { announcer, texts } = this.host;
    if (this.#attachments.isUploading) announcer.toast(texts.composer.uploadsFirst);
    else this.#submit();
  }

  /** Begins a search as if the person had typed its sign. */
  #begin(sign: string, span: Span): void {
    const isMidWord = /\S$/.test(this.#box.node.value.slice(0, span.start));
    this.focus();
    this.#box.replace(span, isMidWord ? ` ${sign}` : sign);
    this.#suggestions.again();
  }

  #insertDictated(text: string): void {
    this.#box.insert(text);
    this.focus();
  }

  async #submit(): Promise<void> {
    if (this.#frame.send.disabled) return;
    const draft = this.draft;
    // The focus moves to the box, because the button is about to be disabled.
    if (this.#frame.send.matches(":focus")) this.focus();
    const settle = this.#drafts.send({ content: draft.content, quotedText: draft.quotedText });
    const sent = this.#take(draft);
    let isAccepted = false;
    try {
      isAccepted = await this.host.send(draft);
    } finally {
      const { isBack, threadId } = settle(isAccepted);
      if (isAccepted) release(sent.pending);
      else if (isBack) this.#giveBack(sent);
      else this.#files.giveBack(threadId, sent.pending);
    }
  }

  /** The message as it is now. */
  get draft(): Draft {
    const tool = this.#tools.chosen;
    const model = this.#models.chosen;
    return {
      content: this.#box.content,
      attachments: this.#attachments.ready,
      quotedText: this.#quotation.text,
      inferenceOptions: { ...(tool && { tool_choice: { id: tool.id } }), ...(model && { model: model.id }) },
    };
  }

  /** Empties the box for the next message. */
  #take({ content, quotedText }: Draft): Sent {
    const toolId = this.#tools.chosen?.id ?? null;
    const pending = this.#attachments.take();
    this.#box.set([]);
    this.#quotation.text = null;
    this.#tools.sent();
    this.#suggestions.refresh();
    return { content, pending, quotedText, toolId };
  }

  /** Puts the content that was not sent before the text that was written since. */
  #giveBack({ content, pending, quotedText, toolId }: Sent): void {
    // The quotation is first, because a change of the box stores both.
    this.#quotation.text ??= quotedText;
    if (content.length > 0) this.#box.putBefore(complete(content));
    this.#attachments.giveBack(pending);
    if (this.#tools.chosen === null && this.#tools.tools.some(({ id }) => id === toolId)) this.#tools.choose(toolId);
  }
}
