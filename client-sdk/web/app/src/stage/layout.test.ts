import { describe, expect, it } from "vitest";
import {
  bestGrid,
  gapOf,
  gridCapacity,
  gridRects,
  type Layout,
  place,
  type Rect,
  type Size,
} from "./layout.js";
import type { Arrangement, ShownTile } from "./who-is-shown.js";

const DESKTOP: Size = { width: 1260, height: 690 };
const PHONE: Size = { width: 374, height: 640 };

function tiles(count: number, kind: ShownTile["kind"] = "camera"): ShownTile[] {
  return Array.from({ length: count }, (_, i) => ({
    key: `${kind}:${i}`,
    participantId: `p${i}`,
    kind,
    self: kind === "camera" && i === 0,
  }));
}

function inside(rect: Rect, size: Size): boolean {
  return (
    rect.left >= 0 &&
    rect.top >= 0 &&
    rect.left + rect.width <= size.width + 1 &&
    rect.top + rect.height <= size.height + 1
  );
}

function overlap(a: Rect, b: Rect): boolean {
  return (
    a.left < b.left + b.width &&
    b.left < a.left + a.width &&
    a.top < b.top + b.height &&
    b.top < a.top + a.height
  );
}

function expectSound(layout: Layout, size: Size): void {
  const rects = layout.placements.filter((p) => !p.floating).map((p) => p.rect);
  for (const [index, rect] of rects.entries()) {
    expect(inside(rect, size)).toBe(true);
    for (const other of rects.slice(index + 1)) expect(overlap(rect, other)).toBe(false);
  }
}

describe("grid", () => {
  it("takes the columns that people expect", () => {
    const columns = (count: number, size: Size) => bestGrid(count, size, gapOf(size)).columns;
    expect([1, 2, 3, 4, 6, 9, 16, 25].map((count) => columns(count, DESKTOP))).toEqual([
      1, 2, 2, 2, 3, 3, 4, 5,
    ]);
    expect([1, 2, 3, 4, 6, 8].map((count) => columns(count, PHONE))).toEqual([1, 1, 1, 2, 2, 2]);
  });

  it("fills the stage for every count", () => {
    for (const size of [DESKTOP, PHONE, { width: 900, height: 900 }]) {
      for (let count = 1; count <= gridCapacity(size); count++) {
        const rects = gridRects(count, { left: 0, top: 0, ...size }, gapOf(size));
        const used = rects.reduce((sum, rect) => sum + rect.width * rect.height, 0);
        expect(rects).toHaveLength(count);
        expect(used / (size.width * size.height), `${count} in ${size.width}×${size.height}`).toBeGreaterThan(
          0.55,
        );
      }
    }
  });

  it("keeps tiles between 16:9 and what shows a face", () => {
    for (const [size, tallest] of [
      [DESKTOP, 4 / 3],
      [PHONE, 3 / 5],
    ] as const) {
      for (let count = 1; count <= 25; count++) {
        const { tile } = bestGrid(count, size, gapOf(size));
        expect(tile.width / tile.height).toBeGreaterThan(tallest * 0.97);
        expect(tile.width / tile.height).toBeLessThan((16 / 9) * 1.03);
      }
    }
  });

  it("shows 25 on a desktop, fewer on a phone", () => {
    expect(gridCapacity(DESKTOP)).toBe(25);
    expect(gridCapacity(PHONE)).toBe(6);
    expect(gridCapacity({ width: 200, height: 100 })).toBe(1);
  });
});

describe("place", () => {
  it("puts tiles on pages, none twice, all of one size", () => {
    const grid: Arrangement = { mode: "grid", main: [], others: tiles(60) };
    const seen: string[] = [];
    const sizes = new Set<string>();
    for (let page = 0; page < 3; page++) {
      const layout = place(grid, DESKTOP, page);
      expect(layout.pages).toBe(3);
      expectSound(layout, DESKTOP);
      for (const { tile, rect } of layout.placements) {
        seen.push(tile.key);
        sizes.add(`${rect.width}×${rect.height}`);
      }
    }
    expect(seen).toEqual(grid.others.map((tile) => tile.key));
    expect(sizes.size).toBe(1);
  });

  it("shows the last page when there is no such page any more", () => {
    const layout = place({ mode: "grid", main: [], others: tiles(30) }, DESKTOP, 7);
    expect(layout.page).toBe(1);
    expect(layout.placements).toHaveLength(5);
  });

  it("gives a shared screen most of the stage, with people beside or below", () => {
    const focus: Arrangement = { mode: "focus", main: tiles(1, "screen"), others: tiles(9) };
    for (const size of [DESKTOP, PHONE]) {
      const layout = place(focus, size, 0);
      expectSound(layout, size);
      const screen = layout.placements[0];
      expect(screen?.large).toBe(true);
      const share = ((screen?.rect.width ?? 0) * (screen?.rect.height ?? 0)) / (size.width * size.height);
      expect(share).toBeGreaterThan(0.7);
      expect(layout.placements.length).toBeGreaterThan(2);
    }
    expect(place(focus, PHONE, 0).pages).toBeGreaterThan(1);
  });

  it("gives the only tile of the focus the whole stage", () => {
    const layout = place({ mode: "focus", main: tiles(1, "screen"), others: [] }, DESKTOP, 0);
    expect(layout.placements[0]?.rect).toEqual({ left: 0, top: 0, ...DESKTOP });
  });

  it("lets the own picture float in a conversation of two", () => {
    const [self, other] = tiles(2);
    if (!self || !other) throw new Error("two tiles");
    for (const size of [DESKTOP, PHONE]) {
      const layout = place({ mode: "pair", main: [other], others: [self] }, size, 0);
      expect(layout.placements.map((p) => p.floating)).toEqual([false, true]);
      for (const { rect } of layout.placements) expect(inside(rect, size)).toBe(true);
    }
  });

  it("gives whoever is alone all of the stage that shows a face well", () => {
    const alone: Arrangement = { mode: "grid", main: [], others: tiles(1) };
    expect(place(alone, PHONE, 0).placements[0]?.rect).toEqual({ left: 0, top: 0, ...PHONE });
    const wide = place(alone, { width: 3000, height: 800 }, 0).placements[0]?.rect;
    expect(wide).toMatchObject({ left: 660, width: 1680, height: 800 });
  });

  it("shows nothing on a stage without room", () => {
    expect(
      place({ mode: "grid", main: [], others: tiles(3) }, { width: 0, height: 0 }, 0).placements,
    ).toEqual([]);
  });
});
