const ENTER = new Set(["Enter", "NumpadEnter"]);

/**
 * Listens for the Enter that sends. With an input method it confirms a choice first: in Japanese input that is all it
 * does, and in Korean input it ends the composition and would make a line break besides, which then sends.
 */
export class EnterKey {
  /** Whether the last key that was pressed is Enter without Shift. */
  #isPlainEnter = false;

  /** @param isTaken whether something else takes a key, such as an open list */
  constructor(
    box: HTMLTextAreaElement,
    private readonly isTaken: (event: KeyboardEvent) => boolean,
    private readonly onEnter: () => void,
  ) {
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("beforeinput", (event) => this.#beforeInput(event));
  }

  #key(event: KeyboardEvent): void {
    this.#isPlainEnter = [event.code, event.key].some((key) => ENTER.has(key)) && !event.shiftKey;
    if (this.isTaken(event)) {
      this.#isPlainEnter = false;
      return;
    }
    // Safari ends a composition before the Enter that confirmed it, and gives that Enter the key code 229.
    const isWriting = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || isWriting) return;
    event.preventDefault();
    this.onEnter();
  }

  #beforeInput(event: InputEvent): void {
    const isBreak = event.inputType === "insertLineBreak" || event.inputType === "insertParagraph";
    if (!isBreak || event.isComposing || !this.#isPlainEnter) return;
    event.preventDefault();
    this.onEnter();
  }
}
