import { describe, expect, it } from "vitest";
import {
  acceptAttribute,
  allowedTypes,
  isAccepted,
  maxBytes,
  maxCount,
  problemOf,
  sizeText,
} from "../../../src/composer/attachments/rules.js";

const MIB = 1024 * 1024;
const file = (name: string, type: string, size = 1) => ({ name, type, size });

describe("how large a file may be", () => {
  it("is 100 MB unless it is said otherwise, and so is what no pattern names", () => {
    expect(maxBytes({ enabled: true }, "text/plain")).toBe(100 * MIB);
    expect(maxBytes({ enabled: true, maxSize: { "image/*": 5 } }, "text/plain")).toBe(100 * MIB);
  });

  it("is what names its type most exactly", () => {
    const maxSize = { "*": 1, "image/*": 2, "image/PNG": 3 };
    const most = (type: string) => maxBytes({ enabled: true, maxSize }, type);
    expect(["image/png", "image/gif", "text/plain", "", "image/png; a=b"].map(most)).toEqual([3, 2, 1, 1, 3]);
    expect(maxBytes({ enabled: true, maxSize: { "": 7 } }, "text/plain")).toBe(7);
    expect(maxBytes({ enabled: true, maxSize: 9 }, "image/png")).toBe(9);
    expect(maxBytes({ enabled: true, maxSize: { "image/*": 0 } }, "image/png")).toBe(0);
  });

  it("includes the limit itself", () => {
    const rules = { enabled: true, maxSize: 10 };
    expect(problemOf(file("a", "", 10), rules)).toBeNull();
    expect(problemOf(file("a", "", 11), rules)).toEqual({ kind: "size", maxBytes: 10 });
  });

  it("is told in the language of the page", () => {
    expect(sizeText(10 * MIB, "en")).toBe("10 MB");
    expect(sizeText(1.5 * MIB, "de")).toBe("1,5 MB");
    expect(sizeText(2048, "en")).toBe("2 kB");
    expect(sizeText(1000, "en")).toBe("1,000 bytes");
  });
});

describe("which files are accepted", () => {
  const rules = { enabled: true, accept: { "image/*": [".png"], "text/plain": ["txt", ".MD"] } };

  it("are all unless it is said otherwise", () => {
    expect(isAccepted({ enabled: true }, file("a.exe", ""))).toBe(true);
    expect(isAccepted({ enabled: true, accept: {} }, file("a.exe", ""))).toBe(true);
    expect(isAccepted({ enabled: true, accept: { "*/*": [] } }, file("a.exe", ""))).toBe(true);
  });

  it("are those of a type, and those of an ending", () => {
    expect(isAccepted(rules, file("a", "image/webp"))).toBe(true);
    expect(isAccepted(rules, file("a", "text/plain;charset=utf-8"))).toBe(true);
    expect(isAccepted(rules, file("README.md", ""))).toBe(true);
    expect(isAccepted(rules, file("A.TXT", ""))).toBe(true);
    expect(problemOf(file("a.exe", "application/x-msdownload"), rules)).toEqual({ kind: "type" });
    expect(isAccepted(rules, file("a", "images/png"))).toBe(false);
  });

  it("are offered by the browser's own dialog", () => {
    expect(acceptAttribute(rules)).toBe("image/*,.png,text/plain,.txt,.md");
    expect(acceptAttribute({ enabled: true })).toBeNull();
  });

  it("are ten at most unless it is said otherwise", () => {
    expect([maxCount({ enabled: true }), maxCount({ enabled: true, maxCount: 0 })]).toEqual([10, 0]);
  });
});

describe("what is said of files that are not accepted", () => {
  it("is what may be attached: endings, and a type that has none", () => {
    const accept = { "image/*": [], "text/csv": ["csv"], "text/plain": [".TXT", ".log"] };
    expect(allowedTypes({ enabled: true, accept })).toBe("image/*, .csv, .txt, .log");
  });
});
