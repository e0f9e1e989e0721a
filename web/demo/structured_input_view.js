import { el } from "./dom.js";
import { icon } from "./icons.js";

let nextId = 0;

/** Questions of the assistant's: a form while they wait, the answers afterwards. */
export function structuredInputView(item, { commands }) {
  const body = item.status === "pending" ? form(item, commands) : answers(item);
  return { node: el("article", { class: "entry assistant", "aria-label": "Assistant, questions" }, body) };
}

function answers({ inputs, status }) {
  const lines = inputs.flatMap(({ question, answer }) => {
    const values = answer?.values?.length ? answer.values.join(", ") : "Skipped";
    return [el("dt", {}, question), el("dd", {}, values)];
  });
  return el("div", { class: "w-card questions" }, el("p", { class: "muted" }, icon("check"), status === "skipped" ? "Skipped" : "Answered"), el("dl", {}, lines));
}

function form(item, commands) {
  const fields = item.inputs.map((input) => (input.type === "multiple_choice" ? choiceField(input) : freeField(input)));
  const send = async (status) => {
    const given = fields.map(({ id, values }) => [id, values()]);
    const answersById = Object.fromEntries(given.map(([id, values]) => [id, { values, skipped: values.length === 0 }]));
    set.disabled = true;
    const accepted = await commands.submitAnswers(item, { status, answers: status === "skipped" ? {} : answersById });
    if (!accepted) set.disabled = false;
  };
  const submit = (event) => {
    event.preventDefault();
    send("answered");
  };
  const skip = el("button", { type: "button", class: "button quiet", on: { click: () => send("skipped") } }, "Skip");
  const set = el(
    "fieldset",
    { class: "bare" },
    fields.map(({ element }) => element),
    el("div", { class: "w-card-footer" }, skip, el("button", { type: "submit", class: "button primary" }, "Answer")),
  );
  return el("form", { class: "w-card questions", on: { submit } }, set);
}

function choiceField({ id, question, options, multiple }) {
  const name = `question-${(nextId += 1)}`;
  const boxes = options.map(({ value }) => el("input", { type: multiple ? "checkbox" : "radio", name, value }));
  const own = el("input", { class: "field", placeholder: "Another answer", "aria-label": `Another answer to: ${question}` });
  if (!multiple) own.addEventListener("input", () => boxes.forEach((box) => { box.checked = false; }));
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
  return { id, element, values };
}

function freeField({ id, question, description }) {
  const name = `question-${(nextId += 1)}`;
  const area = el("textarea", { class: "field", id: name, rows: "2", "aria-describedby": description ? `${name}-note` : null });
  const element = el(
    "div",
    { class: "question" },
    el("label", { for: name }, question),
    description && el("p", { class: "muted", id: `${name}-note` }, description),
    area,
  );
  return { id, element, values: () => (area.value.trim() ? [area.value.trim()] : []) };
}
