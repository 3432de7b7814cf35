import { describe, expect, it } from "vitest";
import { LevelTeller, levelDbov, SILENCE_DBOV, SilenceGate } from "./levels.js";

describe("levelDbov", () => {
  it("is 0 for the loudest, 3 for a full sine, 127 for silence", () => {
    expect(levelDbov(1)).toBe(0);
    expect(levelDbov(0.5)).toBe(3);
    expect(levelDbov(1e-6)).toBe(60);
    for (const silent of [0, 1e-30, -1, Number.NaN]) expect(levelDbov(silent)).toBe(127);
    expect(levelDbov(4)).toBe(0);
  });
});

describe("LevelTeller", () => {
  const told = (teller: LevelTeller, level: number, fromMs: number, toMs: number) => {
    const all: [number, number][] = [];
    for (let ms = fromMs; ms < toMs; ms += 20) {
      const tell = teller.update(level, ms);
      if (tell !== undefined) all.push([ms, tell]);
    }
    return all;
  };

  it("tells five times per second while there is sound", () => {
    const teller = new LevelTeller();
    const all = told(teller, 30, 0, 2000);
    expect(all).toHaveLength(10);
    expect(all.every(([, level]) => level === 30)).toBe(true);
  });

  it("tells the beginning of sound at once and not diluted by the silence before", () => {
    const teller = new LevelTeller();
    told(teller, SILENCE_DBOV, 0, 3100);
    expect(told(teller, 25, 3100, 3120)).toEqual([[3100, 25]]);
  });

  it("tells how sound ends, then only often enough to be known to measure", () => {
    const teller = new LevelTeller();
    told(teller, 30, 0, 1000);
    const after = told(teller, SILENCE_DBOV, 1000, 11_000);
    const soon = after.filter(([ms]) => ms < 1700);
    expect(soon.length).toBeGreaterThanOrEqual(3);
    expect(soon.at(-1)?.[1]).toBe(SILENCE_DBOV);
    const times = after.map(([ms]) => ms);
    const pauses = times.slice(1).map((ms, index) => ms - (times[index] ?? 0));
    expect(Math.max(...pauses)).toBe(2000);
    expect(after.length).toBeLessThan(10);
  });

  it("tells the mean power, which a loud moment rules", () => {
    const teller = new LevelTeller();
    told(teller, 50, 0, 20);
    const all = [...told(teller, 50, 20, 200), ...told(teller, 20, 200, 220)];
    expect(all).toEqual([[200, 30]]);
  });

  it("never tells faster than ten times per second", () => {
    const teller = new LevelTeller();
    let count = 0;
    for (let ms = 0; ms < 60_000; ms += 20) {
      if (teller.update(ms % 700 < 40 ? 20 : 127, ms) !== undefined) count += 1;
    }
    expect(count).toBeLessThanOrEqual(600);
    expect(count).toBeGreaterThan(200);
  });
});

describe("SilenceGate", () => {
  const sent = (gate: SilenceGate, level: number, chunks: number) =>
    Array.from({ length: chunks }, () => gate.take(level)).filter((isSent) => isSent).length;

  it("lets sound through, and the noise of a room", () => {
    const gate = new SilenceGate();
    expect(sent(gate, 20, 100)).toBe(100);
    expect(sent(gate, 65, 100)).toBe(100);
  });

  it("sends how sound fades, then little of silence, and the next sound at once", () => {
    const gate = new SilenceGate();
    gate.take(20);
    expect(sent(gate, 127, 20)).toBe(20);
    expect(sent(gate, 127, 500)).toBe(25);
    expect(gate.take(20)).toBe(true);
  });
});
