import { expect, it } from "vitest";
import { chatKitReady, createChatKitFetch, pageContext } from "../src/index.js";

it("tells nothing of a page where there is none", () => {
  expect(pageContext()).toBeNull();
});

it("waits for the element where there is no page", () => {
  expect(chatKitReady({ timeoutMs: 0 }).state).toBe("pending");
});

it("can be made where there is no page, to be used once there is one", async () => {
  const fetch = createChatKitFetch({ url: "/chatkit" });
  expect(fetch.connection.state).toBe("idle");
  await expect(fetch("/chatkit")).rejects.toThrow(TypeError);
});
