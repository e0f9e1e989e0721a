import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { keepPlace } from "../src/ui/popup.js";

const page = new EventTarget();

beforeEach(() => {
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
});
afterEach(() => void vi.unstubAllGlobals());

test("a popover that was removed with its anchor is placed no more, also where the anchor comes back", () => {
  const anchor = { isConnected: true };
  const place = vi.fn();
  keepPlace(anchor as Element, place);
  page.dispatchEvent(new Event("scroll"));
  expect(place).toHaveBeenCalledTimes(2);
  anchor.isConnected = false;
  page.dispatchEvent(new Event("resize"));
  anchor.isConnected = true;
  page.dispatchEvent(new Event("scroll"));
  expect(place).toHaveBeenCalledTimes(2);
});
