import { describe, expect, it } from "vitest";
import { Random } from "../protocol/testing.js";
import type { Layer } from "../types.js";
import { type Allocation, allocate, type Tile } from "./allocation.js";

const LAYERS: Layer[] = [
  { layerId: "low", wireStreamId: "l", width: 320, height: 180, maxBitrateBps: 150_000 },
  { layerId: "mid", wireStreamId: "m", width: 640, height: 360, maxBitrateBps: 500_000 },
  { layerId: "high", wireStreamId: "h", width: 1280, height: 720, maxBitrateBps: 1_500_000 },
];

function tile(streamId: string, heightPx: number, priority = 0, layers = LAYERS): Tile {
  return { streamId, layers, widthPx: Math.round((heightPx * 16) / 9), heightPx, priority };
}

function ids(allocations: Map<string, Allocation>): Record<string, string> {
  return Object.fromEntries(
    [...allocations].map(([id, allocation]) => [id, allocation === "none" ? "none" : allocation.layerId]),
  );
}

function totalBps(tiles: readonly Tile[], allocations: ReadonlyMap<string, Allocation>): number {
  let total = 0;
  for (const { streamId, layers } of tiles) {
    const allocation = allocations.get(streamId) ?? "none";
    const layer = layers.find((one) => allocation !== "none" && one.layerId === allocation.layerId);
    total += layer?.maxBitrateBps ?? 0;
  }
  return total;
}

describe("allocate", () => {
  it("asks for no more than a tile can show", () => {
    const tiles = [
      tile("a", 180),
      tile("b", 240),
      tile("c", 241),
      tile("d", 480),
      tile("e", 481),
      tile("f", 2000),
    ];
    expect(ids(allocate(tiles, 0))).toEqual({ a: "low", b: "low", c: "mid", d: "mid", e: "high", f: "high" });
  });

  it("asks for nothing that is not visible", () => {
    expect(ids(allocate([tile("a", 0), tile("b", 100), tile("c", 100, 0, [])], 0))).toEqual({
      a: "none",
      b: "low",
      c: "none",
    });
    expect(allocate([], 1000).size).toBe(0);
  });

  it("gives everything its lowest layer before anything is raised", () => {
    const tiles = [tile("a", 1000, 5), tile("b", 1000), tile("c", 1000)];
    expect(ids(allocate(tiles, 450_000))).toEqual({ a: "low", b: "low", c: "low" });
  });

  it("raises the more important first", () => {
    const tiles = [tile("a", 720), tile("b", 720, 1), tile("c", 720)];
    expect(ids(allocate(tiles, 2_100_000))).toEqual({ a: "low", b: "high", c: "low" });
    expect(ids(allocate(tiles, 1_000_000))).toEqual({ a: "low", b: "mid", c: "low" });
  });

  it("raises among equals where it is seen most", () => {
    const tiles = [tile("small", 250), tile("large", 480)];
    expect(ids(allocate(tiles, 800_000))).toEqual({ small: "low", large: "mid" });
  });

  it("leaves the least important out when not even the lowest layers fit, but never all", () => {
    const tiles = [tile("a", 180, 1), tile("b", 180, 3), tile("c", 180, 2)];
    expect(ids(allocate(tiles, 310_000))).toEqual({ a: "none", b: "low", c: "low" });
    expect(ids(allocate(tiles, 1))).toEqual({ a: "none", b: "low", c: "none" });
  });

  it("guesses for streams that declare little", () => {
    const bare: Layer[] = [
      { layerId: "", wireStreamId: "x", width: 0, height: 0, maxBitrateBps: 0 },
      { layerId: "2", wireStreamId: "y", width: 0, height: 0, maxBitrateBps: 0 },
    ];
    expect(ids(allocate([tile("a", 100, 0, bare)], 0))).toEqual({ a: "2" });
    expect(ids(allocate([tile("a", 100, 0, bare)], 600_000))).toEqual({ a: "" });
  });

  it("keeps a layer until the downlink really carries less, and raises only with room to spare", () => {
    const tiles = [tile("a", 720)];
    const raised = allocate(tiles, 1_750_000);
    expect(ids(raised)).toEqual({ a: "high" });
    expect(ids(allocate(tiles, 1_500_000, raised))).toEqual({ a: "high" });
    const lowered = allocate(tiles, 1_499_000, raised);
    expect(ids(lowered)).toEqual({ a: "mid" });
    expect(ids(allocate(tiles, 1_700_000, lowered))).toEqual({ a: "mid" });
    expect(ids(allocate(tiles, 1_750_000, lowered))).toEqual({ a: "high" });
  });

  it("keeps a layer while a tile's size wavers", () => {
    const large = allocate([tile("a", 490)], 0);
    expect(ids(large)).toEqual({ a: "high" });
    expect(ids(allocate([tile("a", 470)], 0, large))).toEqual({ a: "high" });
    expect(ids(allocate([tile("a", 420)], 0, large))).toEqual({ a: "mid" });
  });

  it("is the same in any order, within the limit, and at rest after the first time (2000 seeds)", () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const random = new Random(seed);
      const tiles = Array.from({ length: 1 + random.below(25) }, (_, i) =>
        tile(`s${i}`, random.below(10) * 90, random.below(3), LAYERS.slice(0, 1 + random.below(3))),
      );
      const limitBps = random.once(5) ? 0 : 150_000 + random.below(12_000_000);
      const first = allocate(tiles, limitBps);
      if (limitBps > 0) expect(totalBps(tiles, first), `seed ${seed}`).toBeLessThanOrEqual(limitBps);
      expect(ids(allocate([...tiles].reverse(), limitBps))).toEqual(
        Object.fromEntries(Object.entries(ids(first)).reverse()),
      );
      expect(ids(allocate(tiles, limitBps, first)), `seed ${seed}`).toEqual(ids(first));
      // A more important tile is never worse off than an equal one that matters less.
      for (const a of tiles) {
        for (const b of tiles) {
          if (a.heightPx !== b.heightPx || a.layers.length !== b.layers.length || a.priority <= b.priority)
            continue;
          const rank = (one: Tile) => {
            const allocation = first.get(one.streamId) ?? "none";
            return one.layers.findIndex((l) => allocation !== "none" && l.layerId === allocation.layerId);
          };
          expect(rank(a), `seed ${seed}`).toBeGreaterThanOrEqual(rank(b));
        }
      }
    }
  });

  it("does not flap while the estimate wavers by 5 % (200 seeds)", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed);
      const tiles = Array.from({ length: 2 + random.below(8) }, (_, i) =>
        tile(`s${i}`, 720, random.below(2)),
      );
      const aboutBps = 1_000_000 + random.below(10_000_000);
      // Once the least and the most have been seen, what is new included, nothing changes any more.
      let present = allocate(tiles, aboutBps * 0.95);
      for (const share of [1.05, 0.95, 1.05]) present = allocate(tiles, aboutBps * share, present);
      for (let i = 0; i < 30; i++) {
        const next = allocate(tiles, aboutBps * (0.95 + random.below(1000) / 10_000), present);
        expect(ids(next), `seed ${seed}`).toEqual(ids(present));
        present = next;
      }
    }
  });
});
