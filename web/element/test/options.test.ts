import type { ChatKitOptions } from "@openai/chatkit";
import { describe, expect, it } from "vitest";
import { checked } from "../src/options.js";

const api = { url: "/chatkit", domainKey: "local" };

describe("options", () => {
  it("are taken as they are where a chat can be made of them", () => {
    const options: ChatKitOptions = { api, composer: { attachments: { enabled: false } } };
    expect(checked(options)).toBe(options);
  });

  it.each([
    [null, "setOptions takes"],
    [{}, "options.api is missing"],
    [{ api: { getClientSecret: async () => "x" } }, "a ChatKit server of one's own"],
    [{ api: { ...api, url: "" } }, "options.api.url"],
    [{ api: { ...api, fetch: "fetch" } }, "options.api.fetch"],
    [{ api, composer: { attachments: { enabled: true } } }, "uploadStrategy"],
    [{ api, drafts: "on" }, "options.drafts"],
    [{ api, drafts: null }, "options.drafts"],
    [{ api, drafts: { user: 7 } }, "options.drafts"],
  ])("%j is refused", (options, message) => {
    expect(() => checked(options as unknown as ChatKitOptions)).toThrow(message);
  });
});
