import { describe, expect, it } from "vitest";
import { mediaType, possibleTypes, typed } from "../../../src/composer/attachments/file_type.js";

const CSV = "text/csv";
const EXCEL = "application/vnd.ms-excel";
const nothing = () => false;

describe("the type of a file", () => {
  it("is that of the ending where the browser has none, or that of a program", () => {
    const file = (name: string, type: string) => typed(new File(["a"], name, { type }), nothing).type;
    expect(file("notes.md", "")).toBe("text/markdown");
    expect(file("app.log", "application/octet-stream")).toBe("text/plain");
    expect(file("Data.CSV", EXCEL)).toBe(CSV);
    expect(file("photo.jpg", "image/jpg")).toBe("image/jpeg");
    expect(file("a.b.json", "")).toBe("application/json");
  });

  it("stays where the browser knows, whatever the ending", () => {
    expect(possibleTypes("a.csv", "text/html")).toEqual(["text/html"]);
    expect(possibleTypes("a.png", "image/svg+xml")).toEqual(["image/svg+xml"]);
    expect(possibleTypes("a.xls", EXCEL)).toEqual([EXCEL]);
    expect(possibleTypes("page.html", "")).toEqual([""]);
    expect(possibleTypes("md", "")).toEqual([""]);
    expect(possibleTypes("a.constructor", "")).toEqual([""]);
    expect(mediaType("constructor")).toBe("constructor");
  });

  it("is of those that it may be one that is accepted", () => {
    const plain = new File(["a,b"], "a.csv", { type: "text/plain" });
    expect(typed(plain, (type) => type === CSV).type).toBe(CSV);
    expect(typed(plain, (type) => type === "text/plain")).toBe(plain);
    expect(typed(plain, nothing)).toBe(plain);
    const excel = new File(["a,b"], "a.csv", { type: EXCEL });
    expect(typed(excel, (type) => type === EXCEL)).toBe(excel);
  });

  it("changes neither its name nor its bytes", async () => {
    const file = typed(new File(["a,b"], "a.csv", { type: EXCEL, lastModified: 5 }), nothing);
    expect([file.name, file.lastModified, await file.text()]).toEqual(["a.csv", 5, "a,b"]);
  });
});
