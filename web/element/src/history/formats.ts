/** The formats of the dates in the list of threads. */
export interface Formats {
  readonly day: Intl.RelativeTimeFormat;
  readonly month: Intl.DateTimeFormat;
  readonly time: Intl.DateTimeFormat;
}

const known = new Map<string, Formats>();

/** The formats of a locale. They are kept, because one takes much longer to make than to use. */
export function formatsOf(locale: string): Formats {
  let formats = known.get(locale);
  if (formats === undefined) {
    formats = {
      day: new Intl.RelativeTimeFormat(locale, { numeric: "auto" }),
      month: new Intl.DateTimeFormat(locale, { month: "long", year: "numeric" }),
      time: new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }),
    };
    known.set(locale, formats);
  }
  return formats;
}
