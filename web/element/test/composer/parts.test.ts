import { describe, expect, it } from "vitest";
import { base64Of, microphoneProblem, timeText } from "../../src/composer/dictation/audio.js";
import { modelOf } from "../../src/composer/model_picker.js";
import { grouped } from "../../src/composer/suggestions/suggestion.js";

describe("suggestions", () => {
  it("stand in groups in the order in which these came, without a group first", () => {
    const one = (label: string, group?: string) => ({ label, group, choose: () => {} });
    const groups = grouped([one("a", "X"), one("b"), one("c", "Y"), one("d", "X"), one("e", "")]);
    expect(groups.map(({ label, suggestions }) => [label, suggestions.map((each) => each.label)])).toEqual([
      [undefined, ["b", "e"]],
      ["X", ["a", "d"]],
      ["Y", ["c"]],
    ]);
    expect(grouped([])).toEqual([]);
  });
});

describe("the model", () => {
  const gone = { id: "x", label: "Gone", disabled: true, default: true };
  const fast = { id: "a", label: "Fast" };
  const thorough = { id: "b", label: "Thorough", default: true };

  it("is the chosen one, else the default, else the first that can be had", () => {
    expect(modelOf([gone, fast, thorough], null)).toBe(thorough);
    expect(modelOf([gone, fast, thorough], "a")).toBe(fast);
    expect(modelOf([gone, fast], null)).toBe(fast);
    expect(modelOf([gone, fast], "x")).toBe(fast);
    expect(modelOf([gone], null)).toBeNull();
  });
});

describe("dictation", () => {
  it("sends any bytes", () => {
    const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => at % 256);
    expect(Buffer.from(base64Of(bytes), "base64").equals(Buffer.from(bytes))).toBe(true);
    expect(base64Of(new Uint8Array())).toBe("");
  });

  it("counts minutes", () => {
    expect([0, 9.9, 61, 600].map(timeText)).toEqual(["0:00", "0:09", "1:01", "10:00"]);
  });

  it("knows why there is no microphone", () => {
    const names = ["NotAllowedError", "SecurityError", "NotFoundError", "NotReadableError", ""];
    expect(names.map(microphoneProblem)).toEqual([
      "microphoneRefused",
      "microphoneRefused",
      "microphoneMissing",
      "microphoneBusy",
      "microphoneBusy",
    ]);
  });
});
