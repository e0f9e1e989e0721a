import type { ChatKitOptions, StartScreenPrompt } from "@openai/chatkit";
import { complete } from "../composer/draft.js";
import type { UserContent } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

export interface StartScreenHost {
  readonly options: () => ChatKitOptions;
  readonly texts: () => Texts;
  /** The person chose a prompt, which is sent unchanged. */
  readonly onPrompt: (content: readonly UserContent[]) => void;
}

/** The content of a new thread: a greeting, and prompts to begin with. */
export class StartScreen {
  readonly #greeting = el("h2", { id: "welcome-title" });
  readonly #prompts = el("ul", { id: "suggestions", class: "suggestions" });
  readonly node = el(
    "section",
    { id: "welcome", class: "welcome", "aria-labelledby": "welcome-title" },
    el("slot", { name: "start-screen" }, this.#greeting, this.#prompts),
  );

  constructor(private readonly host: StartScreenHost) {
    this.setOptions();
  }

  setOptions(): void {
    const { greeting, prompts = [] } = this.host.options().startScreen ?? {};
    this.#greeting.textContent = greeting ?? this.host.texts().composer.greeting;
    this.#prompts.hidden = prompts.length === 0;
    this.#prompts.replaceChildren(...prompts.map((prompt) => el("li", {}, this.#button(prompt))));
  }

  #button({ label, prompt, icon: sign }: StartScreenPrompt): HTMLElement {
    const choose = () => this.host.onPrompt(contentOf(prompt));
    const attributes = { type: "button", class: "button secondary", on: { click: choose } };
    return el("button", attributes, sign ? icon(sign) : null, label);
  }
}

function contentOf(prompt: StartScreenPrompt["prompt"]): UserContent[] {
  return typeof prompt === "string" ? [{ type: "input_text", text: prompt }] : complete(prompt);
}
