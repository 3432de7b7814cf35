/**
 * Which layer of each stream a page should ask for, given how large it shows them and what its downlink carries.
 *
 * Everything that is visible gets its lowest layer first. What is left of the downlink raises layers, step by step:
 * the most important tiles first, among equals where a bit per second buys most pixels that can be seen. A tile gets no
 * more than it can show: a layer whose height is 75 % of the tile's is enough.
 *
 * Allocating again from the last result does not flap: what is already asked for may use all of the downlink, while a
 * higher layer, or a stream that was left out, needs some room to spare; and a tile keeps its layer while its size is
 * about the same.
 */

import type { Layer } from "../types.js";

/** A stream as it is shown. */
export interface Tile {
  readonly streamId: string;
  /** From the lowest to the highest. */
  readonly layers: readonly Layer[];
  /** Of the screen; 0 if it is not visible. */
  readonly widthPx: number;
  readonly heightPx: number;
  /** Larger numbers come first. */
  readonly priority: number;
}

/** What to ask for: a layer, or that nothing is sent. */
export type Allocation = { readonly layerId: string } | "none";

/** Of a tile's height; a layer with that is enough. */
const ENOUGH = 0.75;
/** A lower layer is taken in place of the present one when it has this share of the tile's height. */
const ENOUGH_TO_LOWER = 0.85;
/** Room that must be left after something is raised. */
const HEADROOM = 1.15;
/** How much more a step counts that leads to, or towards, the present layer: equals do not change places. */
const KEEP_BONUS = 1.25;
/** Bits per pixel and second of layers that do not say their bit rate: 640×360 at 30 frames/s at 2.4 bit/px. */
const GUESSED_BPS_PER_PX = 2.4;
/** Of layers that do not say their size either. */
const GUESSED_BPS = 500_000;

interface Candidate {
  readonly tile: Tile;
  /** Index of the highest layer that makes sense. */
  readonly top: number;
  /** Index of the layer it has now; -1 if none. */
  readonly present: number;
  /** Index of the layer it gets; -1 if none. */
  chosen: number;
}

/**
 * Chooses layers.
 *
 * @param tiles in any order; each stream once
 * @param availableBps what the downlink carries for video, bit/s; 0 = not known, no limit
 * @param present what was allocated last; absent = nothing was
 * @returns for every tile; "none" for those that are not visible, and for the least important if not even the lowest
 *   layers of all fit. The most important visible tile always gets something.
 */
export function allocate(
  tiles: readonly Tile[],
  availableBps: number,
  present: ReadonlyMap<string, Allocation> = new Map(),
): Map<string, Allocation> {
  const limitBps = availableBps > 0 ? availableBps : Number.POSITIVE_INFINITY;
  const visible = tiles
    .filter((tile) => tile.widthPx > 0 && tile.heightPx > 0 && tile.layers.length > 0)
    .map((tile) => candidate(tile, present.get(tile.streamId)))
    .sort(byImportance);

  let usedBps = 0;
  for (const [i, entry] of visible.entries()) {
    const needBps = layerBps(entry.tile, 0);
    const room = entry.present < 0 && present.size > 0 ? HEADROOM : 1;
    if (i > 0 && (usedBps + needBps) * room > limitBps) continue;
    entry.chosen = 0;
    usedBps += needBps;
  }
  for (;;) {
    const step = bestStep(visible, usedBps, limitBps);
    if (!step) break;
    usedBps += step.costBps;
    step.entry.chosen = step.to;
  }

  const allocations = new Map<string, Allocation>(tiles.map((tile) => [tile.streamId, "none"]));
  for (const { tile, chosen } of visible) {
    const layer = tile.layers[chosen];
    if (layer) allocations.set(tile.streamId, { layerId: layer.layerId });
  }
  return allocations;
}

function candidate(tile: Tile, allocation: Allocation | undefined): Candidate {
  const layerId = allocation === undefined || allocation === "none" ? undefined : allocation.layerId;
  const present = layerId === undefined ? -1 : tile.layers.findIndex((layer) => layer.layerId === layerId);
  let top = enoughFor(tile, ENOUGH);
  if (present > top) top = Math.min(present, enoughFor(tile, ENOUGH_TO_LOWER));
  return { tile, top, present, chosen: -1 };
}

/** Index of the lowest layer that has `share` of the tile's height; the highest if none has. */
function enoughFor(tile: Tile, share: number): number {
  const enough = tile.layers.findIndex((layer) => layer.height >= share * tile.heightPx);
  return enough < 0 ? tile.layers.length - 1 : enough;
}

/** A present holder of a layer first among equals; then by stream id, so that the order of tiles does not matter. */
function byImportance(a: Candidate, b: Candidate): number {
  const present = Math.sign(b.present + 1) - Math.sign(a.present + 1);
  return b.tile.priority - a.tile.priority || present || (a.tile.streamId < b.tile.streamId ? -1 : 1);
}

interface Step {
  readonly entry: Candidate;
  readonly to: number;
  readonly costBps: number;
  readonly worth: number;
}

/** The step up that is worth most among those of the most important tiles that fit. */
function bestStep(visible: readonly Candidate[], usedBps: number, limitBps: number): Step | undefined {
  let best: Step | undefined;
  for (const entry of visible) {
    if (best && best.entry.tile.priority > entry.tile.priority) break;
    if (entry.chosen < 0) continue;
    for (let to = entry.chosen + 1; to <= entry.top; to++) {
      const costBps = Math.max(layerBps(entry.tile, to) - layerBps(entry.tile, entry.chosen), 0);
      const kept = to <= entry.present;
      if ((usedBps + costBps) * (kept ? 1 : HEADROOM) > limitBps) continue;
      const gainPx = shownPx(entry.tile, to) - shownPx(entry.tile, entry.chosen);
      const worth = (gainPx / Math.max(costBps, 1)) * (kept ? KEEP_BONUS : 1);
      if (!best || worth > best.worth) best = { entry, to, costBps, worth };
    }
  }
  return best;
}

/** Pixels of a layer that the tile can show. Layers that do not say their size count by their order. */
function shownPx(tile: Tile, index: number): number {
  const tilePx = tile.widthPx * tile.heightPx;
  const layer = tile.layers[index];
  if (!layer) return 0;
  const layerPx = layer.width * layer.height;
  return Math.min(layerPx > 0 ? layerPx : (tilePx * (index + 1)) / tile.layers.length, tilePx);
}

function layerBps(tile: Tile, index: number): number {
  const layer = tile.layers[index];
  if (!layer) return 0;
  if (layer.maxBitrateBps > 0) return layer.maxBitrateBps;
  return layer.width * layer.height * GUESSED_BPS_PER_PX || GUESSED_BPS * (index + 1);
}
