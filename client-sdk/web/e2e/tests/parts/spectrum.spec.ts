/** The analysis of sound and figures, on sound that is known. */

import { expect, test } from "@playwright/test";
import { percentile } from "../../checks/figures.js";
import type { PictureSample } from "../../checks/probe.js";
import { flashesAtMs, skewsMs } from "../../checks/skew.js";
import { gaps, levelDb, onsets, peaks, shareOf } from "../../checks/spectrum.js";

const RATE = 48_000;

function sound(seconds: number, sample: (index: number) => number): Float32Array {
  return Float32Array.from({ length: seconds * RATE }, (_, index) => sample(index));
}

const tone = (hz: number, index: number) => Math.sin((2 * Math.PI * hz * index) / RATE);

test("tones are found by frequency, the louder first", () => {
  const both = sound(1, (index) => 0.5 * tone(440, index) + 0.2 * tone(880, index));
  const [first, second] = peaks(both, RATE);
  expect(first?.hz).toBeCloseTo(440, 0);
  expect(second?.hz).toBeCloseTo(880, 0);
  expect(first?.share).toBeCloseTo(0.25 / 0.29, 1);
  expect(shareOf(both, RATE, 620)).toBeLessThan(0.01);
});

test("silence has no frequency", () => {
  const silence = new Float32Array(RATE);
  expect(peaks(silence, RATE)).toEqual([]);
  expect(levelDb(silence)).toBeLessThan(-100);
});

test("the level of a full sine is -3 dB", () => {
  expect(levelDb(sound(1, (index) => tone(1000, index)))).toBeCloseTo(-3.01, 1);
});

test("gaps are found with their length, and zero crossings are none", () => {
  const broken = sound(1, (index) => (index >= 10_000 && index < 10_960 ? 0 : 0.4 * tone(620, index)));
  expect(gaps(broken, RATE, 5).map(Math.round)).toEqual([20]);
  expect(
    gaps(
      sound(1, (index) => 0.4 * tone(620, index)),
      RATE,
      5,
    ),
  ).toEqual([]);
});

test("beginnings are found after quiet only", () => {
  const beeps = sound(3, (index) =>
    index % RATE >= 0.5 * RATE && index % RATE < 0.6 * RATE ? tone(1000, index) : 0,
  );
  const found = onsets(beeps, RATE);
  expect(found).toHaveLength(3);
  found.forEach((seconds, index) => {
    expect(Math.abs(seconds - index - 0.5)).toBeLessThan(0.001);
  });
});

test("a skew is that of flash and beep that belong together", () => {
  const sample = (atMs: number, brightness: number): PictureSample => ({
    ...{ atMs, brightness, width: 640, height: 360, number: null, colour: null, fingerprint: 0 },
  });
  const seen = [100, 116, 132, 148].map((atMs, index) => sample(atMs, index === 2 ? 230 : 90));
  expect(flashesAtMs(seen)).toEqual([132]);
  expect(skewsMs([132, 1132, 5000], [100, 1150])).toEqual([32, -18]);
});

test("percentiles are values that were measured", () => {
  expect(percentile([5, 1, 4, 2, 3], 50)).toBe(3);
  expect(percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95)).toBe(10);
  expect(() => percentile([], 50)).toThrow("no value");
});
