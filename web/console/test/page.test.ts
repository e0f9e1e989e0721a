import { describe, expect, it } from "vitest";
import { offered } from "../../../api/ops/page/acts.js";
import type { RunDetails } from "../../../api/ops/page/api.js";
import { duration, size } from "../../../api/ops/page/format.js";
import { findings } from "../../../api/ops/page/overview.js";
import { linesOf } from "../../../api/ops/page/timeline.js";

const delta = { kind: "thread.item.updated", detail: "text_delta msg_1", bytes: 10, at: null };
const at = (seconds: number) => new Date(1_800_000_000_000 + seconds * 1_000).toISOString();
const entry = (cursor: string, kind: string, seconds: number | null, detail = "") => ({
  ...{ cursor, kind, detail, bytes: 5 },
  at: seconds === null ? null : at(seconds),
});

describe("the lines of a timeline", () => {
  const whole = entry("0-1", "thread.created", null);
  const told = (entries: Parameters<typeof linesOf>[0]) => lines([whole, ...entries]).slice(1);
  const lines = (entries: Parameters<typeof linesOf>[0]) =>
    linesOf(entries).map(({ type, first, last, entries: those, seconds, untimed }) =>
      type === "entries" ? `${first.cursor}..${last.cursor} ${those.length}` : `${type} ${seconds} ${untimed}`,
    );

  it("are one for entries of one kind that follow each other", () => {
    const deltas = [1, 2, 3].map((seq) => ({ ...delta, cursor: `1-${seq + 1}` }));
    const found = linesOf([
      whole,
      entry("1-1", "attempt", 0),
      ...deltas,
      { ...delta, cursor: "1-5", detail: "text_delta msg_2" },
    ]);
    expect(found.map(({ entries, bytes }) => [entries.length, bytes])).toEqual([
      [1, 5],
      [1, 5],
      [3, 30],
      [1, 10],
    ]);
  });

  it("say for how long nothing was written, and whether entries without a time came meanwhile", () => {
    expect(told([entry("1-1", "attempt", 0), entry("1-2", "thread.item.added", 1.9)])).toEqual([
      "1-1..1-1 1",
      "1-2..1-2 1",
    ]);
    expect(told([entry("1-1", "attempt", 0), entry("1-2", "thread.item.added", 2)])).toEqual([
      "1-1..1-1 1",
      "gap 2 0",
      "1-2..1-2 1",
    ]);
    const between = { ...delta, cursor: "1-2" };
    expect(told([entry("1-1", "attempt", 0), between, entry("1-3", "end", 7, "failed")])).toEqual([
      "1-1..1-1 1",
      "1-2..1-2 1",
      "gap 7 1",
      "1-3..1-3 1",
    ]);
  });

  it("say where entries are not kept, within an attempt and at the beginning of one", () => {
    expect(told([entry("1-1", "attempt", null), { ...delta, cursor: "1-9" }, { ...delta, cursor: "1-10" }])).toEqual([
      "1-1..1-1 1",
      "missing 0 0",
      "1-9..1-10 2",
    ]);
    expect(told([{ ...delta, cursor: "1-1" }, entry("2-1", "attempt", null)])).toEqual(["1-1..1-1 1", "2-1..2-1 1"]);
    expect(
      told([
        { ...delta, cursor: "1-1" },
        { ...delta, cursor: "2-4" },
      ]),
    ).toEqual(["1-1..1-1 1", "missing 0 0", "2-4..2-4 1"]);
  });

  it("say that the beginning is not kept", () => {
    for (const cursor of ["0-2", "1-1", "1-5000", "2-1"]) {
      expect(lines([{ ...delta, cursor }])).toEqual(["missing 0 0", `${cursor}..${cursor} 1`]);
    }
    expect(lines([{ ...delta, cursor: "0-1" }])).toEqual(["0-1..0-1 1"]);
    expect(lines([])).toEqual([]);
  });
});

describe("the acts on a run", () => {
  const run = { status: "completed", ended_at: at(0), awaited_item: null, job: null } as unknown as RunDetails;

  it("end the wait for a client tool call where one is awaited", () => {
    expect(offered(run)).toEqual(["retry"]);
    expect(offered({ ...run, awaited_item: "ctc_1" })).toEqual(["endWait", "retry"]);
    expect(offered({ ...run, status: "waiting", ended_at: null })).toEqual(["cancel"]);
  });
});

describe("what stands out", () => {
  const worker = { host: "web-1", pid: 1, version: "1", slots: 4, used: 4, started_at: 0, clock_offset_seconds: 0 };
  const busy = { ...worker, id: "a", draining: false, blocked_seconds: 0 };
  const queue = { due: 5, oldest_due_seconds: 31, waiting: 0, running: 4, workers: 1, draining: 0, slots: 4, used: 4 };
  const clock = { redis: 0, postgresql: 0 };
  const calm = { version: "1", postgresql: "ok", redis: "ok", clock, workers: [busy], ended_last_hour: [], acts: [] };
  const keys = (overview: Parameters<typeof findings>[0]) => findings(overview).map(({ key }) => key);

  it("is nothing while workers take runs in time", () => {
    expect(keys({ ...calm, queue: { ...queue, oldest_due_seconds: 29 } })).toEqual([]);
  });

  it("says why runs wait", () => {
    expect(findings({ ...calm, queue })[0]?.text).toBe(
      "5 runs wait for a worker, the oldest for 31.0 s. All slots are used.",
    );
    expect(
      keys({ ...calm, workers: [{ ...busy, draining: true }], queue: { ...queue, oldest_due_seconds: 1 } }),
    ).toEqual(["All workers drain.", "Runs wait for a worker."]);
    expect(keys({ ...calm, workers: [{ ...busy, blocked_seconds: 12 }] })).toEqual(["Worker a is blocked."]);
  });

  it("says nothing of workers or a queue that are not known", () => {
    expect(keys({ version: "1", postgresql: "ok", redis: "queue_unavailable: away", clock })).toEqual([
      "Redis is away.",
    ]);
  });
});

it("durations and sizes have few digits, whatever they are", () => {
  expect([0, 0.314, 0.996, 59.96, 61, 3_661, 90_061, null, Number.NaN].map(duration)).toEqual([
    ...["0.00 s", "0.31 s", "1.0 s", "1m 0s", "1m 1s", "1h 1m", "1d 1h", "–", "–"],
  ]);
  expect([0, 999, 1_000, 999_499, 999_500, 12_345_678, null].map(size)).toEqual([
    ...["0 B", "999 B", "1.00 kB", "999 kB", "1.00 MB", "12.3 MB", "–"],
  ]);
});
