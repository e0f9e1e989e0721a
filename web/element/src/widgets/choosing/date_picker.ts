import { el, freshId } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { type Align, keepPlace, placeBeside, type Side } from "../../ui/popup.js";
import type { DrawContext } from "../context.js";
import { type Fields, words, wordsOrNull } from "../fields.js";
import { addDays, addMonths, dateOf, firstWeekday, isDay, today, weekStart, weeksOf, within } from "./calendar.js";
import { standIn } from "./stand_in.js";

/**
 * A button with the chosen date in the site's locale, and a calendar (the pattern "Date Picker Dialog" of the ARIA
 * Authoring Practices Guide). The value is in a native input, which the form and the redrawing know.
 */
export class DatePicker {
  readonly node: HTMLElement;
  readonly control: HTMLInputElement;
  readonly #button: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;
  readonly #grid = el("table", { role: "grid" });
  readonly #month = el("strong", { id: freshId("month"), "aria-live": "polite" });
  readonly #dialog: HTMLElement;
  readonly #min: string | null;
  readonly #max: string | null;
  readonly #firstDay: number;
  #focused = today();
  #stopPlacing = () => {};

  constructor(
    private readonly fields: Fields,
    private readonly context: DrawContext,
    look: string,
  ) {
    const { texts } = context;
    const day = (value: unknown) => (isDay(words(value).slice(0, 10)) ? words(value).slice(0, 10) : null);
    this.#min = day(fields.min);
    this.#max = day(fields.max);
    this.#firstDay = firstWeekday(context.host.locale);
    this.control = el("input", { type: "date", class: "unseen", tabindex: -1, "aria-hidden": "true" });
    this.control.defaultValue = day(fields.defaultValue) ?? "";
    const name = wordsOrNull(fields.placeholder) ?? texts.chooseDate;
    this.#button = el("button", { type: "button", class: `${look} w-date-button`, "aria-haspopup": "dialog" });
    this.#clear = el("button", { type: "button", class: "icon-button small", "aria-label": texts.clear });
    this.#clear.append(icon("close"));
    const step = (sign: string, label: string, months: number) => {
      const on = { click: () => this.#show(addMonths(this.#focused, months)) };
      return el("button", { type: "button", class: "icon-button small", "aria-label": label, on }, icon(sign));
    };
    const head = el(
      "div",
      { class: "w-calendar-head" },
      step("chevron-left", texts.previousMonth, -1),
      this.#month,
      step("chevron-right", texts.nextMonth, 1),
    );
    this.#grid.setAttribute("aria-labelledby", this.#month.id);
    this.#dialog = el(
      "div",
      { id: freshId("calendar"), class: "w-popover w-calendar", role: "dialog", popover: "auto", "aria-label": name },
      head,
      this.#grid,
    );
    this.#button.setAttribute("aria-controls", this.#dialog.id);
    this.node = standIn(this.control, this.#button, this.#clear, this.#dialog);
    this.#listen();
    this.#showValue();
  }

  #listen(): void {
    // A press of the popover's own button leaves the popover open, so that the click finds it so.
    this.#button.popoverTargetElement = this.#dialog;
    this.#button.addEventListener("click", (event) => {
      event.preventDefault();
      this.#toggle();
    });
    this.#clear.addEventListener("click", () => {
      this.#choose("");
      this.#button.focus();
    });
    this.control.addEventListener("restored", () => this.#showValue());
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("toggle", (event) => {
      const isOpen = (event as ToggleEvent).newState === "open";
      this.#button.setAttribute("aria-expanded", String(isOpen));
      if (!isOpen) this.#stopPlacing();
    });
  }

  #toggle(): void {
    if (this.#dialog.matches(":popover-open")) {
      this.#dialog.hidePopover();
      return;
    }
    this.#dialog.showPopover();
    this.#show(this.control.value || today());
    const { side, align } = this.fields;
    const place = () =>
      placeBeside(this.#dialog, this.#button, (side as Side) ?? "bottom", (align as Align) ?? "start");
    this.#stopPlacing = keepPlace(this.#button, place);
    this.#focusDay();
  }

  /** Shows the month of the day, which is the one that Tab comes to. */
  #show(day: string): void {
    this.#focused = within(day, this.#min, this.#max);
    this.#month.textContent = this.#format(this.#focused, { year: "numeric", month: "long" });
    const weeks = weeksOf(this.#focused, this.#firstDay);
    const heads = (weeks[0] ?? []).map((each) =>
      el(
        "th",
        { scope: "col" },
        el("span", { class: "unseen" }, this.#format(each, { weekday: "long" })),
        el("span", { "aria-hidden": "true" }, this.#format(each, { weekday: "narrow" })),
      ),
    );
    const rows = weeks.map((week) =>
      el(
        "tr",
        {},
        week.map((each) => el("td", {}, this.#day(each))),
      ),
    );
    this.#grid.replaceChildren(el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows));
  }

  #day(day: string): HTMLElement {
    const isOther = day.slice(0, 7) !== this.#focused.slice(0, 7);
    const isOut = within(day, this.#min, this.#max) !== day;
    const attributes = {
      type: "button",
      class: isOther ? "w-day other" : "w-day",
      "data-day": day,
      tabindex: day === this.#focused ? 0 : -1,
      "aria-label": this.#format(day, { dateStyle: "full" }),
      "aria-pressed": String(day === this.control.value),
      "aria-current": day === today() ? "date" : null,
      "aria-disabled": isOut ? "true" : null,
    };
    const pick = () => {
      if (isOut) return;
      this.#choose(day);
      this.#dialog.hidePopover();
      this.#button.focus();
    };
    return el("button", { ...attributes, on: { click: pick } }, this.#format(day, { day: "numeric" }));
  }

  #focusDay(): void {
    this.#grid.querySelector<HTMLElement>(`[data-day="${this.#focused}"]`)?.focus();
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Escape") {
      this.#dialog.hidePopover();
      this.#button.focus();
    } else {
      const isOnDay = event.target instanceof HTMLElement && event.target.dataset.day !== undefined;
      const to = isOnDay ? this.#dayAfter(event) : null;
      if (to === null) return;
      this.#show(to);
      this.#focusDay();
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #dayAfter({ key, shiftKey }: KeyboardEvent): string | null {
    const day = this.#focused;
    const forward = getComputedStyle(this.#grid).direction === "rtl" ? -1 : 1;
    const start = weekStart(day, this.#firstDay);
    const moves: Readonly<Record<string, () => string>> = {
      ArrowLeft: () => addDays(day, -forward),
      ArrowRight: () => addDays(day, forward),
      ArrowUp: () => addDays(day, -7),
      ArrowDown: () => addDays(day, 7),
      Home: () => start,
      End: () => addDays(start, 6),
      PageUp: () => addMonths(day, shiftKey ? -12 : -1),
      PageDown: () => addMonths(day, shiftKey ? 12 : 1),
    };
    return moves[key]?.() ?? null;
  }

  #choose(day: string): void {
    if (day === this.control.value) return;
    this.control.value = day;
    this.#showValue();
    this.control.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #showValue(): void {
    const { value } = this.control;
    const none = wordsOrNull(this.fields.placeholder) ?? this.context.texts.chooseDate;
    const shown = value === "" ? none : this.#format(value, { dateStyle: "medium" });
    this.#button.replaceChildren(el("span", { class: value === "" ? "muted" : null }, shown), icon("calendar"));
    this.#button.disabled = Boolean(this.fields.disabled);
    this.#clear.hidden = value === "" || !this.fields.clearable || this.#button.disabled;
  }

  /** In the site's locale. The calendar is Gregorian in each, because the value is. */
  #format(day: string, options: Intl.DateTimeFormatOptions): string {
    const { locale } = this.context.host;
    return new Intl.DateTimeFormat(locale, { ...options, calendar: "gregory", timeZone: "UTC" }).format(dateOf(day));
  }
}
