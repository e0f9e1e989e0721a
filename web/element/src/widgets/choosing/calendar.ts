/** Days of the Gregorian calendar as ISO text, `2026-03-01`, so that no time zone moves them. */

const DAY_MS = 86_400_000;

export function isDay(value: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(value) && dayOf(Date.parse(`${value}T00:00:00Z`)) === value;
}

function dayOf(ms: number): string | null {
  return Number.isNaN(ms) ? null : new Date(ms).toISOString().slice(0, 10);
}

export function dateOf(day: string): Date {
  return new Date(`${day}T00:00:00Z`);
}

/** The day of a person's clock. */
export function today(now = new Date()): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${String(now.getFullYear()).padStart(4, "0")}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
}

export function addDays(day: string, count: number): string {
  return dayOf(dateOf(day).getTime() + count * DAY_MS) ?? day;
}

/** The same day of another month, or that month's last day. */
export function addMonths(day: string, count: number): string {
  const date = dateOf(day);
  const target = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + count + 1, 0));
  const last = target.getUTCDate();
  target.setUTCDate(Math.min(date.getUTCDate(), last));
  return dayOf(target.getTime()) ?? day;
}

/** The day, or the nearest one that is allowed. */
export function within(day: string, min: string | null, max: string | null): string {
  if (max !== null && day > max) return max;
  return min !== null && day < min ? min : day;
}

/** The first day of the week in a locale: 1 is Monday, 7 is Sunday. */
export function firstWeekday(tag: string): number {
  const locale = new Intl.Locale(tag) as Intl.Locale & {
    getWeekInfo?: () => { firstDay: number };
    weekInfo?: { firstDay: number };
  };
  return (locale.getWeekInfo?.() ?? locale.weekInfo)?.firstDay ?? 1;
}

/** The first day of a week that contains the day. */
export function weekStart(day: string, firstDay: number): string {
  const weekday = dateOf(day).getUTCDay() || 7;
  return addDays(day, -((weekday - firstDay + 7) % 7));
}

/** The weeks of the day's month, each of seven days; the first and the last also have days of the months beside. */
export function weeksOf(day: string, firstDay: number): string[][] {
  const month = day.slice(0, 7);
  const weeks: string[][] = [];
  for (let start = weekStart(`${month}-01`, firstDay); ; start = addDays(start, 7)) {
    if (weeks.length > 0 && start.slice(0, 7) !== month) return weeks;
    weeks.push(Array.from({ length: 7 }, (_, index) => addDays(start, index)));
  }
}
