/**
 * Pictures that can be recognised: whose they are, which number they have, and that they move.
 *
 * A picture is 20 × 9 cells, so that it can be read in any layer of a 16:9 video:
 *
 *     row 0-1     a number: cells 1 (white), 2 (black), an even parity, then 16 bits of its Gray code from the highest
 *     row 2-4     the colour of whoever sends it
 *     row 5-8     moving stripes over that colour, which give an encoder something to do
 *
 * `checks/picture.ts` reads them in the page.
 */

export const GRID = { columns: 20, rows: 9 } as const;
export const NUMBER_BITS = 16;
/** Where the cells of the number begin. */
export const NUMBER_COLUMN = 0;

/** Colours that are far from each other in every respect, by name. */
export const COLOURS = {
  red: { red: 200, green: 40, blue: 40 },
  green: { red: 40, green: 170, blue: 60 },
  blue: { red: 40, green: 60, blue: 210 },
  violet: { red: 170, green: 50, blue: 190 },
  grey: { red: 90, green: 90, blue: 90 },
} as const;
export type ColourName = keyof typeof COLOURS;

export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/**
 * The cells of a number: true is white. From one number to the next only the parity and one cell change: of two neighbours that
 * change places an encoder in a hurry keeps the old picture for some frames, because their mean is the same (VP9, AV1).
 */
export function numberCells(number: number): boolean[] {
  const code = number ^ (number >> 1);
  const bits = Array.from(
    { length: NUMBER_BITS },
    (_, index) => ((code >> (NUMBER_BITS - 1 - index)) & 1) === 1,
  );
  const parity = bits.filter(Boolean).length % 2 === 1;
  return [true, false, parity, ...bits];
}

interface Yuv {
  readonly y: number;
  readonly u: number;
  readonly v: number;
}

/** Limited-range BT.601, as video files of this size are read by browsers. */
function toYuv({ red, green, blue }: { red: number; green: number; blue: number }): Yuv {
  const clamp = (value: number) => Math.max(0, Math.min(255, Math.round(value)));
  return {
    y: clamp(16 + 0.257 * red + 0.504 * green + 0.098 * blue),
    u: clamp(128 - 0.148 * red - 0.291 * green + 0.439 * blue),
    v: clamp(128 + 0.439 * red - 0.368 * green - 0.071 * blue),
  };
}

const WHITE: Yuv = { y: 235, u: 128, v: 128 };
const BLACK: Yuv = { y: 16, u: 128, v: 128 };

/** Picture number `number` as I420. `flash`: all but the number is white. */
export function drawPicture(size: PictureSize, colour: ColourName, number: number, flash = false): Buffer {
  const { width, height } = size;
  const picture = Buffer.alloc((width * height * 3) / 2);
  const luma = picture.subarray(0, width * height);
  const chromaWidth = width / 2;
  const u = picture.subarray(width * height, (width * height * 5) / 4);
  const v = picture.subarray((width * height * 5) / 4);
  const cellWidth = width / GRID.columns;
  const cellHeight = height / GRID.rows;
  const body = flash ? WHITE : toYuv(COLOURS[colour]);

  luma.fill(body.y);
  u.fill(body.u);
  v.fill(body.v);
  if (!flash) drawStripes(luma, width, Math.round(5 * cellHeight), height, number);
  fill(0, GRID.columns, 0, 2, BLACK);
  numberCells(number).forEach((white, index) => {
    if (white) fill(NUMBER_COLUMN + index, NUMBER_COLUMN + index + 1, 0, 2, WHITE);
  });
  return picture;

  /** Fills cells. */
  function fill(
    fromColumn: number,
    toColumn: number,
    fromRow: number,
    toRow: number,
    colourOfCells: Yuv,
  ): void {
    const [left, right] = [Math.round(fromColumn * cellWidth), Math.round(toColumn * cellWidth)];
    const [top, bottom] = [Math.round(fromRow * cellHeight), Math.round(toRow * cellHeight)];
    for (let line = top; line < bottom; line += 1) {
      luma.fill(colourOfCells.y, line * width + left, line * width + right);
    }
    for (let line = top >> 1; line < bottom >> 1; line += 1) {
      u.fill(colourOfCells.u, line * chromaWidth + (left >> 1), line * chromaWidth + (right >> 1));
      v.fill(colourOfCells.v, line * chromaWidth + (left >> 1), line * chromaWidth + (right >> 1));
    }
  }
}

/** Slanted stripes of brightness that wander to the left. */
function drawStripes(luma: Buffer, width: number, top: number, bottom: number, number: number): void {
  const period = width / 4;
  // Every line is a piece of this one.
  const line = Buffer.from(
    Uint8Array.from(
      { length: width + period },
      (_, column) => 60 + Math.round((120 * (column % period)) / period),
    ),
  );
  for (let index = 0; index < bottom - top; index += 1) {
    const shift = (index * 2 + number * 5) % period;
    line.copy(luma, (top + index) * width, shift, shift + width);
  }
}
