import { describe, expect, it } from "vitest";
import { Pace } from "./pace.js";

/** When attempts begin in the first minute, and how long each may take. */
function attempts(rttMs: number, random: () => number): { atMs: number; lifeMs: number }[] {
  const pace = new Pace(1_000, rttMs, random);
  const found = [];
  while (pace.nextMs < 61_000) {
    const atMs = pace.nextMs;
    found.push({ atMs: atMs - 1_000, lifeMs: pace.begin(atMs) });
  }
  return found;
}

describe("Pace", () => {
  it("is steady first and rare later", () => {
    const at = attempts(40, () => 0.5).map(({ atMs }) => atMs);
    const gaps = at.slice(1).map((atMs, i) => ({ from: at[i] ?? 0, gap: atMs - (at[i] ?? 0) }));
    for (const { from, gap } of gaps) {
      if (from < 15_000) expect(gap).toBe(1_500);
      else expect(gap).toBeGreaterThan(1_500);
    }
    expect(gaps.filter(({ from }) => from > 30_000).length).toBeLessThan(10);
  });

  it("gives a handshake on a long path the time that it takes", () => {
    const [first, second] = attempts(900, () => 0.5);
    expect(first?.lifeMs).toBe(3 * 1_800);
    expect(second?.atMs).toBe(1_800);
  });

  it("spreads the clients of a server that cannot help", () => {
    const next = (random: number) => {
      const pace = new Pace(0, 0, () => random);
      pace.begin(0);
      pace.putOff(0);
      return pace.nextMs;
    };
    expect(next(0)).toBeLessThan(next(0.99));
  });

  it("hurries when the network is back", () => {
    const pace = new Pace(0, 0, () => 0.5);
    pace.begin(0);
    pace.hurry(100);
    expect(pace.nextMs).toBe(100);
    pace.hurry(200);
    expect(pace.nextMs).toBe(100);
  });
});
