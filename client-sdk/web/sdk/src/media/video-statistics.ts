/** Figures of an incoming video stream, of the last two seconds. */

import { Recent } from "./recent.js";

const WINDOW_MS = 2_000;
/** More missing units in a row were not lost: the stream was not forwarded meanwhile. */
const MAX_LOST_IN_A_ROW = 300;

/** What is measured; the names are those of `StreamStatistics`. */
export interface VideoFigures {
  readonly bitrateBps: number;
  readonly framesPerSecond: number;
  readonly loss: number;
  readonly jitterMs: number;
  readonly latencyP50Ms: number;
  readonly latencyP95Ms: number;
}

/** Collects them. Times are local µs of a clock that does not go back. */
export class VideoStatistics {
  readonly #bytes = new Recent(WINDOW_MS);
  readonly #units = new Recent(WINDOW_MS);
  readonly #missing = new Recent(WINDOW_MS);
  readonly #latenciesMs = new Recent(WINDOW_MS);
  readonly #frames = new Recent(WINDOW_MS);
  #transitUs: number | undefined;
  #jitterUs = 0;

  /** A unit is in order; `missingUnits`: that many before it are not. */
  unit(bytes: number, missingUnits: number, nowUs: number): void {
    const nowMs = nowUs / 1000;
    this.#bytes.add(bytes, nowMs);
    this.#units.add(1, nowMs);
    if (missingUnits > 0 && missingUnits <= MAX_LOST_IN_A_ROW) this.#missing.add(missingUnits, nowMs);
  }

  /** A whole frame has come (RFC 3550 section 6.4.1, by frames). */
  frame(timestampUs: number, nowUs: number): void {
    const transitUs = nowUs - timestampUs;
    if (this.#transitUs !== undefined) {
      this.#jitterUs += (Math.abs(transitUs - this.#transitUs) - this.#jitterUs) / 16;
    }
    this.#transitUs = transitUs;
  }

  /** A frame is drawn, so long after it was captured. */
  shown(latencyUs: number, nowUs: number): void {
    this.#frames.add(1, nowUs / 1000);
    this.#latenciesMs.add(latencyUs / 1000, nowUs / 1000);
  }

  figures(nowUs: number): VideoFigures {
    const nowMs = nowUs / 1000;
    const missing = sum(this.#missing.values(nowMs));
    const units = sum(this.#units.values(nowMs));
    return {
      bitrateBps: this.#bytes.perSecond(nowMs) * 8,
      framesPerSecond: this.#frames.perSecond(nowMs),
      loss: missing + units === 0 ? 0 : missing / (missing + units),
      jitterMs: this.#jitterUs / 1000,
      latencyP50Ms: this.#latenciesMs.percentile(0.5, nowMs),
      latencyP95Ms: this.#latenciesMs.percentile(0.95, nowMs),
    };
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
