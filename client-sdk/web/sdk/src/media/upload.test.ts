import { describe, expect, test } from "vitest";
import { UploadPolicy, type UploadStep } from "./upload.js";

const MAX_BPS = 600_000;
const FRAME_MS = 33;

function policy(): UploadPolicy {
  return new UploadPolicy({ maxBitrateBps: MAX_BPS });
}

function frame(upload: UploadPolicy, nowMs: number, backlogMs = 0, encodeQueueSize = 0): UploadStep {
  return upload.frame({ nowMs, backlogMs, encodeQueueSize });
}

/** Frames from `fromMs` to `toMs`; the times of those that were to be key frames. */
function keyFrames(upload: UploadPolicy, fromMs: number, toMs: number): number[] {
  const times = [];
  for (let nowMs = fromMs; nowMs < toMs; nowMs += FRAME_MS) {
    if (frame(upload, nowMs).keyFrame) times.push(nowMs);
  }
  return times;
}

const ASKED = { keyFrameRequested: true, targetBitrateBps: 0 };

describe("key frames", () => {
  test("come first, and then seldom", () => {
    const times = keyFrames(policy(), 0, 25_000);
    expect(times).toEqual([0, 10_032, 20_064]);
  });

  test("come when asked for, once for all that is asked within half a second", () => {
    const upload = policy();
    expect(frame(upload, 0).keyFrame).toBe(true);
    upload.feedback(ASKED);
    expect(keyFrames(upload, 33, 499)).toEqual([]);
    upload.feedback(ASKED);
    expect(keyFrames(upload, 500, 1_500)).toEqual([500]);
    upload.feedback(ASKED);
    expect(keyFrames(upload, 1_500, 3_000)).toEqual([1_500]);
  });

  test("a request is not lost on a frame that is left out", () => {
    const upload = policy();
    frame(upload, 0);
    upload.feedback(ASKED);
    expect(frame(upload, 600, 0, 3)).toEqual({ encode: false, keyFrame: false, abortGroup: false });
    expect(frame(upload, 633).keyFrame).toBe(true);
  });

  test("a source that stands still is told when one is due", () => {
    const upload = policy();
    expect(upload.keyFrameDue(0)).toBe(true);
    frame(upload, 0);
    expect(upload.keyFrameDue(9_000)).toBe(false);
    upload.feedback(ASKED);
    expect(upload.keyFrameDue(9_000)).toBe(true);
  });

  test("another size or connection begins with one", () => {
    const upload = policy();
    frame(upload, 0);
    upload.begin();
    expect(frame(upload, 33).keyFrame).toBe(true);
    expect(frame(upload, 66).keyFrame).toBe(false);
    upload.connectionBegan();
    expect(frame(upload, 99).keyFrame).toBe(true);
  });
});

describe("pausing", () => {
  test("nothing is encoded while nobody watches, and then a key frame comes at once", () => {
    const upload = policy();
    frame(upload, 0);
    upload.feedback({ keyFrameRequested: false, paused: true, targetBitrateBps: 0 });
    expect(upload.paused).toBe(true);
    expect(frame(upload, 33)).toEqual({ encode: false, keyFrame: false, abortGroup: false });
    expect(upload.keyFrameDue(20_000)).toBe(false);
    upload.feedback({ keyFrameRequested: true, paused: false, targetBitrateBps: 0 });
    expect(frame(upload, 66)).toEqual({ encode: true, keyFrame: true, abortGroup: false });
    expect(keyFrames(upload, 99, 5_000)).toEqual([]);
  });

  test("absent means that nothing changed, and another connection has said nothing", () => {
    const upload = policy();
    upload.feedback({ keyFrameRequested: false, paused: true, targetBitrateBps: 0 });
    upload.feedback(ASKED);
    expect(upload.paused).toBe(true);
    upload.connectionBegan();
    expect(upload.paused).toBe(false);
  });
});

describe("backlog", () => {
  test("drops what nobody needs, first", () => {
    expect(policy().sendsDiscardable(80)).toBe(true);
    expect(policy().sendsDiscardable(81)).toBe(false);
  });

  test("lowers the bit rate, step by step, to a floor", () => {
    const upload = policy();
    frame(upload, 0, 150);
    expect(upload.takeBitrate(0)).toBeUndefined();
    frame(upload, 33, 151);
    expect(upload.takeBitrate(33)).toBe(420_000);
    frame(upload, 66, 200);
    expect(upload.takeBitrate(66)).toBeUndefined();
    frame(upload, 533, 200);
    expect(upload.takeBitrate(533)).toBe(294_000);
    for (let nowMs = 1_033; nowMs < 20_000; nowMs += 500) frame(upload, nowMs, 200);
    expect(upload.takeBitrate(20_000)).toBe(60_000);
  });

  test("gone, raises it again, slowly", () => {
    const upload = policy();
    frame(upload, 0, 200);
    expect(upload.takeBitrate(0)).toBe(420_000);
    let nowMs = 33;
    const raised: number[] = [];
    for (; nowMs < 30_000; nowMs += FRAME_MS) {
      frame(upload, nowMs);
      const bps = upload.takeBitrate(nowMs);
      if (bps !== undefined) raised.push(bps);
      if (nowMs < 2_000) expect(bps).toBeUndefined();
    }
    expect(raised[0]).toBe(453_600);
    expect(raised.at(-1)).toBe(MAX_BPS);
    expect(raised.length).toBeGreaterThanOrEqual(5);
  });

  test("too old gives the group up and begins anew; soon again only after a growing pause", () => {
    const upload = policy();
    frame(upload, 0);
    expect(frame(upload, 1_000, 301)).toEqual({ encode: true, keyFrame: true, abortGroup: true });
    expect(frame(upload, 2_000, 301)).toEqual({ encode: false, keyFrame: false, abortGroup: true });
    expect(frame(upload, 2_499).encode).toBe(false);
    expect(upload.keyFrameDue(2_499)).toBe(false);
    expect(frame(upload, 2_500)).toEqual({ encode: true, keyFrame: true, abortGroup: false });
    expect(frame(upload, 4_000, 301).abortGroup).toBe(true);
    expect(frame(upload, 4_999).encode).toBe(false);
    expect(frame(upload, 5_000).keyFrame).toBe(true);
    expect(frame(upload, 30_000, 301)).toEqual({ encode: true, keyFrame: true, abortGroup: true });
  });

  test("that was given up halves the bit rate, at once", () => {
    const upload = policy();
    frame(upload, 0, 160);
    expect(upload.takeBitrate(0)).toBe(420_000);
    frame(upload, 100, 301);
    expect(upload.takeBitrate(100)).toBe(210_000);
  });

  test("that was given up is no reason to try again soon", () => {
    const upload = policy();
    /** Milliseconds from an abort to the first raise. */
    const raisedAfterMs = (abortedMs: number): number => {
      frame(upload, abortedMs, 301);
      const bps = upload.bitrateBps;
      let nowMs = abortedMs;
      while (upload.bitrateBps === bps) {
        nowMs += FRAME_MS;
        frame(upload, nowMs);
      }
      return nowMs - abortedMs;
    };
    expect(Math.round(raisedAfterMs(0) / 1_000)).toBe(5);
    expect(Math.round(raisedAfterMs(20_000) / 1_000)).toBe(10);
    expect(Math.round(raisedAfterMs(40_000) / 1_000)).toBe(20);
    expect(Math.round(raisedAfterMs(200_000) / 1_000)).toBe(5);
  });

  test("is not gone because nothing is sent", () => {
    const upload = policy();
    frame(upload, 0, 301);
    frame(upload, 100, 301);
    frame(upload, 200, 301);
    const bps = upload.bitrateBps;
    for (let nowMs = 233; nowMs < 1_200; nowMs += FRAME_MS) expect(frame(upload, nowMs).encode).toBe(false);
    expect(upload.bitrateBps).toBe(bps);
  });

  test("a server that takes no group is not pressed", () => {
    const upload = policy();
    let groups = 0;
    for (let nowMs = 0; nowMs < 10_000; nowMs += FRAME_MS) {
      if (!frame(upload, nowMs).keyFrame) continue;
      groups += 1;
      upload.groupLost(nowMs);
    }
    expect(groups).toBe(8);
  });

  test("of the encoder leaves frames out", () => {
    const upload = policy();
    expect(frame(upload, 0, 0, 2).encode).toBe(true);
    expect(frame(upload, 33, 0, 3).encode).toBe(false);
  });
});

describe("the server's advice", () => {
  test("is followed down and up, never above the own limit", () => {
    const upload = policy();
    upload.feedback({ keyFrameRequested: false, targetBitrateBps: 300_000 });
    expect(upload.takeBitrate(0)).toBe(300_000);
    upload.feedback(ASKED);
    expect(upload.bitrateBps).toBe(300_000);
    upload.feedback({ keyFrameRequested: false, targetBitrateBps: 324_000 });
    expect(upload.takeBitrate(499)).toBeUndefined();
    expect(upload.takeBitrate(500)).toBe(324_000);
    upload.feedback({ keyFrameRequested: false, targetBitrateBps: 5_000_000 });
    expect(upload.takeBitrate(1_000)).toBe(MAX_BPS);
  });

  test("is gone with the connection", () => {
    const upload = policy();
    upload.feedback({ keyFrameRequested: false, targetBitrateBps: 100_000 });
    upload.connectionBegan();
    expect(upload.bitrateBps).toBe(MAX_BPS);
  });

  test("backlog lowers what is advised further", () => {
    const upload = policy();
    upload.feedback({ keyFrameRequested: false, targetBitrateBps: 300_000 });
    frame(upload, 0, 160);
    expect(upload.bitrateBps).toBe(210_000);
  });
});
