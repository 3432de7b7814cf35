import { describe, expect, it } from "vitest";
import { DECODE_LEAD_US, DecodeQueue, type Due, MAX_WAITING_BYTES } from "./decode-queue.js";
import type { EncodedFrame } from "./frames.js";

interface Item {
  readonly frame: EncodedFrame;
}

const MS = 1000;

/** A frame whose timestamp is when it is due, ms. */
function item(dueMs: number, kind: "key" | "delta" | "discardable" = "delta", bytes = 1): Item {
  const payload = new Uint8Array(bytes);
  const timestampUs = dueMs * MS;
  return {
    frame: { key: kind === "key", timestampUs, sequence: 0, discardable: kind === "discardable", payload },
  };
}

const asTimestamp = (timestampUs: number) => timestampUs;
const atOnce = () => undefined;

function drain(queue: DecodeQueue<Item>, nowMs: number, due: Due = asTimestamp): number[] {
  const out: number[] = [];
  for (let next = queue.next(nowMs * MS, due); next; next = queue.next(nowMs * MS, due)) {
    out.push(next.frame.timestampUs / MS);
  }
  return out;
}

describe("DecodeQueue", () => {
  it("hands frames out a little before they are due", () => {
    const queue = new DecodeQueue<Item>();
    queue.push(item(500, "key"), 0);
    queue.push(item(533), 0);
    const ready = 500 * MS - DECODE_LEAD_US;
    expect(queue.nextReadyUs(asTimestamp)).toBe(ready);
    expect(queue.next(ready - 1, asTimestamp)).toBeUndefined();
    expect(queue.next(ready, asTimestamp)?.frame.timestampUs).toBe(500 * MS);
    expect(queue.next(ready, asTimestamp)).toBeUndefined();
    expect(queue.length).toBe(1);
  });

  it("hands frames without a time out at once", () => {
    const queue = new DecodeQueue<Item>();
    queue.push(item(500, "key"), 7);
    expect(queue.nextReadyUs(atOnce)).toBe(7);
    expect(drain(queue, 1, atOnce)).toEqual([500]);
    expect(queue.nextReadyUs(atOnce)).toBeUndefined();
  });

  it("decodes all of a group that comes late at once", () => {
    const queue = new DecodeQueue<Item>();
    // From the server's cache: due long ago, but here only now.
    for (let at = 0; at < 900; at += 30) queue.push(item(at, at === 0 ? "key" : "delta"), 1000 * MS);
    expect(drain(queue, 1100)).toHaveLength(30);
    expect(queue.dropped).toBe(0);
  });

  it("goes without discardable frames when the decoder is late", () => {
    const queue = new DecodeQueue<Item>();
    queue.push(item(0, "key"), 0);
    queue.push(item(1, "discardable"), 0);
    queue.push(item(2), 0);
    expect(drain(queue, 160)).toEqual([0, 2]);
    expect(queue.dropped).toBe(1);
  });

  it("goes on at a newer key frame when the decoder is later", () => {
    const queue = new DecodeQueue<Item>();
    for (const at of [0, 30, 60, 90]) queue.push(item(at, at % 60 === 0 ? "key" : "delta"), at * MS);
    expect(drain(queue, 350)).toEqual([60, 90]);
    expect(queue.dropped).toBe(2);
    expect(queue.wantsKeyFrame).toBe(false);
  });

  it("does not go on at a key frame that is not due for long", () => {
    const queue = new DecodeQueue<Item>();
    queue.push(item(0, "key"), 0);
    queue.push(item(1000, "key"), 0);
    expect(drain(queue, 400)).toEqual([0]);
    expect(queue.length).toBe(1);
  });

  it("wants a key frame when there is none to go on at, until it comes", () => {
    const queue = new DecodeQueue<Item>();
    for (const at of [0, 1, 2]) queue.push(item(at, at === 0 ? "key" : "delta"), 0);
    expect(queue.next(1100 * MS, asTimestamp)).toBeDefined();
    expect(queue.wantsKeyFrame).toBe(true);
    queue.push(item(1100, "key"), 1100 * MS);
    expect(queue.wantsKeyFrame).toBe(false);
    expect(drain(queue, 1101)).toEqual([1100]);
  });

  it("gives up what is hopelessly late, and everything up to the next key frame", () => {
    const queue = new DecodeQueue<Item>();
    for (const at of [0, 1, 2]) queue.push(item(at, at === 0 ? "key" : "delta"), 0);
    expect(drain(queue, 3100)).toEqual([]);
    expect(queue.wantsKeyFrame).toBe(true);
    queue.push(item(3100), 3100 * MS);
    queue.push(item(3133, "key"), 3133 * MS);
    expect(drain(queue, 3140)).toEqual([3133]);
    expect(queue.dropped).toBe(4);
  });

  it("bounds what waits", () => {
    const queue = new DecodeQueue<Item>();
    queue.push(item(9e6, "key", MAX_WAITING_BYTES), 0);
    expect(queue.length).toBe(1);
    queue.push(item(9e6, "delta", 1), 0);
    expect(queue.length).toBe(0);
    expect(queue.wantsKeyFrame).toBe(true);
  });

  it("goes on at the next key frame after the decoder failed", () => {
    const queue = new DecodeQueue<Item>();
    for (const at of [0, 1, 2, 3]) queue.push(item(at, at === 2 ? "key" : "delta"), 0);
    queue.needKeyFrame();
    expect(queue.wantsKeyFrame).toBe(false);
    expect(drain(queue, 10)).toEqual([2, 3]);
    queue.needKeyFrame();
    expect(queue.wantsKeyFrame).toBe(true);
    queue.push(item(20), 20 * MS);
    expect(queue.length).toBe(0);
  });
});
