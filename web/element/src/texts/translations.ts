import { ENGLISH, type Texts } from "./index.js";

type Load = () => Promise<Texts>;

/**
 * The languages besides English, by language, or by `language-Script` where a language has several scripts. The build
 * gives each a file of its own, which is loaded when a person needs it.
 */
export const LANGUAGES: Readonly<Record<string, Load>> = {
  ar: async () => (await import("./ar.js")).AR,
  bg: async () => (await import("./bg.js")).BG,
  bn: async () => (await import("./bn.js")).BN,
  ca: async () => (await import("./ca.js")).CA,
  cs: async () => (await import("./cs.js")).CS,
  da: async () => (await import("./da.js")).DA,
  de: async () => (await import("./de.js")).DE,
  el: async () => (await import("./el.js")).EL,
  es: async () => (await import("./es.js")).ES,
  fa: async () => (await import("./fa.js")).FA,
  fi: async () => (await import("./fi.js")).FI,
  fr: async () => (await import("./fr.js")).FR,
  he: async () => (await import("./he.js")).HE,
  hi: async () => (await import("./hi.js")).HI,
  hr: async () => (await import("./hr.js")).HR,
  hu: async () => (await import("./hu.js")).HU,
  id: async () => (await import("./id.js")).ID,
  it: async () => (await import("./it.js")).IT,
  ja: async () => (await import("./ja.js")).JA,
  ko: async () => (await import("./ko.js")).KO,
  ms: async () => (await import("./ms.js")).MS,
  nb: async () => (await import("./nb.js")).NB,
  nl: async () => (await import("./nl.js")).NL,
  pl: async () => (await import("./pl.js")).PL,
  pt: async () => (await import("./pt.js")).PT,
  ro: async () => (await import("./ro.js")).RO,
  ru: async () => (await import("./ru.js")).RU,
  sk: async () => (await import("./sk.js")).SK,
  sv: async () => (await import("./sv.js")).SV,
  ta: async () => (await import("./ta.js")).TA,
  th: async () => (await import("./th.js")).TH,
  tr: async () => (await import("./tr.js")).TR,
  uk: async () => (await import("./uk.js")).UK,
  ur: async () => (await import("./ur.js")).UR,
  vi: async () => (await import("./vi.js")).VI,
  "zh-Hans": async () => (await import("./zh_hans.js")).ZH_HANS,
  "zh-Hant": async () => (await import("./zh_hant.js")).ZH_HANT,
};

const loaded = new Map<string, Texts>([["en", ENGLISH]]);
const failed = new Set<string>();

/** The texts that are there without loading; undefined for a language that is not loaded. */
export function loadedTexts(language: string): Texts | undefined {
  return loaded.get(language);
}

/** Whether the file of the language could not be loaded. It is not asked for again until the page is loaded again. */
export function hasFailed(language: string): boolean {
  return failed.has(language);
}

/** Loads the texts of a language. Throws TypeError where its file cannot be loaded. */
export async function loadTexts(language: string): Promise<void> {
  try {
    const texts = await LANGUAGES[language]?.();
    if (texts !== undefined) loaded.set(language, texts);
  } catch (error) {
    failed.add(language);
    throw error;
  }
}
