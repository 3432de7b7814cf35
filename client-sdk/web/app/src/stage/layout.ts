/**
 * Where tiles go. Pure: from the size of the stage and what is to be shown to rectangles, in CSS pixels.
 *
 * Tiles of cameras are 16:9 where that leaves no room unused; else they become taller, down to an aspect that still
 * shows a face well, because a picture that is cut a little is better than an empty border.
 */

import type { Arrangement, ShownTile } from "./who-is-shown.js";

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Rect extends Size {
  readonly left: number;
  readonly top: number;
}

export interface Placement {
  readonly tile: ShownTile;
  readonly rect: Rect;
  /** Of the tiles that are shown large. */
  readonly large: boolean;
  /** Lies above the others (the own picture in a conversation of two). */
  readonly floating: boolean;
}

export interface Layout {
  readonly placements: readonly Placement[];
  /** At least 1. */
  readonly pages: number;
  /** The page that is shown, from 0: the one asked for, or the last. */
  readonly page: number;
}

const WIDE = 16 / 9;
/** As tall as tiles may be beside each other on a wide stage, and on an upright one. */
const TALLEST_LANDSCAPE = 4 / 3;
const TALLEST_PORTRAIT = 3 / 5;
/** Of a tile that has the stage for itself. */
const WIDEST_ALONE = 2.1;
const TALLEST_ALONE = 0.45;
/** Tiles that are narrower show nothing any more. */
const LEAST_WIDTH = 150;
const MOST_PER_PAGE = 25;
/** On a phone: as many pictures as the shipped presets let phones have; more faces are too small to know anybody. */
const MOST_PER_SMALL_PAGE = 6;
/** Stages with a side shorter than this are phones. */
const SMALL_STAGE = 500;

/** Distance between tiles. */
export function gapOf(size: Size): number {
  return Math.min(size.width, size.height) < SMALL_STAGE ? 6 : 10;
}

interface Grid {
  readonly columns: number;
  readonly rows: number;
  readonly tile: Size;
}

/** The columns that make `count` tiles largest. */
export function bestGrid(count: number, size: Size, gap: number): Grid {
  const tallest = size.width >= size.height ? TALLEST_LANDSCAPE : TALLEST_PORTRAIT;
  let best: Grid = { columns: 1, rows: Math.max(1, count), tile: { width: 0, height: 0 } };
  let bestScore = -1;
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (size.width - gap * (columns - 1)) / columns;
    const cellHeight = (size.height - gap * (rows - 1)) / rows;
    if (cellWidth <= 0 || cellHeight <= 0) continue;
    const aspect = Math.min(WIDE, Math.max(tallest, cellWidth / cellHeight));
    const width = Math.min(cellWidth, cellHeight * aspect);
    const height = width / aspect;
    const score = width * height;
    if (score > bestScore) {
      bestScore = score;
      best = { columns, rows, tile: { width: Math.floor(width), height: Math.floor(height) } };
    }
  }
  return best;
}

/** Rectangles of `count` tiles in `area`, from left to right; a last row that is not full is in the middle. */
export function gridRects(count: number, area: Rect, gap: number): Rect[] {
  if (count === 0) return [];
  const { columns, rows, tile } = bestGrid(count, area, gap);
  const top = area.top + (area.height - rows * tile.height - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = area.left + (area.width - inRow * tile.width - (inRow - 1) * gap) / 2;
    return {
      left: Math.round(left + (index % columns) * (tile.width + gap)),
      top: Math.round(top + row * (tile.height + gap)),
      width: tile.width,
      height: tile.height,
    };
  });
}

/** How many tiles fit on a page of the grid without becoming too small. */
export function gridCapacity(size: Size): number {
  const gap = gapOf(size);
  const most = Math.min(size.width, size.height) < SMALL_STAGE ? MOST_PER_SMALL_PAGE : MOST_PER_PAGE;
  for (let count = most; count > 1; count--) {
    if (bestGrid(count, size, gap).tile.width >= LEAST_WIDTH) return count;
  }
  return 1;
}

function pageOf<T>(items: readonly T[], perPage: number, page: number) {
  const pages = Math.max(1, Math.ceil(items.length / Math.max(1, perPage)));
  const shown = Math.min(Math.max(0, page), pages - 1);
  return { pages, page: shown, items: items.slice(shown * perPage, (shown + 1) * perPage) };
}

/** The strip of small tiles beside or below the large ones. */
function strip(
  size: Size,
  gap: number,
): { area: Rect; main: Rect; capacity: number; tile: Size; upright: boolean } {
  if (size.width >= size.height) {
    const width = Math.round(Math.min(260, Math.max(130, size.width * 0.17)));
    const tile = { width, height: Math.round(width / WIDE) };
    return {
      area: { left: size.width - width, top: 0, width, height: size.height },
      main: { left: 0, top: 0, width: size.width - width - gap, height: size.height },
      capacity: Math.max(1, Math.floor((size.height + gap) / (tile.height + gap))),
      tile,
      upright: true,
    };
  }
  const height = Math.round(Math.min(150, Math.max(72, size.height * 0.16)));
  const tile = { width: Math.round(height * (4 / 3)), height };
  return {
    area: { left: 0, top: size.height - height, width: size.width, height },
    main: { left: 0, top: 0, width: size.width, height: size.height - height - gap },
    capacity: Math.max(1, Math.floor((size.width + gap) / (tile.width + gap))),
    tile,
    upright: false,
  };
}

/** The rectangle of a tile that has an area for itself: all of it, as long as a face is still seen well. */
function aloneRect(tile: ShownTile, area: Rect): Rect {
  if (tile.kind === "screen") return area;
  const aspect = Math.min(WIDEST_ALONE, Math.max(TALLEST_ALONE, area.width / area.height));
  const width = Math.floor(Math.min(area.width, area.height * aspect));
  const height = Math.floor(width / aspect);
  return {
    left: Math.round(area.left + (area.width - width) / 2),
    top: Math.round(area.top + (area.height - height) / 2),
    width,
    height,
  };
}

function large(tiles: readonly ShownTile[], area: Rect, gap: number): Placement[] {
  const only = tiles.length === 1 ? tiles[0] : undefined;
  if (only) return [{ tile: only, rect: aloneRect(only, area), large: true, floating: false }];
  const rects = gridRects(tiles.length, area, gap);
  return tiles.flatMap((tile, index) => {
    const rect = rects[index];
    return rect ? [{ tile, rect, large: true, floating: false }] : [];
  });
}

/** Where the tiles of an arrangement go, and on which page. */
export function place(arrangement: Arrangement, size: Size, page: number): Layout {
  const nothing: Layout = { placements: [], pages: 1, page: 0 };
  if (size.width <= 0 || size.height <= 0) return nothing;
  const gap = gapOf(size);
  const whole: Rect = { left: 0, top: 0, ...size };

  if (arrangement.mode === "pair") {
    const [other] = arrangement.main;
    const [self] = arrangement.others;
    if (!other) return nothing;
    const placements: Placement[] = [
      { tile: other, rect: aloneRect(other, whole), large: true, floating: false },
    ];
    if (self) {
      const upright = size.height > size.width;
      const width = Math.round(upright ? Math.min(130, size.width * 0.3) : Math.min(260, size.width * 0.22));
      const height = Math.round(width * (upright ? 4 / 3 : 9 / 16));
      const margin = gap + 6;
      placements.push({
        tile: self,
        rect: { left: size.width - width - margin, top: size.height - height - margin, width, height },
        large: false,
        floating: true,
      });
    }
    return { placements, pages: 1, page: 0 };
  }

  if (arrangement.mode === "grid") {
    if (arrangement.others.length === 1) {
      return { placements: large(arrangement.others, whole, gap), pages: 1, page: 0 };
    }
    const shown = pageOf(arrangement.others, gridCapacity(size), page);
    // All pages have tiles of one size, also a last page that is not full.
    const rects =
      shown.pages > 1 ? gridRects(gridCapacity(size), whole, gap) : gridRects(shown.items.length, whole, gap);
    const placements = shown.items.flatMap((tile, index) => {
      const rect = rects[index];
      return rect ? [{ tile, rect, large: false, floating: false }] : [];
    });
    return { placements, pages: shown.pages, page: shown.page };
  }

  if (arrangement.others.length === 0) {
    return { placements: large(arrangement.main, whole, gap), pages: 1, page: 0 };
  }
  const side = strip(size, gap);
  const shown = pageOf(arrangement.others, side.capacity, page);
  const length = side.upright ? side.tile.height : side.tile.width;
  const used = shown.items.length * length + (shown.items.length - 1) * gap;
  const begin = Math.max(0, ((side.upright ? size.height : size.width) - used) / 2);
  const small = shown.items.map((tile, index): Placement => {
    const along = Math.round(begin + index * (length + gap));
    const rect = side.upright
      ? { left: side.area.left, top: along, ...side.tile }
      : { left: along, top: side.area.top, ...side.tile };
    return { tile, rect, large: false, floating: false };
  });
  return {
    placements: [...large(arrangement.main, side.main, gap), ...small],
    pages: shown.pages,
    page: shown.page,
  };
}
