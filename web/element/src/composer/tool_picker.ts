import type { ToolOption } from "@openai/chatkit";
import { fill } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { MenuButton } from "../ui/menu_button.js";
import type { ComposerHost } from "./host.js";

/** The choice of the tool for the next message. Pinned tools are buttons, and the others are in a menu. */
export class ToolPicker {
  readonly node = el("span", { class: "composer-part" });
  readonly #menu = new MenuButton("icon-button", (id) => this.#pick(id));
  #chosenId: string | null = null;

  /** @param onChange called after each change of the choice @param onPicked called when the person made the change */
  constructor(
    private host: ComposerHost,
    private readonly onChange: () => void,
    private readonly onPicked: () => void,
  ) {
    this.setOptions(host);
  }

  get tools(): readonly ToolOption[] {
    return this.host.options.composer?.tools ?? [];
  }

  get chosen(): ToolOption | null {
    return this.tools.find(({ id }) => id === this.#chosenId) ?? null;
  }

  /** Applies new options. The choice of a tool that they lack ends. */
  setOptions(host: ComposerHost): void {
    this.host = host;
    if (this.#chosenId !== null && this.chosen === null) this.choose(null);
    else this.#draw();
  }

  choose(id: string | null): void {
    const isOther = id !== this.#chosenId;
    this.#chosenId = id;
    this.#draw();
    if (!isOther) return;
    this.host.emit("chatkit.tool.change", { toolId: id });
    this.onChange();
  }

  /** Ends the choice after a message was sent, unless the tool is persistent. */
  sent(): void {
    if (!this.chosen?.persistent) this.choose(null);
  }

  #pick(id: string): void {
    const tool = this.tools.find((other) => other.id === id);
    const isChosen = id === this.#chosenId;
    this.choose(isChosen ? null : id);
    if (tool && !isChosen) this.host.announcer.say(fill(this.host.texts.composer.toolChosen, { tool: tool.label }));
    this.onPicked();
  }

  #draw(): void {
    const { tools } = this.host.texts.composer;
    const inMenu = this.tools.filter(({ pinned }) => !pinned);
    const choices = inMenu.map(({ id, label, icon }) => ({ id, label, icon, checked: id === this.#chosenId }));
    this.#menu.show({ name: tools, face: [icon("settings-slider")], menuName: tools, choices });
    this.node.replaceChildren(
      ...(inMenu.length > 0 ? [this.#menu.node] : []),
      ...inMenu.filter(({ id }) => id === this.#chosenId).map((tool) => this.#chosenButton(tool)),
      ...this.tools.filter(({ pinned }) => pinned).map((tool) => this.#pinnedButton(tool)),
    );
  }

  #pinnedButton(tool: ToolOption): HTMLElement {
    const isChosen = tool.id === this.#chosenId;
    const words = isChosen ? (tool.shortLabel ?? tool.label) : tool.label;
    const attributes = {
      type: "button",
      class: "composer-pill pinned",
      title: tool.label,
      "aria-pressed": String(isChosen),
    };
    const on = { click: () => this.#pick(tool.id) };
    const face = [icon(tool.icon), el("span", { class: "composer-pill-words" }, words)];
    return el("button", { ...attributes, "aria-label": tool.label, on }, ...face);
  }

  #chosenButton(tool: ToolOption): HTMLElement {
    const name = fill(this.host.texts.composer.remove, { name: tool.label });
    const attributes = { type: "button", class: "composer-pill chosen", title: tool.label, "aria-label": name };
    const on = { click: () => this.#pick(tool.id) };
    const words = el("span", { class: "composer-pill-words" }, tool.shortLabel ?? tool.label);
    return el("button", { ...attributes, on }, icon(tool.icon), words, icon("close"));
  }
}
