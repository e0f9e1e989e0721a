import { renderMarkdown } from "../markdown/view.js";
import type { Shown, Task, TaskItem, Workflow, WorkflowItem } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { drawnPart } from "../ui/undrawn.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { sourceName } from "./annotations.js";
import { entry } from "./entry.js";

const TASK_ICONS: Readonly<Record<string, string>> = {
  web_search: "search",
  thought: "lightbulb",
  file: "document",
  image: "square-image",
};

/** The view of a workflow: a summary that opens its tasks. It stays open or closed as the reader left it. */
export function workflowView(item: WorkflowItem, context: ViewContext): ItemView {
  const summary = el("summary");
  const tasks = el("ol", { class: "tasks" });
  const details = el("details", { class: "workflow" }, summary, tasks);
  const node = entry("assistant", context.texts.items.assistantSteps, details);
  const drawn: { task: Task; line: HTMLElement }[] = [];
  let isReaders = false;
  summary.addEventListener("click", () => {
    isReaders = true;
  });

  const drawTasks = (list: readonly Task[]) => {
    for (const { line } of drawn.splice(list.length)) line.remove();
    list.forEach((task, index) => {
      const known = drawn[index];
      if (known?.task === task) return;
      const line = el(
        "li",
        {},
        drawnPart("task", context, () => taskView(task, context)),
      );
      if (known) known.line.replaceWith(line);
      else tasks.append(line);
      drawn[index] = { task, line };
    });
  };
  const update = (shown: Shown, open: boolean) => {
    if (shown.type !== "workflow") return;
    const { workflow } = shown;
    const name = workflow.summary?.icon ?? (workflow.type === "reasoning" ? "lightbulb" : "agent");
    summary.replaceChildren(icon(name), titleOf(workflow, open, context.texts));
    drawTasks(workflow.tasks);
    details.classList.toggle("open", open);
    if (!isReaders) details.open = open || Boolean(workflow.expanded);
  };
  update(item, context.open);
  return { node, update };
}

/** The view of a task outside of a workflow. */
export function taskItemView(item: TaskItem, context: ViewContext): ItemView {
  return { node: entry("assistant", context.texts.items.assistantTask, taskView(item.task, context)) };
}

function titleOf({ type, summary, tasks }: Workflow, isOpen: boolean, { items }: Texts): string {
  if (summary?.title) return summary.title;
  if (typeof summary?.duration === "number") return fill(items.thoughtFor, { seconds: summary.duration });
  if (type === "reasoning") return isOpen ? items.thinking : items.thought;
  return tasks.findLast((task) => task.title)?.title ?? items.working;
}

function taskView(task: Task, context: ViewContext): HTMLElement {
  const { items } = context.texts;
  const status = task.status_indicator ?? "none";
  const words = { loading: items.inProgress, complete: items.taskDone, none: null }[status];
  const queries = task.queries ?? [];
  const sources = task.sources ?? [];
  return el(
    "div",
    { class: `task ${status}` },
    icon(status === "complete" ? "check" : (task.icon ?? TASK_ICONS[task.type])),
    el(
      "div",
      {},
      el("span", { class: "task-title" }, task.title_query || task.title || untitled(task, context.texts)),
      words ? el("span", { class: "unseen" }, ` (${words})`) : null,
      task.content ? renderMarkdown(task.content, context) : null,
      queries.length > 0 &&
        el(
          "ul",
          { class: "queries" },
          queries.map((query) => el("li", { class: "tag" }, query)),
        ),
      sources.length > 0 &&
        el(
          "ul",
          { class: "task-sources" },
          sources.map((source) => el("li", {}, sourceName(source, context))),
        ),
    ),
  );
}

function untitled({ type }: Task, { items }: Texts): string {
  const titles: Readonly<Record<string, string>> = {
    web_search: items.searching,
    thought: items.thinking,
    file: items.readingFiles,
    image: items.makingImage,
  };
  return titles[type] ?? items.step;
}
