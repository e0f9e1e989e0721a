import { ENGLISH, type Texts } from "./index.js";
import { hasFailed, LANGUAGES, loadedTexts } from "./translations.js";

const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ur"]);

export interface Locale {
  /** The language tag (BCP 47) for dates and numbers. */
  readonly tag: string;
  readonly texts: Texts;
  /** The language of the texts. */
  readonly language: string;
  /** The language that the locale asks for, whose texts are to be loaded; null where they are there or have failed. */
  readonly missing: string | null;
  readonly direction: "ltr" | "rtl";
}

/**
 * The locale of the site's `locale` option, or else of the browser's first language. English stands in for a language
 * that there is no translation in, or whose texts are not there.
 */
export function localeOf(option: string | undefined, preferred: string = navigator.language): Locale {
  const tag = canonical(option ?? preferred) ?? "en";
  const wanted = candidates(tag).find((name) => Object.hasOwn(LANGUAGES, name)) ?? "en";
  const known = loadedTexts(wanted);
  const language = known === undefined ? "en" : wanted;
  const direction = RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr";
  const missing = known === undefined && !hasFailed(wanted) ? wanted : null;
  return { tag, texts: known ?? ENGLISH, language, direction, missing };
}

function canonical(tag: string): string | null {
  try {
    return Intl.getCanonicalLocales(tag)[0] ?? null;
  } catch {
    return null;
  }
}

/** Languages that are written as another one. */
const WRITTEN_AS = new Map([["no", "nb"]]);

/** The names of a language from the most exact to the language alone: zh-Hant-HK, zh-Hant, zh. */
function candidates(tag: string): string[] {
  const { language, script, region } = new Intl.Locale(tag).maximize();
  const names = [`${language}-${script}-${region}`, `${language}-${script}`, `${language}-${region}`, language];
  return [...names, ...names.flatMap((name) => WRITTEN_AS.get(name) ?? [])];
}
