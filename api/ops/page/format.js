/** Times, durations and sizes as a person reads them. */

import { h } from "./dom.js";

/** Where there is nothing, or nothing is known. */
export const UNKNOWN = "–";

/** @type {[number, number, string, string][]} */
const UNITS = [
  [86_400, 3_600, "d", "h"],
  [3_600, 60, "h", "m"],
  [60, 1, "m", "s"],
];

/**
 * Two units at most: `0.31 s`, `1.3 s`, `12m 5s`, `3h 20m`, `5d 4h`.
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return UNKNOWN;
  const known = Math.max(0, seconds);
  if (known < 0.995) return `${known.toFixed(2)} s`;
  if (known < 59.95) return `${known.toFixed(1)} s`;
  const whole = Math.round(known);
  for (const [unit, below, name, nameBelow] of UNITS) {
    if (whole >= unit) return `${Math.floor(whole / unit)}${name} ${Math.floor((whole % unit) / below)}${nameBelow}`;
  }
  return `${whole} s`;
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return UNKNOWN;
  if (bytes < 1_000) return `${bytes} B`;
  if (bytes < 999_500) return `${(bytes / 1_000).toPrecision(3)} kB`;
  return `${(bytes / 1_000_000).toPrecision(3)} MB`;
}

/** @param {number | null | undefined} number */
export function count(number) {
  return number === null || number === undefined ? UNKNOWN : new Intl.NumberFormat("en").format(number);
}

/**
 * One or several: `1 run`, `2 runs`.
 * @param {number} number @param {string} one @param {string} [many]
 */
export function several(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** @param {number | Date} at */
export function clock(at) {
  return new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" }).format(at);
}

/**
 * A moment: the time of the day, with the date where it is not today's. The browser's zone.
 * @param {string | null | undefined} at
 * @param {number} now
 * @returns {HTMLElement | string}
 */
export function moment(at, now) {
  const date = parsed(at);
  if (!date) return UNKNOWN;
  const isToday = date.toDateString() === new Date(now).toDateString();
  const text = isToday
    ? clock(date)
    : new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" }).format(date);
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

/**
 * How long ago, with the moment behind it.
 * @param {string | null | undefined} at
 * @param {number} now
 * @returns {HTMLElement | string}
 */
export function ago(at, now) {
  const date = parsed(at);
  if (!date) return UNKNOWN;
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, `${age(now - date.getTime())} ago`);
}

/** Without a fraction: it is read at a glance. @param {number} ms */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 60 ? `${seconds} s` : duration(seconds);
}

/** @param {string | null | undefined} at @param {string | null | undefined} since */
export function between(since, at) {
  const [from, to] = [parsed(since), parsed(at)];
  return from && to ? (to.getTime() - from.getTime()) / 1000 : null;
}

/** @param {string | null | undefined} at */
function parsed(at) {
  const date = at ? new Date(at) : null;
  return date && !Number.isNaN(date.getTime()) ? date : null;
}
