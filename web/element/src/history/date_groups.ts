import type { Thread } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import { formatsOf } from "./formats.js";

const DAYS_A_WEEK = 7;
const DAYS_A_MONTH = 30;

/** Threads under one date. */
export interface DateGroup {
  /** Null where the threads are not in the order of their dates. */
  readonly name: string | null;
  readonly threads: readonly Thread[];
}

interface Dated {
  readonly name: string;
  /** The place of the name among all: a later date has a lower one. */
  readonly rank: number;
}

/**
 * The threads by date, in the order in which they are given: by day, then by week and month. A list that is not in the
 * order of its dates, which a server may have, is one group without a name.
 */
export function dateGroups(threads: readonly Thread[], now: Date, texts: Texts, locale: string): DateGroup[] {
  const groups: { name: string; rank: number; threads: Thread[] }[] = [];
  for (const thread of threads) {
    const date = dateOf(thread);
    const dated = date === null ? null : groupOf(date, now, texts, locale);
    const last = groups.at(-1);
    if (dated === null || (last !== undefined && dated.rank < last.rank)) return [{ name: null, threads }];
    if (last?.name === dated.name) last.threads.push(thread);
    else groups.push({ ...dated, threads: [thread] });
  }
  return groups;
}

/** The time of a thread's last activity where the server tells it, else of its beginning. */
export function dateOf({ active_at: activeAt, created_at: createdAt }: Thread): Date | null {
  const date = new Date(activeAt ?? createdAt ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}

function groupOf(date: Date, now: Date, { shell }: Texts, locale: string): Dated {
  const days = dayNumber(now) - dayNumber(date);
  if (days < 2) return { name: relativeDay(Math.max(0, days), locale), rank: Math.max(0, days) };
  for (const most of [DAYS_A_WEEK, DAYS_A_MONTH]) {
    if (days <= most) return { name: fill(shell.lastDays, { days: most }), rank: most };
  }
  const name = capital(formatsOf(locale).month.format(date), locale);
  const months = (now.getFullYear() - date.getFullYear()) * 12 + now.getMonth() - date.getMonth();
  return { name, rank: DAYS_A_MONTH + 1 + months };
}

/** The number of the local day. Days have not all the same length. */
function dayNumber(date: Date): number {
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
}

/** "Today" or "Yesterday" in the language. */
function relativeDay(days: number, locale: string): string {
  return capital(formatsOf(locale).day.format(-days, "day"), locale);
}

function capital(text: string, locale: string): string {
  const [first = "", ...rest] = text;
  return first.toLocaleUpperCase(locale) + rest.join("");
}
