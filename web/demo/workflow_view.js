import { el, externalLink } from "./dom.js";
import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";

const STATUS_WORDS = { loading: "in progress", complete: "done", none: null };

/** A workflow: its summary, and its tasks behind it. It stays as the reader opened or closed it. */
export function workflowView(item, { open }) {
  const summary = el("summary");
  const tasks = el("ol", { class: "tasks" });
  const details = el("details", { class: "workflow" }, summary, tasks);
  const node = el("article", { class: "entry assistant", "aria-label": "Assistant, steps" }, details);
  let wasOpen = null;
  const update = ({ workflow }, isOpen) => {
    summary.replaceChildren(icon(workflow.summary?.icon ?? (workflow.type === "reasoning" ? "lightbulb" : "agent")), title(workflow, isOpen));
    tasks.replaceChildren(...workflow.tasks.map((task) => el("li", {}, taskView(task))));
    details.classList.toggle("open", isOpen);
    if (wasOpen !== isOpen) details.open = isOpen || Boolean(workflow.expanded);
    wasOpen = isOpen;
  };
  update(item, open);
  return { node, update };
}

function title({ type, summary, tasks }, isOpen) {
  if (summary?.title) return summary.title;
  if (summary?.duration !== undefined) return `Thought for ${summary.duration} s`;
  if (type === "reasoning") return isOpen ? "Thinking" : "Thoughts";
  return tasks.findLast((task) => task.title)?.title ?? "Working";
}

/** One task, of a workflow or on its own. */
export function taskView(task) {
  const status = task.status_indicator ?? "none";
  const mark = status === "complete" ? icon("check") : icon(task.icon ?? TASK_ICONS[task.type] ?? "dot");
  const words = STATUS_WORDS[status];
  return el(
    "div",
    { class: `task ${status}` },
    mark,
    el(
      "div",
      {},
      el("span", { class: "task-title" }, task.title_query ?? task.title ?? TASK_TITLES[task.type] ?? "Step"),
      words && el("span", { class: "unseen" }, ` (${words})`),
      task.content && renderMarkdown(task.content),
      task.queries?.length > 0 && el("ul", { class: "queries" }, task.queries.map((query) => el("li", { class: "tag" }, query))),
      task.sources?.length > 0 && el("ul", { class: "task-sources" }, task.sources.map((source) => el("li", {}, sourceName(source)))),
    ),
  );
}

const TASK_ICONS = { web_search: "search", thought: "lightbulb", file: "document", image: "square-image" };
const TASK_TITLES = { web_search: "Searching", thought: "Thinking", file: "Reading files", image: "Making an image" };

function sourceName(source) {
  return source.type === "url" ? externalLink(source.url, source.title || source.url) : source.title || source.filename;
}
