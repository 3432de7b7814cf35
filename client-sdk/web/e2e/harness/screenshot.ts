/** Screenshots for the documentation: small files of the pages as they are. */

import { execFile } from "node:child_process";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Page } from "@playwright/test";
import { findInPath, paths } from "./programs.js";

/** Readers of the repository load all of them at once. */
const MAX_BYTES = 110_000;
/** Tried in turn until the file is small enough: colours, and how they are mixed. */
const PALETTES = [
  [256, "bayer:bayer_scale=3"],
  [256, "bayer:bayer_scale=5"],
  [256, "none"],
  [128, "none"],
  [64, "none"],
] as const;

const folder = join(paths.repository, "docs/screenshots");

/** Writes what the page shows to `docs/screenshots/NAME.png`, with a palette; rejects if it cannot be made small enough. */
export async function takeScreenshot(page: Page, name: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${name}.png`);
  const whole = join(paths.made, `${name}-whole.png`);
  await writeFile(whole, await page.screenshot());
  try {
    for (const [colours, dither] of PALETTES) {
      const palette = `palettegen=max_colors=${colours}:reserve_transparent=0`;
      const filter = `split[a][b];[a]${palette}[p];[b][p]paletteuse=dither=${dither}`;
      await promisify(execFile)(findInPath("ffmpeg"), [
        ...["-hide_banner", "-loglevel", "error", "-y", "-i", whole, "-vf", filter],
        ...["-compression_level", "9", "-pred", "none", "-frames:v", "1", "-update", "1", file],
      ]);
      if ((await stat(file)).size <= MAX_BYTES) return;
    }
  } finally {
    await rm(whole);
  }
  throw new Error(`${file} is larger than ${MAX_BYTES} bytes`);
}
