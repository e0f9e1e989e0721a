import type {
  Annotation,
  AnswerPart,
  AssistantMessage,
  GeneratedImageItem,
  StreamEvent,
  Task,
  ThreadItem,
  WidgetItem,
  WidgetNode,
  WorkflowItem,
} from "../server/protocol.js";

/** The item after an update, as a new object. An update that does not fit the item is ignored. */
export function updateItem(item: ThreadItem, update: StreamEvent): ThreadItem {
  switch (item.type) {
    case "assistant_message":
      return updateMessage(item, update);
    case "workflow":
      return updateWorkflow(item, update);
    case "widget":
      return updateWidget(item, update);
    case "generated_image":
      if (update.type !== "generated_image.updated") return item;
      return {
        ...item,
        image: (update.image as NonNullable<GeneratedImageItem["image"]> | undefined) ?? null,
        progress: (update.progress as number) ?? null,
      };
    default:
      return item;
  }
}

function updateMessage(item: AssistantMessage, update: StreamEvent): AssistantMessage {
  const index = Number(update.content_index);
  switch (update.type) {
    case "assistant_message.content_part.added":
    case "assistant_message.content_part.done":
      return withPart(item, index, () => update.content as AnswerPart);
    case "assistant_message.content_part.text_delta":
      return withPart(item, index, (part) => ({ ...part, text: part.text + String(update.delta) }));
    case "assistant_message.content_part.annotation_added":
      return withPart(item, index, (part) => {
        const annotations = [...(part.annotations ?? [])];
        annotations.splice(Number(update.annotation_index), 0, update.annotation as Annotation);
        return { ...part, annotations };
      });
    default:
      return item;
  }
}

const EMPTY_PART: AnswerPart = { type: "output_text", text: "", annotations: [] };

function withPart(item: AssistantMessage, index: number, change: (part: AnswerPart) => AnswerPart): AssistantMessage {
  const content = [...(item.content ?? [])];
  while (content.length <= index) content.push(EMPTY_PART);
  content[index] = change(content[index] ?? EMPTY_PART);
  return { ...item, content };
}

function updateWorkflow(item: WorkflowItem, update: StreamEvent): WorkflowItem {
  if (update.type !== "workflow.task.added" && update.type !== "workflow.task.updated") return item;
  const tasks = [...item.workflow.tasks];
  tasks[Math.min(Number(update.task_index), tasks.length)] = update.task as Task;
  return { ...item, workflow: { ...item.workflow, tasks } };
}

function updateWidget(item: WidgetItem, update: StreamEvent): WidgetItem {
  const id = String(update.component_id);
  switch (update.type) {
    case "widget.root.updated":
      return { ...item, widget: update.widget as WidgetNode };
    case "widget.component.updated":
      return { ...item, widget: withComponent(item.widget, id, () => update.component as WidgetNode) };
    case "widget.streaming_text.value_delta": {
      const grown = (component: WidgetNode) => ({
        ...component,
        value: String(component.value ?? "") + String(update.delta),
        streaming: update.done !== true,
      });
      return { ...item, widget: withComponent(item.widget, id, grown) };
    }
    default:
      return item;
  }
}

function withComponent(node: WidgetNode, id: string, change: (node: WidgetNode) => WidgetNode): WidgetNode {
  if (node === null || typeof node !== "object") return node;
  if (node.id === id) return change(node);
  const { children } = node;
  if (Array.isArray(children)) return { ...node, children: children.map((child) => withComponent(child, id, change)) };
  if (children) return { ...node, children: withComponent(children as WidgetNode, id, change) };
  return node;
}
