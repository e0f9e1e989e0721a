import { AR } from "./ar.js";
import { DE } from "./de.js";
import { ES } from "./es.js";
import { FR } from "./fr.js";
import { ENGLISH, type Texts } from "./index.js";
import { IT } from "./it.js";
import { JA } from "./ja.js";
import { KO } from "./ko.js";
import { NL } from "./nl.js";
import { PL } from "./pl.js";
import { PT } from "./pt.js";
import { RU } from "./ru.js";
import { SV } from "./sv.js";
import { TR } from "./tr.js";
import { UK } from "./uk.js";
import { ZH_HANS } from "./zh_hans.js";
import { ZH_HANT } from "./zh_hant.js";

/** The texts by language, or by `language-Script` where a language has several scripts. */
export const TRANSLATIONS: Readonly<Record<string, Texts>> = {
  en: ENGLISH,
  ar: AR,
  de: DE,
  es: ES,
  fr: FR,
  it: IT,
  ja: JA,
  ko: KO,
  nl: NL,
  pl: PL,
  pt: PT,
  ru: RU,
  sv: SV,
  tr: TR,
  uk: UK,
  "zh-Hans": ZH_HANS,
  "zh-Hant": ZH_HANT,
};
