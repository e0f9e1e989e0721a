/** Accepts files that are dragged onto a place. */
export class FileDrop {
  /** @param place gets the class `dragged` while files are above it @param isOpen whether it accepts files now */
  constructor(
    private readonly place: HTMLElement,
    private readonly isOpen: () => boolean,
    private readonly onDropped: (files: File[]) => void,
  ) {
    for (const type of ["dragenter", "dragover"] as const) place.addEventListener(type, (event) => this.#over(event));
    place.addEventListener("dragleave", ({ relatedTarget }) => {
      if (!(relatedTarget instanceof Node && place.contains(relatedTarget))) this.#mark(false);
    });
    place.addEventListener("drop", (event) => this.#dropped(event));
  }

  #over(event: DragEvent): void {
    const { dataTransfer } = event;
    if (!dataTransfer?.types.includes("Files")) return;
    // Else the browser would leave the page and open the file.
    event.preventDefault();
    dataTransfer.dropEffect = this.isOpen() ? "copy" : "none";
    this.#mark(this.isOpen());
  }

  #dropped(event: DragEvent): void {
    this.#mark(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    if (this.isOpen()) this.onDropped(files);
  }

  #mark(isOver: boolean): void {
    this.place.classList.toggle("dragged", isOver);
  }
}
