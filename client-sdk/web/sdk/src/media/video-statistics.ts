/** Figures of an incoming video stream, of the last two seconds. */

const WINDOW_US = 2_000_000;
/** More missing units in a row were not lost: the stream was not forwarded meanwhile. */
const MAX_LOST_IN_A_ROW = 300;

/** Values of the last two seconds. */
class Recent {
  readonly #entries: { atUs: number; value: number }[] = [];

  add(value: number, atUs: number): void {
    this.#entries.push({ atUs, value });
    this.#forget(atUs);
  }

  values(nowUs: number): number[] {
    this.#forget(nowUs);
    return this.#entries.map((entry) => entry.value);
  }

  #forget(nowUs: number): void {
    const keep = this.#entries.findIndex(({ atUs }) => nowUs - atUs < WINDOW_US);
    this.#entries.splice(0, keep < 0 ? this.#entries.length : keep);
  }
}

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
  readonly #bytes = new Recent();
  readonly #units = new Recent();
  readonly #missing = new Recent();
  readonly #latenciesUs = new Recent();
  #transitUs: number | undefined;
  #jitterUs = 0;

  /** A unit is in order; `missingUnits`: that many before it are not. */
  unit(bytes: number, missingUnits: number, nowUs: number): void {
    this.#bytes.add(bytes, nowUs);
    this.#units.add(1, nowUs);
    if (missingUnits > 0 && missingUnits <= MAX_LOST_IN_A_ROW) this.#missing.add(missingUnits, nowUs);
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
    this.#latenciesUs.add(latencyUs, nowUs);
  }

  figures(nowUs: number): VideoFigures {
    const seconds = WINDOW_US / 1e6;
    const missing = sum(this.#missing.values(nowUs));
    const units = sum(this.#units.values(nowUs));
    const latencies = this.#latenciesUs.values(nowUs);
    const sorted = [...latencies].sort((a, b) => a - b);
    return {
      bitrateBps: (sum(this.#bytes.values(nowUs)) * 8) / seconds,
      framesPerSecond: latencies.length / seconds,
      loss: missing + units === 0 ? 0 : missing / (missing + units),
      jitterMs: this.#jitterUs / 1000,
      latencyP50Ms: percentile(sorted, 0.5) / 1000,
      latencyP95Ms: percentile(sorted, 0.95) / 1000,
    };
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? 0;
}
