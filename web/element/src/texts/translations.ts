import { ENGLISH, type Texts } from "./index.js";

type Load = () => Promise<Texts>;

/**
 * The languages besides English, by language, or by `language-Script` where a language has several scripts. The build
 * gives each a file of its own, which is loaded when a person needs it.
 */
export const LANGUAGES: Readonly<Record<string, Load>> = {
  ar: async () => (await import("./ar.js")).AR,
  de: async () => (await import("./de.js")).DE,
  es: async () => (await import("./es.js")).ES,
  fr: async () => (await import("./fr.js")).FR,
  it: async () => (await import("./it.js")).IT,
  ja: async () => (await import("./ja.js")).JA,
  ko: async () => (await import("./ko.js")).KO,
  nl: async () => (await import("./nl.js")).NL,
  pl: async () => (await import("./pl.js")).PL,
  pt: async () => (await import("./pt.js")).PT,
  ru: async () => (await import("./ru.js")).RU,
  sv: async () => (await import("./sv.js")).SV,
  tr: async () => (await import("./tr.js")).TR,
  uk: async () => (await import("./uk.js")).UK,
  "zh-Hans": async () => (await import("./zh_hans.js")).ZH_HANS,
  "zh-Hant": async () => (await import("./zh_hant.js")).ZH_HANT,
};

const loaded = new Map<string, Texts>([["en", ENGLISH]]);

/** The texts that are there without loading; undefined for a language that is not loaded. */
export function loadedTexts(language: string): Texts | undefined {
  return loaded.get(language);
}

/** Loads the texts of a language. Throws TypeError where its file cannot be loaded. */
export async function loadTexts(language: string): Promise<void> {
  const texts = await LANGUAGES[language]?.();
  if (texts !== undefined) loaded.set(language, texts);
}
