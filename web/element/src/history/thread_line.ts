import type { Thread } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { RunMark } from "./run_marks.js";

/** A thread as its line in the list shows it, and the person's actions on it; null where the site allows none. */
export interface ThreadLine {
  readonly thread: Thread;
  readonly title: string;
  readonly isCurrent: boolean;
  readonly mark: RunMark | null;
  readonly open: () => void;
  readonly rename: ((line: HTMLElement) => void) | null;
  readonly remove: (() => void) | null;
}

/** The line of a thread in the list. The `data-key` of a button finds it again after the list was drawn anew. */
export function threadLine(shown: ThreadLine, { shell }: Texts): HTMLElement {
  const { thread, title, isCurrent, mark } = shown;
  const open = el(
    "button",
    {
      type: "button",
      class: `thread-open${thread.title ? "" : " untitled"}`,
      title,
      "data-key": `open:${thread.id}`,
      "aria-current": isCurrent ? "page" : null,
      on: { click: shown.open },
    },
    title,
    mark === null ? null : el("span", { class: "unseen" }, `, ${mark === "running" ? shell.running : shell.finished}`),
  );
  const sign = mark === null ? null : el("span", { class: `thread-mark ${mark}`, "aria-hidden": "true" });
  const line = el("li", { class: `thread${isCurrent ? " current" : ""}` }, open, sign);
  const tool = (name: string, label: string, act: () => void) =>
    el(
      "button",
      {
        type: "button",
        class: "icon-button small",
        "data-key": `${name}:${thread.id}`,
        "aria-label": fill(label, { title }),
        on: { click: act },
      },
      icon(name),
    );
  const tools = el("span", { class: "thread-tools" });
  const { rename, remove } = shown;
  if (rename !== null) tools.append(tool("write", shell.rename, () => rename(line)));
  if (remove !== null) tools.append(tool("trash", shell.delete, remove));
  line.append(tools);
  return line;
}

/**
 * A form for a new title. `done` gets the title, or null where it is to stay, and whether the person ended it by a key.
 */
export function renameForm(
  title: string | null | undefined,
  { shell }: Texts,
  done: (title: string | null, byKey: boolean) => void,
): HTMLFormElement {
  const field = el("input", {
    class: "field",
    "aria-label": shell.renameField,
    value: title ?? "",
    maxlength: "200",
  });
  let isDone = false;
  const finish = (isKept: boolean, byKey: boolean) => {
    if (isDone) return;
    isDone = true;
    const given = field.value.trim();
    done(isKept && given !== "" && given !== title ? given : null, byKey);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    finish(true, true);
  };
  const key = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    finish(false, true);
  };
  const form = el("form", { class: "rename", on: { submit, keydown: key } }, field);
  field.addEventListener("blur", () => finish(true, false));
  return form;
}
