/** Search for the period of a sound: where it is most like itself some milliseconds earlier or later. */

/** Periods that are searched, samples of 48 kHz: 2.5 to 15 ms, which is 400 to 67 Hz or multiples of shorter periods. */
export const MIN_PERIOD = 120;
export const MAX_PERIOD = 720;

/** The coarse search looks at every fourth sample, averaged. */
const COARSE = 4;
const MAX_LENGTH = 480;

/** One search; the result stays until the next. Holds the memory that it needs, so that searching allocates nothing. */
export class PitchSearch {
  /** The signal to search, to be filled before `search`. */
  readonly signal = new Float32Array(MAX_LENGTH + MAX_PERIOD);
  readonly #coarse = new Float32Array((MAX_LENGTH + MAX_PERIOD) / COARSE);
  /** The best period, samples. */
  period = MIN_PERIOD;
  /** How alike, −1 to 1: normalised correlation. */
  likeness = 0;
  /** Mean square of the searched signal. */
  power = 0;

  /**
   * Compares `length` samples at `start` of the signal with those `period` later, for periods up to `maxPeriod`; with `backward`
   * with those before. The signal is `length + maxPeriod` samples long; `start` is 0, or `maxPeriod` for backward.
   */
  search(length: number, maxPeriod: number, backward: boolean): void {
    const frames = length + maxPeriod;
    const start = backward ? maxPeriod : 0;
    const direction = backward ? -1 : 1;
    let power = 0;
    const coarseFrames = Math.floor(frames / COARSE);
    for (let i = 0; i < coarseFrames; i++) {
      let sum = 0;
      for (let j = i * COARSE; j < (i + 1) * COARSE; j++) {
        const sample = this.signal[j] ?? 0;
        sum += sample;
        power += sample * sample;
      }
      this.#coarse[i] = sum;
    }
    this.power = power / frames;
    let bestLag = Math.ceil(MIN_PERIOD / COARSE);
    let best = Number.NEGATIVE_INFINITY;
    const coarseStart = Math.floor(start / COARSE);
    for (let lag = bestLag; lag <= Math.floor(maxPeriod / COARSE); lag++) {
      const likeness = compare(
        this.#coarse,
        coarseStart,
        coarseStart + direction * lag,
        Math.floor(length / COARSE),
      );
      if (likeness > best) {
        best = likeness;
        bestLag = lag;
      }
    }
    this.likeness = Number.NEGATIVE_INFINITY;
    const first = Math.max(bestLag * COARSE - COARSE + 1, MIN_PERIOD);
    const last = Math.min(bestLag * COARSE + COARSE - 1, maxPeriod);
    for (let lag = first; lag <= last; lag++) {
      const likeness = compare(this.signal, start, start + direction * lag, length);
      if (likeness > this.likeness) {
        this.likeness = likeness;
        this.period = lag;
      }
    }
  }
}

/** Normalised correlation of two stretches of a signal. */
function compare(signal: Float32Array, a: number, b: number, length: number): number {
  let product = 0;
  let powerA = 0;
  let powerB = 0;
  for (let i = 0; i < length; i++) {
    const x = signal[a + i] ?? 0;
    const y = signal[b + i] ?? 0;
    product += x * y;
    powerA += x * x;
    powerB += y * y;
  }
  const norm = Math.sqrt(powerA * powerB);
  return norm > 1e-12 ? product / norm : 0;
}
