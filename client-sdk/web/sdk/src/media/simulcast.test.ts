import { describe, expect, test } from "vitest";
import { fitLayer, type LayerPlan, planLayers, suitableBitrateBps, type VideoPlan } from "./simulcast.js";

const CAMERA = { type: "camera", codec: "VP8", width: 1280, height: 720, framerate: 30 } satisfies VideoPlan;

function shape(layers: readonly LayerPlan[]): string[] {
  return layers.map(({ layerId, width, height }) => `${layerId} ${width}x${height}`);
}

function totalBps(layers: readonly LayerPlan[]): number {
  return layers.reduce((sum, layer) => sum + layer.maxBitrateBps, 0);
}

describe("layers", () => {
  test("of cameras follow the size of the capture", () => {
    expect(shape(planLayers(CAMERA))).toEqual(["low 320x180", "mid 640x360", "high 1280x720"]);
    expect(shape(planLayers({ ...CAMERA, width: 640, height: 360 }))).toEqual([
      "low 320x180",
      "high 640x360",
    ]);
    expect(shape(planLayers({ ...CAMERA, width: 640, height: 480 }))).toEqual([
      "low 278x208",
      "high 640x480",
    ]);
    expect(shape(planLayers({ ...CAMERA, width: 320, height: 240 }))).toEqual([" 320x240"]);
    expect(shape(planLayers({ ...CAMERA, width: 720, height: 1280 }))).toEqual([
      "low 180x320",
      "mid 360x640",
      "high 720x1280",
    ]);
  });

  test("the lowest stays low however large the capture is", () => {
    expect(shape(planLayers({ ...CAMERA, width: 1920, height: 1080 }))[0]).toBe("low 320x180");
  });

  test("screens, and cameras without simulcast, have one", () => {
    expect(shape(planLayers({ ...CAMERA, type: "screen", width: 1920, height: 1080 }))).toEqual([
      " 1920x1080",
    ]);
    expect(shape(planLayers({ ...CAMERA, simulcast: false }))).toEqual([" 1280x720"]);
  });

  test("of a screen have the same budget of pixels however large it is when sharing begins", () => {
    const screen = (width?: number, height?: number) =>
      planLayers({ ...CAMERA, type: "screen", width, height });
    const [full] = screen(1920, 1080);
    expect(screen(640, 360)).toEqual([full]);
    expect(screen(3840, 2160)).toEqual([full]);
    expect(screen(0, 0)).toEqual([full]);
    expect(screen()).toEqual([full]);
    expect(shape(screen(800, 600))).toEqual([" 1662x1246"]);
    expect(shape(screen(300, 1200))).toEqual([" 720x2880"]);
  });

  test("of a camera that does not say its size are those of a usual one", () => {
    const usual = planLayers({ ...CAMERA, width: 640, height: 360 });
    expect(planLayers({ ...CAMERA, width: 0, height: 0 })).toEqual(usual);
    expect(planLayers({ ...CAMERA, width: undefined, height: undefined })).toEqual(usual);
  });

  test("rise in size and bit rate", () => {
    const bitrates = planLayers(CAMERA).map((layer) => layer.maxBitrateBps);
    expect(bitrates).toEqual([200_000, 600_000, 1_770_000]);
  });

  test("all together keep to a limit; the top is left out before all starve", () => {
    const some = planLayers({ ...CAMERA, maxBitrateBps: 2_000_000 });
    expect(some).toHaveLength(3);
    expect(totalBps(some)).toBeLessThanOrEqual(2_000_000);
    const few = planLayers({ ...CAMERA, maxBitrateBps: 700_000 });
    expect(shape(few)).toEqual(["low 320x180", "mid 640x360"]);
    expect(totalBps(few)).toBeLessThanOrEqual(700_000);
    const one = planLayers({ ...CAMERA, maxBitrateBps: 100_000 });
    expect(one).toEqual([{ layerId: "", width: 320, height: 180, maxBitrateBps: 100_000 }]);
    expect(planLayers({ ...CAMERA, maxBitrateBps: 9_000_000 })).toEqual(planLayers(CAMERA));
  });
});

test("bit rates follow size, frame rate, codec and purpose", () => {
  expect(suitableBitrateBps({ ...CAMERA, width: 640, height: 360 })).toBe(600_000);
  expect(suitableBitrateBps({ ...CAMERA, framerate: 15 })).toBeLessThan(suitableBitrateBps(CAMERA));
  expect(suitableBitrateBps({ ...CAMERA, codec: "AV1" })).toBeLessThan(suitableBitrateBps(CAMERA));
  expect(suitableBitrateBps({ ...CAMERA, type: "screen" })).toBeGreaterThan(suitableBitrateBps(CAMERA));
  expect(suitableBitrateBps({ ...CAMERA, width: 0, height: 0, framerate: 0 })).toBe(50_000);
});

describe("the size of a layer's pictures", () => {
  const low = { width: 320, height: 180 };

  test("is the layer's for the picture that was announced", () => {
    expect(fitLayer(low, 1280, 720)).toEqual({ width: 320, height: 180 });
  });

  test("keeps the shape of another one", () => {
    expect(fitLayer(low, 720, 1280)).toEqual({ width: 180, height: 320 });
    expect(fitLayer(low, 640, 480)).toEqual({ width: 278, height: 208 });
  });

  test("is never larger than the picture, and even", () => {
    expect(fitLayer({ width: 1280, height: 720 }, 640, 360)).toEqual({ width: 640, height: 360 });
    expect(fitLayer({ width: 0, height: 0 }, 641, 361)).toEqual({ width: 640, height: 360 });
    expect(fitLayer(low, 1, 1)).toEqual({ width: 2, height: 2 });
  });
});
