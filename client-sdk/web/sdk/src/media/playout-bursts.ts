/**
 * How much audio the device takes at once. Quanta of 128 frames are rendered as many as fit into the buffer of the device, one
 * right after the other (measured: 10 ms in Chromium on Linux), and then none for as long: the playout has to hold that much more.
 */

import { SAMPLE_RATE } from "./sample-rate.js";

/** Quanta that come this soon after each other belong together. Clocks of worklets tell whole milliseconds. */
const TOGETHER_MS = 2;
/** The largest of the last one to two such periods counts. */
const PERIOD_FRAMES = 5 * SAMPLE_RATE;
/** A coarse clock must not cost more delay than this, ms. */
const MAX_BURST_MS = 40;

/** Bursts of rendering. */
export class RenderBursts {
  #lastMs = Number.NEGATIVE_INFINITY;
  #burst = 0;
  #largest = 0;
  #largestBefore = 0;
  #frames = 0;

  /** `frames` are being rendered at `nowMs`, by any clock. */
  rendered(frames: number, nowMs: number): void {
    // Clocks of the day may go back.
    if (Math.abs(nowMs - this.#lastMs) >= TOGETHER_MS) this.#burst = 0;
    this.#lastMs = nowMs;
    // The first quantum is rendered without delay, whatever follows.
    this.#largest = Math.max(this.#largest, this.#burst);
    this.#burst += frames;
    this.#frames += frames;
    if (this.#frames >= PERIOD_FRAMES) {
      this.#largestBefore = this.#largest;
      this.#largest = 0;
      this.#frames = 0;
    }
  }

  /** Audio that is taken at once beyond one quantum, ms; 0 to 40. */
  get ms(): number {
    return Math.min((Math.max(this.#largest, this.#largestBefore) / SAMPLE_RATE) * 1000, MAX_BURST_MS);
  }
}
