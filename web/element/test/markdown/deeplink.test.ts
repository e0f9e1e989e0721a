import { expect, test } from "vitest";
import { parseDeeplink } from "../../src/markdown/deeplink.js";

test("a deeplink has a name and data", () => {
  const link = parseDeeplink("chatkit-link://source?source_id=s%201&locator=pp.+4-5&tag=a&tag=b");
  expect(link?.name).toBe("source");
  expect(link?.data).toEqual({ source_id: "s 1", locator: "pp. 4-5", tag: ["a", "b"] });
});

test("a deeplink's name keeps its case and its path", () => {
  expect(parseDeeplink("chatkit-link://openTicket/42/")?.name).toBe("openTicket/42");
  expect(parseDeeplink("CHATKIT-LINK://a%20b#there")?.name).toBe("a b");
  expect(parseDeeplink("chatkit-link://100%")?.name).toBe("100%");
});

test("other addresses are no deeplinks", () => {
  for (const address of [
    "https://example.org",
    "chatkit-link:name",
    "chatkit-link://",
    "javascript:chatkit-link://x",
  ]) {
    expect(parseDeeplink(address)).toBeNull();
  }
});
