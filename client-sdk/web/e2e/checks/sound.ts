/** What a page lets sound. */

import type { Page } from "@playwright/test";
import { expect } from "@playwright/test";
import type { Recording } from "./probe.js";
import { levelDb, type Peak, peaks, shareOf } from "./spectrum.js";

/** Recorded sound. */
export class Sound {
  readonly samples: Float32Array;
  readonly sampleRate: number;
  /** Share of the samples that the recorder was not given, 0 to 1. */
  readonly missed: number;
  readonly #startS: number;
  readonly #clock: Recording["clock"];

  constructor(recording: Recording) {
    const bytes = Buffer.concat(recording.pcm.map((piece) => Buffer.from(piece, "base64")));
    this.samples = Float32Array.from(
      { length: bytes.length / 2 },
      (_, index) => bytes.readInt16LE(index * 2) / 32_768,
    );
    this.sampleRate = recording.sampleRate;
    this.missed = recording.missed / this.samples.length;
    this.#startS = recording.startS;
    this.#clock = recording.clock;
  }

  get peaks(): Peak[] {
    return peaks(this.samples, this.sampleRate);
  }

  get levelDb(): number {
    return levelDb(this.samples);
  }

  /** Share of a frequency in all energy, 0 to 1. */
  shareOf(hz: number): number {
    return shareOf(this.samples, this.sampleRate, hz);
  }

  /** `performance.now()` of the page when what lies so many seconds after the first sample is at the output. */
  heardAtMs(seconds: number): number {
    const contextS = this.#startS + seconds;
    // Single pairs are as coarse as the buffers of the output: the middle one of all offsets is taken.
    const offsets = this.#clock.map(({ contextS, atMs }) => atMs - contextS * 1000).sort((a, b) => a - b);
    const offset = offsets[Math.floor(offsets.length / 2)];
    if (offset === undefined) throw new Error("nothing was recorded");
    return offset + contextS * 1000;
  }
}

/** Records all that the page plays. */
export async function listen(page: Page, durationMs: number): Promise<Sound> {
  return new Sound(await page.evaluate((duration) => __probe.record(duration), durationMs));
}

/** Waits until a tone is heard: at least this share of all energy, and loud enough to be no echo of silence. */
export async function expectTone(page: Page, hz: number, minShare = 0.3): Promise<Sound> {
  let last: Sound | undefined;
  await expect
    .poll(
      async () => {
        last = await listen(page, 1000);
        return last.levelDb > -60 ? last.shareOf(hz) : 0;
      },
      { message: `a tone of ${hz} Hz`, timeout: 15_000, intervals: [100] },
    )
    .toBeGreaterThan(minShare);
  if (!last) throw new Error("nothing was recorded");
  return last;
}

/** Waits until a tone is not heard any more. */
export async function expectNoTone(page: Page, hz: number): Promise<void> {
  await expect
    .poll(
      async () => {
        const sound = await listen(page, 1000);
        return sound.levelDb > -60 ? sound.shareOf(hz) : 0;
      },
      { message: `no tone of ${hz} Hz`, timeout: 15_000, intervals: [100] },
    )
    .toBeLessThan(0.01);
}
