import type { StructuredInput, StructuredInputItem } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import { el, freshId } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { entry } from "./entry.js";

interface Question {
  readonly id: string;
  readonly element: HTMLElement;
  values(): string[];
}

/** The assistant's questions, as a form while they wait and with the answers afterwards. */
export function structuredInputView(item: StructuredInputItem, context: ViewContext): ItemView {
  const body = item.status === "pending" ? form(item, context) : answers(item, context.texts);
  return { node: entry("assistant", context.texts.items.assistantQuestions, body) };
}

function answers({ inputs, status }: StructuredInputItem, { items }: Texts): HTMLElement {
  const lines = inputs.flatMap(({ question, answer }) => {
    const values = answer?.values?.length ? answer.values.join(", ") : items.skipped;
    return [el("dt", {}, question), el("dd", {}, values)];
  });
  const state = status === "skipped" ? items.skipped : items.answered;
  return el(
    "div",
    { class: "w-card questions" },
    el("p", { class: "muted" }, icon("check"), state),
    el("dl", {}, lines),
  );
}

function form(item: StructuredInputItem, { texts, actions, announcer }: ViewContext): HTMLElement {
  const questions = item.inputs.map((input) => (input.type === "multiple_choice" ? choice(input, texts) : free(input)));
  const send = async (status: "answered" | "skipped") => {
    const given = questions.map(({ id, values }) => [id, values()] as const);
    if (status === "answered" && given.every(([, values]) => values.length === 0)) {
      announcer.toast(texts.items.chooseAnswer);
      set.querySelector<HTMLElement>("input, textarea")?.focus();
      return;
    }
    const byId = Object.fromEntries(given.map(([id, values]) => [id, { values, skipped: values.length === 0 }]));
    set.disabled = true;
    const accepted = await actions.submitAnswers(item, status, status === "skipped" ? {} : byId);
    if (!accepted) set.disabled = false;
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    void send("answered");
  };
  const { skip, answer } = texts.items;
  const set = el(
    "fieldset",
    { class: "bare" },
    questions.map(({ element }) => element),
    el(
      "div",
      { class: "w-card-footer" },
      el("button", { type: "button", class: "button quiet", on: { click: () => void send("skipped") } }, skip),
      el("button", { type: "submit", class: "button primary" }, answer),
    ),
  );
  return el("form", { class: "w-card questions", on: { submit } }, set);
}

function choice({ id, question, options, multiple }: StructuredInput, { items }: Texts): Question {
  const name = freshId("question");
  const type = multiple ? "checkbox" : "radio";
  const boxes = (options ?? []).map(({ value }) => el("input", { type, name, value }));
  const label = fill(items.anotherAnswerTo, { question });
  const own = el("input", { class: "field", placeholder: items.anotherAnswer, "aria-label": label });
  if (!multiple) own.addEventListener("input", () => uncheck(boxes));
  const element = el(
    "fieldset",
    { class: "question" },
    el("legend", {}, question),
    boxes.map((box) => el("label", { class: "w-check" }, box, box.value)),
    own,
  );
  const values = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return own.value.trim() ? [...chosen, own.value.trim()] : chosen;
  };
  if (!multiple) for (const box of boxes) box.addEventListener("change", () => clear(own));
  return { id, element, values };
}

function uncheck(boxes: readonly HTMLInputElement[]): void {
  for (const box of boxes) box.checked = false;
}

function clear(field: HTMLInputElement): void {
  field.value = "";
}

function free({ id, question, description }: StructuredInput): Question {
  const name = freshId("question");
  const note = description ? `${name}-note` : null;
  const area = el("textarea", { class: "field", id: name, rows: "2", "aria-describedby": note });
  const element = el(
    "div",
    { class: "question" },
    el("label", { for: name }, question),
    note && el("p", { class: "muted", id: note }, description),
    area,
  );
  return { id, element, values: () => (area.value.trim() ? [area.value.trim()] : []) };
}
