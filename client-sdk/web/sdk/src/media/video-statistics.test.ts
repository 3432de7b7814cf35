import { describe, expect, it } from "vitest";
import { VideoStatistics } from "./video-statistics.js";

const MS = 1000;

describe("VideoStatistics", () => {
  it("counts over the last two seconds", () => {
    const statistics = new VideoStatistics();
    for (let i = 0; i < 150; i++) {
      const nowUs = i * 40 * MS;
      statistics.unit(1000, 0, nowUs);
      statistics.frame(i * 40 * MS, nowUs);
      statistics.shown((i < 100 ? 500 : i - 100) * MS, nowUs);
    }
    const figures = statistics.figures(149 * 40 * MS);
    expect(figures.framesPerSecond).toBe(25);
    expect(figures.bitrateBps).toBe(200_000);
    expect(figures).toMatchObject({ jitterMs: 0, loss: 0, latencyP50Ms: 24, latencyP95Ms: 47 });
    expect(statistics.figures(20_000 * MS)).toMatchObject({
      framesPerSecond: 0,
      bitrateBps: 0,
      latencyP95Ms: 0,
    });
  });

  it("tells loss from not having been forwarded", () => {
    const statistics = new VideoStatistics();
    for (let i = 0; i < 9; i++) statistics.unit(1, i === 4 ? 1 : 0, i);
    expect(statistics.figures(9).loss).toBe(0.1);
    statistics.unit(1, 100_000, 9);
    expect(statistics.figures(9).loss).toBeCloseTo(1 / 11, 5);
  });

  it("measures jitter as RFC 3550 does", () => {
    const statistics = new VideoStatistics();
    for (let i = 0; i < 500; i++) statistics.frame(i * 40 * MS, i * 40 * MS + (i % 2) * 10 * MS);
    expect(statistics.figures(0).jitterMs).toBeCloseTo(10, 3);
  });
});
