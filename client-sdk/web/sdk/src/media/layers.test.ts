import { describe, expect, it } from "vitest";
import { Random } from "../protocol/testing.js";
import type { EncodedFrame } from "./frames.js";
import {
  LayerSelector,
  MAX_CANDIDATE_BYTES,
  SILENT_LAYER_MS,
  STALE_TIMESTAMPS_MS,
  type TakenFrame,
} from "./layers.js";

type Name = "low" | "high";

function frame(timestampUs: number, isKey = false, bytes = 1): EncodedFrame {
  const payload = new Uint8Array(bytes);
  return { key: isKey, timestampUs, sequence: timestampUs, discardable: false, payload };
}

function shown(taken: TakenFrame<Name>[]): string[] {
  return taken.map(({ layer, frame, hidden }) => `${layer} ${frame.timestampUs}${hidden ? " hidden" : ""}`);
}

describe("LayerSelector", () => {
  it("takes the first layer that comes", () => {
    const selector = new LayerSelector<Name>();
    const [taken] = selector.take("low", frame(1, true), 0);
    expect(taken).toMatchObject({ layer: "low", hidden: false, restarted: false });
    expect(selector.take("low", frame(2), 0)).toHaveLength(1);
  });

  it("switches with a newer key frame, and drops what still comes of the old layer", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(10, true), 0);
    const [taken] = selector.take("high", frame(12, true), 1);
    expect(taken).toMatchObject({ layer: "high", hidden: false });
    expect(selector.take("low", frame(11), 2)).toEqual([]);
    expect(selector.take("low", frame(13), 2)).toEqual([]);
    expect(selector.lateFrames).toBe(2);
    expect(selector.current).toBe("high");
  });

  it("does not switch without a key frame", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(10, true), 0);
    expect(selector.take("high", frame(11), SILENT_LAYER_MS - 1)).toEqual([]);
    expect(selector.needsKeyFrame).toBe(false);
    expect(selector.take("high", frame(12), SILENT_LAYER_MS)).toEqual([]);
    expect(selector.needsKeyFrame, "nothing else comes").toBe(true);
    expect(selector.current).toBe("low");
    expect(selector.take("high", frame(13, true), SILENT_LAYER_MS)).toHaveLength(1);
    expect(selector.needsKeyFrame).toBe(false);
  });

  it("catches up with a group that is older than what was shown", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(10, true), 0);
    expect(selector.take("high", frame(8, true), 1)).toEqual([]);
    expect(selector.take("high", frame(10), 1)).toEqual([]);
    // Meanwhile the old layer is still the one that is seen.
    expect(shown(selector.take("low", frame(11), 2))).toEqual(["low 11"]);
    expect(shown(selector.take("high", frame(12), 3))).toEqual([
      "high 8 hidden",
      "high 10 hidden",
      "high 12",
    ]);
    expect(shown(selector.take("high", frame(13), 3))).toEqual(["high 13"]);
  });

  it("leaves a layer of which nothing comes", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(100, true), 0);
    expect(selector.take("high", frame(50, true), 1)).toEqual([]);
    expect(shown(selector.take("high", frame(51), SILENT_LAYER_MS))).toEqual([
      "high 50 hidden",
      "high 51 hidden",
    ]);
    expect(selector.current).toBe("high");
  });

  it("bounds what waits of another layer", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(100, true), 0);
    for (let at = 0; at <= 8; at++)
      selector.take("high", frame(10 + at, at === 0, MAX_CANDIDATE_BYTES / 8), 1);
    expect(selector.lateFrames).toBe(9);
    expect(selector.take("high", frame(101), 2)).toEqual([]);
    expect(shown(selector.take("high", frame(102, true), 2))).toEqual(["high 102"]);
  });

  it("begins time anew when nothing newer comes for long", () => {
    const selector = new LayerSelector<Name>();
    selector.take("low", frame(1e9, true), 0);
    expect(shown(selector.take("low", frame(5), 100))).toEqual(["low 5 hidden"]);
    const [taken] = selector.take("low", frame(6), 100 + STALE_TIMESTAMPS_MS);
    expect(taken).toMatchObject({ hidden: false, restarted: true });
    expect(selector.take("low", frame(7), 101 + STALE_TIMESTAMPS_MS)[0]).toMatchObject({
      hidden: false,
      restarted: false,
    });
  });

  it("shows ascending timestamps, and decodes no delta without its key frame (200 seeds)", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed);
      const selector = new LayerSelector<Name>();
      const clocks = { low: 100, high: 100 };
      let sending: Name = "low";
      let newest = -1;
      let decoding: Name | undefined;
      const groups = { low: 0, high: 0 };
      let groupDecoded = -1;
      let group = 0;
      for (let step = 0; step < 300; step++) {
        const change = random.once(25);
        if (change) sending = sending === "low" ? "high" : "low";
        // Mostly what is sent now; sometimes something late of the other layer.
        const other: Name = sending === "low" ? "high" : "low";
        const layer: Name = random.once(10) ? other : sending;
        const isKey = (change && layer === sending) || groups[layer] === 0;
        if (isKey) groups[layer] = ++group;
        if (layer === sending)
          clocks[layer] = Math.max(clocks.low, clocks.high) - (change ? random.below(4) : 0) + 1;
        else clocks[layer]++;
        const marked = { ...frame(clocks[layer], isKey), sequence: groups[layer] };
        for (const taken of selector.take(layer, marked, step * 33)) {
          if (taken.layer !== decoding) {
            expect(taken.frame.key, `seed ${seed}, step ${step}`).toBe(true);
          }
          decoding = taken.layer;
          if (taken.frame.key) groupDecoded = taken.frame.sequence;
          expect(taken.frame.sequence).toBe(groupDecoded);
          if (taken.restarted) newest = -1;
          if (taken.hidden) continue;
          expect(taken.frame.timestampUs).toBeGreaterThan(newest);
          newest = taken.frame.timestampUs;
        }
      }
      expect(selector.current).toBe(decoding);
    }
  });
});
