import type { ComposerFrame } from "../frame.js";
import type { Attachments } from "./attachments.js";
import { FileDrop } from "./file_drop.js";

/** The ways of files into the message: the dialog, the clipboard, and a drop on a place. */
export class FileIntake {
  constructor(
    private readonly attachments: Attachments,
    private readonly canAttach: () => boolean,
  ) {}

  fromDialog({ attach, file }: ComposerFrame, onChosen: () => void): void {
    attach.addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.attachments.add([...(file.files ?? [])]);
      file.value = "";
      onChosen();
    });
  }

  fromClipboard(box: HTMLElement): void {
    box.addEventListener("paste", (event) => {
      const { clipboardData } = event;
      // Text from an office program comes with a picture of itself, which is not meant as a file.
      if (clipboardData === null || !this.canAttach() || clipboardData.types.includes("text/plain")) return;
      if (clipboardData.files.length === 0) return;
      event.preventDefault();
      this.attachments.add([...clipboardData.files]);
    });
  }

  fromDrop(place: HTMLElement): void {
    new FileDrop(place, this.canAttach, (files) => this.attachments.add(files));
  }
}
