import { describe, expect, it } from "vitest";
import { ArrivalJitter } from "./jitter.js";

const PACKET_US = 20_000;
/** Sender and receiver do not agree on the time of day. */
const EPOCH_US = 1_700_000_000_000_000;
const LOCAL_US = 5_000_000;

/** Numbers between 0 and 1, the same in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Packets `from` to `to`, delayed by `delayMs`; returns the target after the last one, ms. */
function feed(jitter: ArrivalJitter, from: number, to: number, delayMs: (index: number) => number): number {
  let target = 0;
  for (let index = from; index < to; index++) {
    const timestampUs = EPOCH_US + index * PACKET_US;
    const arrivalUs = LOCAL_US + index * PACKET_US + delayMs(index) * 1000;
    jitter.arrived({ sequence: index, timestampUs, arrivalUs });
    jitter.playable(timestampUs, arrivalUs);
    target = jitter.targetMs(arrivalUs);
  }
  return target;
}

describe("target", () => {
  it("is the packet and the margin when every packet takes equally long", () => {
    const jitter = new ArrivalJitter();
    expect(feed(jitter, 0, 500, () => 70)).toBeCloseTo(30, 6);
    expect(jitter.jitterMs).toBe(0);
    expect(jitter.received).toBe(500);
  });

  it("is the 99th percentile of even jitter on top", () => {
    const jitter = new ArrivalJitter();
    const uniform = random(1);
    const target = feed(jitter, 0, 2000, () => uniform() * 15);
    expect(target).toBeGreaterThan(30 + 14);
    expect(target).toBeLessThan(30 + 15);
    // The mean difference of two even numbers up to 15 is 5.
    expect(jitter.jitterMs).toBeGreaterThan(2.5);
    expect(jitter.jitterMs).toBeLessThan(7.5);
  });

  it("is not moved by a spike now and then", () => {
    const jitter = new ArrivalJitter();
    feed(jitter, 0, 200, () => 0);
    const target = feed(jitter, 200, 1000, (index) => (index % 150 === 0 ? 18 : 0));
    expect(target).toBeCloseTo(30, 6);
  });

  it("grows at once and shrinks by 15 % per second", () => {
    const jitter = new ArrivalJitter();
    feed(jitter, 0, 400, () => 0);
    // Nothing for 200 ms, then all at once.
    const grown = feed(jitter, 400, 410, (index) => (410 - index) * 20);
    expect(grown).toBeGreaterThan(80);
    // As long as the burst is among the last packets it counts, then it is forgotten slowly.
    const after3s = feed(jitter, 410, 560, () => 0);
    const after4s = feed(jitter, 560, 610, () => 0);
    expect(after4s / after3s).toBeCloseTo(0.86, 2);
    expect(feed(jitter, 610, 2200, () => 0)).toBeCloseTo(30, 6);
  });

  it("counts the time that decoding takes", () => {
    const jitter = new ArrivalJitter();
    let target = 0;
    for (let index = 0; index < 500; index++) {
      const [timestampUs, arrivalUs] = [EPOCH_US + index * PACKET_US, LOCAL_US + index * PACKET_US];
      jitter.arrived({ sequence: index, timestampUs, arrivalUs });
      const decodedUs = arrivalUs + (index % 10 === 0 ? 25_000 : 5_000);
      jitter.playable(timestampUs, decodedUs);
      target = jitter.targetMs(decodedUs);
    }
    expect(target).toBeCloseTo(50, 6);
    expect(jitter.jitterMs).toBe(0);
  });

  it("stays within its bounds", () => {
    const jitter = new ArrivalJitter();
    const uniform = random(2);
    expect(feed(jitter, 0, 300, () => uniform() * 900)).toBe(400);
    expect(feed(new ArrivalJitter(2.5), 0, 1000, () => 0)).toBe(20);
  });

  it("does not see clocks that drift by 200 ppm", () => {
    for (const drift of [200e-6, -200e-6]) {
      const jitter = new ArrivalJitter();
      const target = feed(jitter, 0, 15_000, (index) => index * 20 * drift + 100);
      expect(target).toBeGreaterThanOrEqual(30);
      expect(target).toBeLessThan(31);
    }
  });

  it("follows a path that has become longer or shorter for good", () => {
    for (const change of [60, -60]) {
      const jitter = new ArrivalJitter();
      feed(jitter, 0, 500, () => 100);
      feed(jitter, 500, 2000, () => 100 + change);
      expect(jitter.targetMs(LOCAL_US + 2000 * PACKET_US)).toBeCloseTo(30, 6);
    }
  });

  it("is not disturbed by silence, however long", () => {
    const jitter = new ArrivalJitter();
    const uniform = random(3);
    const delay = () => uniform() * 40;
    const before = feed(jitter, 0, 1000, delay);
    let sequence = 1000;
    for (const gapS of [0.4, 5, 60]) {
      const timestampUs = EPOCH_US + (1000 + gapS * 50) * PACKET_US;
      const arrivalUs = timestampUs - EPOCH_US + LOCAL_US;
      expect(jitter.arrived({ sequence: sequence++, timestampUs, arrivalUs })).toBe("next");
      jitter.playable(timestampUs, arrivalUs);
      expect(jitter.targetMs(arrivalUs)).toBeGreaterThan(before * 0.95);
    }
    expect(jitter.lost).toBe(0);
  });

  it("takes a step of the sender's clock for what it is", () => {
    const jitter = new ArrivalJitter();
    feed(jitter, 0, 500, () => 0);
    expect(feed(jitter, 500, 510, () => 3_600_000)).toBeCloseTo(30, 6);
    expect(feed(jitter, 510, 520, () => -5000)).toBeCloseTo(30, 6);
    expect(jitter.jitterMs).toBe(0);
  });
});

describe("order", () => {
  const at = (jitter: ArrivalJitter, sequence: number, arrivalMs: number, timestampMs = sequence * 20) =>
    jitter.arrived({ sequence, timestampUs: timestampMs * 1000, arrivalUs: arrivalMs * 1000 });

  it("tells loss from silence by the sequence", () => {
    const jitter = new ArrivalJitter();
    expect(at(jitter, 7, 0)).toBe("resumed");
    expect(at(jitter, 8, 20)).toBe("next");
    expect(at(jitter, 9, 420, 560)).toBe("next");
    expect(at(jitter, 12, 480, 620)).toBe("after-loss");
    expect(jitter.lost).toBe(2);
    expect(jitter.late).toBe(0);
  });

  it("counts a late packet as late and no longer as lost", () => {
    const jitter = new ArrivalJitter();
    at(jitter, 0, 0);
    expect(at(jitter, 2, 20)).toBe("after-loss");
    expect(jitter.lost).toBe(1);
    expect(at(jitter, 1, 30)).toBe("late");
    expect(at(jitter, 1, 31)).toBe("repeated");
    expect(at(jitter, 2, 32)).toBe("repeated");
    expect(at(jitter, 3, 40)).toBe("next");
    expect([jitter.received, jitter.lost, jitter.late]).toEqual([4, 0, 1]);
  });

  it("takes a long pause, or a beginning from zero, for no loss", () => {
    const jitter = new ArrivalJitter();
    at(jitter, 10_000, 0);
    expect(at(jitter, 10_051, 1020)).toBe("after-loss");
    expect(at(jitter, 20_000, 60_000)).toBe("resumed");
    expect(at(jitter, 0, 60_020)).toBe("resumed");
    expect(at(jitter, 1, 60_040)).toBe("next");
    expect(jitter.lost).toBe(50);
  });

  it("counts loss at random exactly", () => {
    const jitter = new ArrivalJitter();
    const uniform = random(4);
    let lost = 0;
    for (let index = 0; index < 3000; index++) {
      if (index > 0 && index < 2999 && uniform() < 0.1) lost += 1;
      else at(jitter, index, index * 20);
    }
    expect(jitter.lost).toBe(lost);
    expect(jitter.received).toBe(3000 - lost);
  });
});
