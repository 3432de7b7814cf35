import { describe, expect, it } from "vitest";
import { RenderBursts } from "./playout-bursts.js";

/** Renders `seconds` in bursts of `quanta`, each after the time that it lasts. */
function render(bursts: RenderBursts, quanta: number, seconds: number): void {
  const burstMs = (quanta * 128) / 48;
  for (let ms = 0; ms < seconds * 1000; ms += burstMs) {
    for (let quantum = 0; quantum < quanta; quantum++) bursts.rendered(128, Math.floor(ms + quantum * 0.2));
  }
}

describe("RenderBursts", () => {
  it("is nothing when every quantum comes in its time", () => {
    const bursts = new RenderBursts();
    render(bursts, 1, 10);
    expect(bursts.ms).toBe(0);
  });

  it("is what the device takes at once beyond a quantum", () => {
    const bursts = new RenderBursts();
    render(bursts, 4, 10);
    expect(bursts.ms).toBeCloseTo(8, 6);
  });

  it("forgets a large burst after some seconds", () => {
    const bursts = new RenderBursts();
    render(bursts, 12, 1);
    render(bursts, 4, 4);
    expect(bursts.ms).toBeCloseTo(29.33, 2);
    render(bursts, 4, 11);
    expect(bursts.ms).toBeCloseTo(8, 6);
  });

  it("does not believe a clock that stands still or goes back", () => {
    const bursts = new RenderBursts();
    for (let quantum = 0; quantum < 1000; quantum++) bursts.rendered(128, 5);
    expect(bursts.ms).toBe(40);
    const backwards = new RenderBursts();
    for (let quantum = 0; quantum < 1000; quantum++) backwards.rendered(128, -3 * quantum);
    expect(backwards.ms).toBe(0);
  });
});
