import type { ModelOption } from "@openai/chatkit";
import { fill } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { MenuButton } from "../ui/menu_button.js";
import type { ComposerHost } from "./host.js";

/** The choice of the model that answers. It stays from message to message. */
export class ModelPicker {
  readonly #menu = new MenuButton("composer-pill", (id) => {
    this.choose(id);
    this.#menu.focus();
  });
  readonly node = this.#menu.node;
  #chosenId: string | null = null;

  constructor(private host: ComposerHost) {
    this.setOptions(host);
  }

  get models(): readonly ModelOption[] {
    return this.host.options.composer?.models ?? [];
  }

  /** The chosen model; null where the site offers none. */
  get chosen(): ModelOption | null {
    return modelOf(this.models, this.#chosenId);
  }

  setOptions(host: ComposerHost): void {
    this.host = host;
    this.#draw();
  }

  choose(id: string): void {
    this.#chosenId = id;
    this.#draw();
  }

  #draw(): void {
    const { model, models, noModel } = this.host.texts.composer;
    const { chosen } = this;
    const label = chosen?.label ?? noModel;
    this.node.hidden = this.models.length === 0;
    this.#menu.show({
      name: fill(model, { model: label }),
      face: [el("span", { class: "composer-pill-words" }, label), icon("chevron-down")],
      menuName: models,
      choices: this.models.map((option) => ({ ...option, checked: option.id === chosen?.id })),
    });
  }
}

/** The chosen model where it is enabled, else the default one, else the first that is enabled. */
export function modelOf(models: readonly ModelOption[], chosenId: string | null): ModelOption | null {
  const free = models.filter(({ disabled }) => !disabled);
  return free.find(({ id }) => id === chosenId) ?? free.find((model) => model.default) ?? free[0] ?? null;
}
