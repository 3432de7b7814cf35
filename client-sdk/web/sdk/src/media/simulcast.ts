/**
 * Which layers a publisher encodes: their sizes and bit rates (docs/protocol.md 4.3).
 *
 * A layer's size is a budget of pixels in the shape of the picture that was announced. A picture of another shape, from another
 * camera or a telephone that was turned, is scaled into the same budget and keeps its own shape.
 */

import type { StreamType } from "../types.js";
import type { VideoCodec } from "./codec.js";

/** A layer to be encoded, and announced. */
export interface LayerPlan {
  /** `low`, `mid` or `high`; empty for the only layer of a stream without simulcast. */
  readonly layerId: string;
  /** Pixels, even. */
  readonly width: number;
  readonly height: number;
  /** bit/s that the encoder is given when nothing speaks against it. */
  readonly maxBitrateBps: number;
}

/** What is known of a video before it is published. */
export interface VideoPlan {
  readonly type: StreamType;
  readonly codec: VideoCodec;
  /** What the capture delivers, pixels. Absent or 0: not known yet, as of a canvas in some browsers. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly framerate: number;
  /** bit/s of all layers together; absent or 0 = what suits them. */
  readonly maxBitrateBps?: number | undefined;
  /** Absent = for cameras. */
  readonly simulcast?: boolean | undefined;
}

/** From this many pixels on there is a layer between the lowest and the highest: 960×540. */
const THREE_LAYERS_PIXELS = 960 * 540;
/** From this many on there are two: 480×270. Smaller pictures have nothing to be halved. */
const TWO_LAYERS_PIXELS = 480 * 270;
/** The lowest layer is for small tiles and bad networks; more is of no use there. */
const LOW_PIXELS = 320 * 180;
/** Layers below this share of what suits them are not worth their cost: they are left out from the top. */
const LEAST_SHARE = 0.6;
/** No layer is given less. */
const MIN_BITRATE_BPS = 50_000;

/** What 640×360 at 30 frames per second of a camera need in VP8. */
const BASE_BITRATE_BPS = 600_000;
const BASE_PIXELS = 640 * 360;
const BASE_FRAMERATE = 30;
/** Larger pictures have more in common with their neighbours: four times the pixels need three times the bits. */
const PIXEL_EXPONENT = 0.78;
const FRAMERATE_EXPONENT = 0.6;
/** Bits for the same quality, as the realtime encoders of browsers have it. H.264 is baseline. */
const CODEC_FACTOR: Readonly<Record<VideoCodec, number>> = { VP8: 1, H264: 1.1, VP9: 0.8, AV1: 0.7 };
/** Of a camera that does not say its size. */
const USUAL_CAMERA = { width: 640, height: 360 };
/** What screens are planned for, however large they are when sharing begins: windows grow, and more is too much to encode. */
const SCREEN = { width: 1920, height: 1080 };
/** Text has to be sharp. */
const SCREEN_FACTOR = 1.3;

/** bit/s that suit such a picture, rounded to 10 kbit/s. */
export function suitableBitrateBps(
  plan: Pick<VideoPlan, "type" | "codec" | "framerate"> & { readonly width: number; readonly height: number },
): number {
  const pixels = Math.max(plan.width * plan.height, 1);
  const bps =
    BASE_BITRATE_BPS *
    (pixels / BASE_PIXELS) ** PIXEL_EXPONENT *
    (Math.max(plan.framerate, 1) / BASE_FRAMERATE) ** FRAMERATE_EXPONENT *
    CODEC_FACTOR[plan.codec] *
    (plan.type === "screen" ? SCREEN_FACTOR : 1);
  return Math.max(Math.round(bps / 10_000) * 10_000, MIN_BITRATE_BPS);
}

/**
 * The layers to publish, from the lowest to the highest; at least one. 1280×720: low 320×180, mid 640×360, high 1280×720.
 * 640×360: low 320×180, high 640×360. A screen has one: scaled down it could not be read.
 */
export function planLayers(plan: VideoPlan): LayerPlan[] {
  const whole = pictureSize(plan);
  let layers = sizes(plan, whole.width * whole.height).map(({ layerId, scale }) => {
    const size = {
      width: even(whole.width * scale, whole.width),
      height: even(whole.height * scale, whole.height),
    };
    return { layerId, ...size, maxBitrateBps: suitableBitrateBps({ ...plan, ...size }) };
  });
  const limitBps = plan.maxBitrateBps ?? 0;
  if (limitBps > 0) layers = withinLimit(layers, limitBps);
  return layers.length === 1 ? layers.map((layer) => ({ ...layer, layerId: "" })) : layers;
}

/** The picture to plan for: of a camera what it delivers, of a screen always as many pixels, in the shape that it has. */
function pictureSize({ type, width, height }: VideoPlan): { width: number; height: number } {
  const isKnown = width !== undefined && height !== undefined && width > 0 && height > 0;
  if (!isKnown) return type === "screen" ? SCREEN : USUAL_CAMERA;
  if (type !== "screen") return { width, height };
  const scale = Math.sqrt((SCREEN.width * SCREEN.height) / (width * height));
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

function sizes(plan: VideoPlan, pixels: number): { layerId: string; scale: number }[] {
  const high = { layerId: "high", scale: 1 };
  const isSimulcast = plan.simulcast ?? plan.type === "camera";
  if (!isSimulcast || pixels < TWO_LAYERS_PIXELS) return [high];
  const largestLow = Math.sqrt(LOW_PIXELS / pixels);
  if (pixels < THREE_LAYERS_PIXELS) return [{ layerId: "low", scale: Math.min(0.5, largestLow) }, high];
  return [{ layerId: "low", scale: Math.min(0.25, largestLow) }, { layerId: "mid", scale: 0.5 }, high];
}

/** Leaves out layers from the top until the others get enough, and shares what there is among them. */
function withinLimit(layers: LayerPlan[], limitBps: number): LayerPlan[] {
  let kept = layers;
  while (kept.length > 1 && totalBps(kept) * LEAST_SHARE > limitBps) kept = kept.slice(0, -1);
  const share = Math.min(limitBps / totalBps(kept), 1);
  return kept.map((layer) => ({
    ...layer,
    maxBitrateBps: Math.max(Math.floor(layer.maxBitrateBps * share), MIN_BITRATE_BPS),
  }));
}

function totalBps(layers: readonly LayerPlan[]): number {
  return layers.reduce((sum, layer) => sum + layer.maxBitrateBps, 0);
}

/**
 * The size at which a picture of `width` × `height` is encoded for a layer: it keeps its shape, is never enlarged, has no more
 * pixels than the layer (0 × 0 = any number), and is even, because encoders halve the colours and some fail at odd sizes.
 */
export function fitLayer(
  layer: { readonly width: number; readonly height: number },
  width: number,
  height: number,
): { width: number; height: number } {
  const budget = layer.width * layer.height;
  const scale = budget > 0 ? Math.min(Math.sqrt(budget / (width * height)), 1) : 1;
  return { width: even(width * scale, width), height: even(height * scale, height) };
}

/** The even number next to `length` that is not over `most`; at least 2. */
function even(length: number, most: number): number {
  return Math.max(Math.min(2 * Math.round(length / 2), 2 * Math.floor(most / 2)), 2);
}
