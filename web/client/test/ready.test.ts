import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { chatKitReady } from "../src/index.js";

const SRC = "https://cdn.example/chatkit.js";
let define: () => void = () => {};

/** A page with a script of ChatKit's, and without the element. */
function page({ readyState, fetched }: { readyState: string; fetched: readonly string[] }): EventTarget {
  const events = new EventTarget();
  const script = Object.assign(new EventTarget(), { src: SRC });
  const defined = new Promise<void>((resolve) => {
    define = resolve;
  });
  vi.stubGlobal("customElements", { get: () => undefined, whenDefined: () => defined });
  vi.stubGlobal("document", { readyState, querySelectorAll: () => [script] });
  vi.stubGlobal("addEventListener", events.addEventListener.bind(events));
  vi.spyOn(performance, "getEntriesByName").mockImplementation(
    (name) => fetched.filter((src) => src === name).map(() => ({})) as PerformanceEntry[],
  );
  return events;
}

beforeEach(() => void vi.useFakeTimers());

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it("tells within a second of a script that failed before it was asked", () => {
  page({ readyState: "complete", fetched: [SRC] });
  const ready = chatKitReady();
  vi.advanceTimersByTime(999);
  expect(ready.state).toBe("error");
});

it("tells within a second after the page's load of a script that failed", () => {
  const events = page({ readyState: "interactive", fetched: [] });
  const ready = chatKitReady();
  vi.advanceTimersByTime(10_000);
  expect(ready.state).toBe("pending");
  events.dispatchEvent(new Event("load"));
  vi.advanceTimersByTime(999);
  expect(ready.state).toBe("error");
});

it("waits for a script that is still on its way in a page that has loaded", () => {
  page({ readyState: "complete", fetched: [] });
  const ready = chatKitReady();
  vi.advanceTimersByTime(14_999);
  expect(ready.state).toBe("pending");
  vi.advanceTimersByTime(1);
  expect(ready.state).toBe("error");
});

it("is ready once the element is defined, also after an error", async () => {
  page({ readyState: "complete", fetched: [SRC] });
  const ready = chatKitReady();
  vi.advanceTimersByTime(999);
  const told: string[] = [];
  ready.subscribe(() => told.push(ready.state));
  define();
  await vi.advanceTimersByTimeAsync(0);
  expect(told).toEqual(["ready"]);
});
