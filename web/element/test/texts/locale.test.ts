import { describe, expect, it, vi } from "vitest";
import { ENGLISH, fill, type Texts } from "../../src/texts/index.js";
import { localeOf } from "../../src/texts/locale.js";
import { LANGUAGES, loadTexts } from "../../src/texts/translations.js";

const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

describe("localeOf", () => {
  it("is English where there is no translation, and keeps the place for dates", () => {
    expect(localeOf("kk", "en")).toMatchObject({ language: "en", tag: "kk", texts: ENGLISH });
    expect(localeOf("en-GB", "en")).toMatchObject({ language: "en", tag: "en-GB" });
    expect(localeOf("no such language!", "en")).toMatchObject({ language: "en", tag: "en" });
    expect(localeOf(undefined, "en-AU").tag).toBe("en-AU");
  });

  it("is English until the language is loaded", async () => {
    expect(localeOf("sv", "en")).toMatchObject({ language: "en", missing: "sv", direction: "ltr", texts: ENGLISH });
    await loadTexts("sv");
    expect(localeOf("sv-FI", "en")).toMatchObject({ language: "sv", missing: null, tag: "sv-FI" });
  });

  it("is English where the language could not be loaded, which is not tried again", async () => {
    const load = vi.spyOn(LANGUAGES as Record<string, () => Promise<Texts>>, "ta");
    load.mockRejectedValueOnce(new TypeError("no network"));
    expect(localeOf("ta", "en").missing).toBe("ta");
    await expect(loadTexts("ta")).rejects.toThrow("no network");
    expect(localeOf("ta", "en")).toMatchObject({ language: "en", missing: null, tag: "ta", texts: ENGLISH });
    load.mockRestore();
  });

  it("finds the nearest translation", async () => {
    await Promise.all(Object.keys(LANGUAGES).map(loadTexts));
    expect(localeOf("de-AT", "en").language).toBe("de");
    expect(localeOf("zh-HK", "en").language).toBe("zh-Hant");
    expect(localeOf("zh", "en").language).toBe("zh-Hans");
    expect(localeOf("no", "en").language).toBe("nb");
    expect(localeOf("es-419", "en").language).toBe("es");
    for (const tag of ["fa-IR", "he-IL", "ur"]) expect(localeOf(tag, "en").direction, tag).toBe("rtl");
    expect(localeOf("ar-EG", "en")).toMatchObject({ language: "ar", direction: "rtl" });
  });
});

describe.each(Object.entries(LANGUAGES))("the texts in %s", (_language, load) => {
  it.each(Object.keys(ENGLISH) as (keyof Texts)[])(
    "say everything of %s, with the same things filled in",
    async (part) => {
      const texts = await load();
      expect(Object.keys(texts[part])).toEqual(Object.keys(ENGLISH[part]));
      for (const [key, text] of Object.entries<string>(texts[part])) {
        expect(text.trim(), key).not.toBe("");
        expect(names(text), key).toEqual(names((ENGLISH[part] as Record<string, string>)[key] ?? ""));
      }
    },
  );
});

describe("fill", () => {
  it("fills in what it is given and leaves the rest", () => {
    expect(fill("{a} and {b}", { a: 1 })).toBe("1 and {b}");
    expect(fill("{toString}", {})).toBe("{toString}");
  });
});
