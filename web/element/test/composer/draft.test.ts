import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  complete,
  contentOf,
  mentionOf,
  mentionsIn,
  tagOf,
  withoutMention,
  written,
} from "../../src/composer/draft.js";
import type { TagPart, UserContent } from "../../src/server/protocol.js";

const tag = (id: string, text: string): TagPart => ({ type: "input_tag", id, text, data: {} });
const text = (words: string): UserContent => ({ type: "input_text", text: words });
const ADA = tag("1", "Ada");
const LOVELACE = tag("2", "Ada Lovelace");

function known(...tags: readonly TagPart[]) {
  return written(tags).mentions;
}

describe("a message's content", () => {
  it("is the text alone where nothing is mentioned, without the space around it", () => {
    expect(contentOf("  Hello @Ada \n", [])).toEqual([text("Hello @Ada")]);
    expect(contentOf(" \n", known(ADA))).toEqual([]);
  });

  it("has a tag wherever its mark stands, and the text around it as it is", () => {
    expect(contentOf("@Ada, meet  @Ada\n(now)", known(ADA))).toEqual([ADA, text(", meet  "), ADA, text("\n(now)")]);
  });

  it("takes the longest of marks that overlap, whichever was chosen first", () => {
    for (const tags of [
      [ADA, LOVELACE],
      [LOVELACE, ADA],
    ]) {
      expect(contentOf("@Ada Lovelace and @Ada", known(...tags))).toEqual([LOVELACE, text(" and "), ADA]);
    }
  });

  it("takes signs in a title for nothing but themselves", () => {
    const odd = tag("3", "C++ [x] (a|b)*? ^$\\ /");
    expect(contentOf("see @C++ [x] (a|b)*? ^$\\ / there", known(odd))).toEqual([text("see "), odd, text(" there")]);
  });

  it("comes back from the text that it was written as", () => {
    const words = fc.string({ unit: "grapheme" }).map((some) => `, ${some.replaceAll("@", "")};`);
    const titles = fc.string({ unit: "grapheme", minLength: 1 }).map((some) => some.trim().replaceAll("@", "x") || "x");
    const parts = fc.array(fc.tuple(fc.nat({ max: 5 }), titles, words), { maxLength: 8 });
    fc.assert(
      fc.property(parts, (some) => {
        const content = some.flatMap(([id, title, behind]) => [tag(`${id}${title}`, title), text(behind)]);
        const { text: inBox, mentions } = written(content);
        expect(contentOf(inBox, mentions)).toEqual(content);
      }),
    );
  });

  it("loses nothing of any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."@Ada Lo(2)") }), (some) => {
        const mentions = known(ADA, LOVELACE, tag("9", "Ada"));
        const marks = new Map(mentions.map((mention) => [mention.tag, mention.mark]));
        const parts = contentOf(some, mentions);
        expect(parts.map((part) => (part.type === "input_tag" ? marks.get(part) : part.text)).join("")).toBe(
          some.trim(),
        );
      }),
    );
  });
});

describe("a mention", () => {
  it("of another thing with the same title has a mark of its own", () => {
    const mentions = known(ADA, tag("9", "Ada"), tag("10", "Ada"));
    expect(mentions.map(({ mark }) => mark)).toEqual(["@Ada", "@Ada (2)", "@Ada (3)"]);
    expect(contentOf("@Ada (2) @Ada", mentions)).toEqual([tag("9", "Ada"), text(" "), ADA]);
  });

  it("of the same thing is the same", () => {
    const mentions = known(ADA);
    expect(mentionOf(tag("1", "Ada"), mentions)).toBe(mentions[0]);
  });

  it("has a mark even where there is no title, and one @ only", () => {
    expect(known(tag("7", " "), tag("8", "@bob")).map(({ mark }) => mark)).toEqual(["@7", "@bob"]);
  });

  it("is there as long as its mark is", () => {
    const mentions = known(ADA, LOVELACE);
    expect(mentionsIn("ask @Ada Lovelace", mentions).map(({ tag }) => tag)).toEqual([LOVELACE]);
    expect(mentionsIn("ask Ada", mentions)).toEqual([]);
  });

  it("is taken out of the text with one of its spaces, and no other with it", () => {
    const mentions = known(ADA, LOVELACE);
    const [ada] = mentions;
    if (!ada) throw new Error("not there");
    expect(withoutMention("ask @Ada now, @Ada Lovelace, and @Ada", ada, mentions)).toBe("ask now, @Ada Lovelace, and ");
    expect(withoutMention("@Ada hello", ada, mentions)).toBe("hello");
  });
});

describe("what the server takes", () => {
  it("has data with each tag", () => {
    expect(complete([{ type: "input_tag", id: "1", text: "Ada" }])).toEqual([ADA]);
    expect(tagOf({ id: "4", title: "Plan", group: "Documents", interactive: true, data: { a: "b" } })).toEqual({
      type: "input_tag",
      id: "4",
      text: "Plan",
      group: "Documents",
      interactive: true,
      data: { a: "b" },
    });
    expect(tagOf({ id: "1", title: "Ada" })).toEqual(ADA);
  });
});
