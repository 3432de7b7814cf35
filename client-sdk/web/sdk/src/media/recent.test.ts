import { describe, expect, test } from "vitest";
import { percentile, Recent } from "./recent.js";

test("a percentile is the value of the nearest rank", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect(percentile(hundred, 0.95)).toBe(95);
  expect(percentile(hundred, 0.5)).toBe(50);
  expect(percentile(hundred, 0)).toBe(1);
  expect(percentile(hundred, 1)).toBe(100);
  expect(percentile([7], 0.95)).toBe(7);
  expect(percentile([1, 2], 0.5)).toBe(1);
  expect(percentile([], 0.5)).toBeUndefined();
});

describe("recent values", () => {
  test("are forgotten after the window", () => {
    const recent = new Recent(1_000);
    for (let ms = 0; ms < 2_000; ms += 100) recent.add(ms, ms);
    expect(recent.values(1_900)).toEqual([
      1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 1_600, 1_700, 1_800, 1_900,
    ]);
    expect(recent.values(2_500)).toEqual([1_600, 1_700, 1_800, 1_900]);
    expect(recent.values(10_000)).toEqual([]);
  });

  test("per second are over the time that there is, at least half a second, and the window at most", () => {
    const recent = new Recent(2_000);
    expect(recent.perSecond(0)).toBe(0);
    recent.add(10, 0);
    expect(recent.perSecond(0)).toBe(20);
    expect(recent.perSecond(1_000)).toBe(10);
    recent.add(10, 1_500);
    expect(recent.perSecond(3_000)).toBe(5);
    expect(recent.perSecond(9_000)).toBe(0);
  });

  test("have percentiles by number, not by text", () => {
    const recent = new Recent(1_000);
    for (const value of [100, 9, 20]) recent.add(value, 0);
    expect(recent.percentile(0.5, 0)).toBe(20);
    expect(recent.percentile(0.95, 0)).toBe(100);
    expect(recent.percentile(0.5, 5_000)).toBe(0);
  });
});
