import { distinctSources, marksOf } from "../markdown/citations.js";
import { MarkdownView } from "../markdown/view.js";
import { type AssistantMessage, type Shown, type Source, textOf } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { drawnPart } from "../ui/undrawn.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { citation, SourceList } from "./annotations.js";
import { AnswerTools } from "./answer_tools.js";
import { entry } from "./entry.js";

/** The view of an answer, while it grows and when it is complete. */
export function answerView(item: AssistantMessage, context: ViewContext): ItemView {
  const body = el("div", { class: "answer" });
  const list = new SourceList(context);
  const end = el("div", { class: "answer-end" }, list.node);
  const node = entry("assistant", context.texts.items.assistant, body, end);
  const parts: MarkdownView[] = [];
  let current = item;
  let sources: Source[] = [];
  let tools: AnswerTools | null = null;

  const drawMark = (number: number): Node => {
    const source = sources[number - 1];
    if (!source) return document.createTextNode("");
    return drawnPart("annotation", context, () => citation(source, number, context, () => list.goTo(source)));
  };
  const partAt = (index: number): MarkdownView => {
    const known = parts[index];
    if (known) return known;
    const element = el("div", { class: "markdown" });
    body.append(element);
    const made = new MarkdownView(element, context, drawMark);
    parts[index] = made;
    return made;
  };
  const update = (shown: Shown, open: boolean) => {
    if (shown.type !== "assistant_message") return;
    current = shown;
    sources = distinctSources(shown.content);
    shown.content.forEach((part, index) => {
      partAt(index).update(part?.text, marksOf(part, sources));
    });
    for (const part of parts.splice(shown.content.length)) part.element.remove();
    list.update(sources);
    node.classList.toggle("open", open);
    node.setAttribute("aria-busy", String(open));
    const isEmpty = textOf(shown.content, "") === "" && sources.length === 0;
    node.hidden = !open && isEmpty;
    if (!open && !tools) {
      tools = new AnswerTools(() => current, context);
      end.append(tools.node);
    }
    tools?.update(open);
  };
  update(item, context.open);
  return { node, update };
}
