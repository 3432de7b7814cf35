import { describe, expect, test } from "vitest";
import { CaptureClock, ContextClock } from "./context-clock.js";

/** Local epoch µs at which the clocks of these tests are 0. */
const ZERO_US = 1_780_000_000_000_000;

/** Noise between 0 and 1 that is the same in every run. */
function noise(i: number): number {
  return ((i * 7919) % 97) / 97;
}

describe("the clock of an AudioContext", () => {
  test("is unknown before the first reading", () => {
    expect(new ContextClock().toLocalUs(1)).toBeNaN();
  });

  test("is read through late readings to a millisecond", () => {
    const clock = new ContextClock();
    for (let i = 0; i < 40; i++) clock.update(i * 0.25, ZERO_US + i * 250_000 + noise(i) * 20_000);
    expect(Math.abs(clock.toLocalUs(10) - (ZERO_US + 10_000_000))).toBeLessThan(1_000);
  });

  test("drift of 100 ppm is followed without steps", () => {
    const clock = new ContextClock();
    let lastUs: number | undefined;
    for (let i = 0; i < 2_000; i++) {
      const contextS = i * 0.25;
      clock.update(contextS, ZERO_US + contextS * 1e6 * 1.0001 + noise(i) * 5_000);
      const localUs = clock.toLocalUs(contextS);
      if (lastUs !== undefined) expect(Math.abs(localUs - lastUs - 250_000)).toBeLessThanOrEqual(501);
      lastUs = localUs;
    }
    const errorUs = (lastUs ?? 0) - (ZERO_US + 1_999 * 250_000 * 1.0001);
    expect(Math.abs(errorUs)).toBeLessThan(2_000);
  });

  test("one wild reading changes nothing, three are a jump", () => {
    const clock = new ContextClock();
    for (let i = 0; i < 5; i++) clock.update(i, ZERO_US + i * 1e6);
    clock.update(5, ZERO_US + 8e6);
    clock.update(6, ZERO_US + 6e6);
    expect(clock.toLocalUs(6)).toBe(ZERO_US + 6e6);
    // Suspended for five seconds.
    for (let i = 7; i < 10; i++) clock.update(i, ZERO_US + (i + 5) * 1e6);
    expect(clock.toLocalUs(10)).toBe(ZERO_US + 15e6);
  });

  test("readings that are no numbers are not taken", () => {
    const clock = new ContextClock();
    clock.update(Number.NaN, ZERO_US);
    clock.update(1, ZERO_US + 1e6);
    expect(clock.toLocalUs(2)).toBe(ZERO_US + 2e6);
  });
});

describe("the clock of captured frames", () => {
  test("takes out how late frames come", () => {
    const clock = new CaptureClock();
    let lastUs = 0;
    for (let i = 0; i < 300; i++) {
      const capturedUs = ZERO_US + i * 33_333;
      lastUs = clock.frame(5_000 + i * 33_333, capturedUs + 2_000 + noise(i) * 30_000);
    }
    // Two milliseconds are always there, and cannot be known.
    expect(Math.abs(lastUs - (ZERO_US + 299 * 33_333 + 2_000))).toBeLessThan(1_500);
  });

  test("never goes back, and never ahead of now", () => {
    const clock = new CaptureClock();
    const timesUs = [clock.frame(0, ZERO_US), clock.frame(0, ZERO_US + 10), clock.frame(-500, ZERO_US + 20)];
    expect(timesUs[0]).toBe(ZERO_US);
    for (let i = 1; i < timesUs.length; i++) expect(timesUs[i]).toBeGreaterThan(timesUs[i - 1] ?? 0);
    expect(clock.frame(1e6, ZERO_US + 30)).toBeLessThanOrEqual(ZERO_US + 30);
  });

  test("of another source go on rising", () => {
    const clock = new CaptureClock();
    const lastUs = clock.frame(0, ZERO_US);
    const next = clock.successor();
    expect(next.frame(77_000_000, ZERO_US - 5_000)).toBe(lastUs + 1);
    expect(next.frame(77_100_000, ZERO_US + 95_000)).toBe(ZERO_US + 95_000);
  });

  test("a repeated frame is of now", () => {
    const clock = new CaptureClock();
    clock.frame(0, ZERO_US);
    expect(clock.repeated(ZERO_US + 1e6)).toBe(ZERO_US + 1e6);
  });
});
