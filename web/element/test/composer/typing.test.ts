import { describe, expect, it } from "vitest";
import { commandAt, matches, mentionAt, withMark, withWords } from "../../src/composer/typing.js";

/** The text and the place of its caret, which a bar marks. */
function mention(marked: string, marks: readonly string[] = []) {
  return mentionAt(marked.replace("|", ""), marked.indexOf("|"), marks);
}
function command(marked: string) {
  return commandAt(marked.replace("|", ""), marked.indexOf("|"));
}

describe("a mention being typed", () => {
  it("is what stands between the @ and the caret", () => {
    expect(mention("@|")).toEqual({ query: "", span: { start: 0, end: 1 } });
    expect(mention("ask @ad|a now")).toEqual({ query: "ad", span: { start: 4, end: 7 } });
    expect(mention("(@ada love|")).toEqual({ query: "ada love", span: { start: 1, end: 10 } });
    expect(mention("你好@李|")?.query).toBe("李");
  });

  it("is no mail address, no next line and no sentence", () => {
    expect(mention("me@ada|")).toBeNull();
    expect(mention("@ada\n|")).toBeNull();
    expect(mention("@ ada|")).toBeNull();
    expect(mention("@one two three four five|")).toBeNull();
    expect(mention(`@${"a".repeat(61)}|`)).toBeNull();
    expect(mention("|@")).toBeNull();
    expect(mention("none|")).toBeNull();
  });

  it("has an end once the thing is mentioned", () => {
    expect(mention("@Ada |", ["@Ada"])).toBeNull();
    expect(mention("@Ada|", ["@Ada"])).toBeNull();
    expect(mention("@Ad|a", ["@Ada"])?.query).toBe("Ad");
    expect(mention("@Ada and @b|", ["@Ada"])?.query).toBe("b");
  });
});

describe("a command being typed", () => {
  it("is what stands between a / that begins the text and the caret", () => {
    expect(command("/|")).toEqual({ query: "", span: { start: 0, end: 1 } });
    expect(command("/att| rest")).toEqual({ query: "att", span: { start: 0, end: 4 } });
    expect(command("/attach files|")?.query).toBe("attach files");
  });

  it("is nowhere else", () => {
    expect(command("|/a")).toBeNull();
    expect(command("a /b|")).toBeNull();
    expect(command("/a\nb|")).toBeNull();
  });
});

describe("what is put into the text", () => {
  it("stands apart from the words around it", () => {
    expect(withWords("Hello world", { start: 5, end: 5 }, "big")).toEqual({ text: "Hello big world", caret: 9 });
    expect(withWords("", { start: 0, end: 0 }, "big")).toEqual({ text: "big ", caret: 4 });
    expect(withWords("one", { start: 0, end: 3 }, "two")).toEqual({ text: "two ", caret: 4 });
  });

  it("may follow a bracket at once where it is a mark", () => {
    expect(withMark("(@ad", { start: 1, end: 4 }, "@Ada")).toEqual({ text: "(@Ada ", caret: 6 });
    expect(withMark("and", { start: 3, end: 3 }, "@Ada")).toEqual({ text: "and @Ada ", caret: 9 });
    expect(withMark("@ad now", { start: 0, end: 3 }, "@Ada")).toEqual({ text: "@Ada now", caret: 4 });
  });
});

describe("a search among what is known", () => {
  it("finds parts of words, whatever their case and accents", () => {
    expect(matches("Résumé schreiben", "resume SCH")).toBe(true);
    expect(matches("Attach files", " files ")).toBe(true);
    expect(matches("Attach files", "")).toBe(true);
    expect(matches("Attach files", "filed")).toBe(false);
  });
});
