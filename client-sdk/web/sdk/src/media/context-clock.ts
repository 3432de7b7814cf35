/**
 * Clocks of media sources, read in local epoch µs (`nowUs`).
 *
 * Both estimate one number: how far the local clock is ahead. Readings come late by what the browser did in between, never early, so
 * the smallest difference of the last seconds is nearest to the truth. The estimate moves slowly, so that noise does not reach
 * timestamps, and jumps when the source's clock did (an AudioContext that was suspended, another camera).
 */

/** How many readings are looked back at. */
const WINDOW = 24;
/** A reading that is this far from the estimate is a jump, if so many in a row are. */
const JUMP_US = 80_000;
const JUMP_READINGS = 3;
/** How far the estimate moves per reading. */
const STEP_US = 500;

/** Local time minus the time of another clock. */
class Offset {
  #window: number[] = [];
  #strange: number[] = [];
  #estimateUs: number | undefined;

  get us(): number | undefined {
    return this.#estimateUs;
  }

  add(differenceUs: number): void {
    if (!Number.isFinite(differenceUs)) return;
    if (this.#estimateUs === undefined) {
      this.#begin([differenceUs]);
      return;
    }
    if (Math.abs(differenceUs - this.#estimateUs) > JUMP_US) {
      this.#strange.push(differenceUs);
      if (this.#strange.length >= JUMP_READINGS) this.#begin(this.#strange);
      return;
    }
    this.#strange = [];
    this.#window.push(differenceUs);
    if (this.#window.length > WINDOW) this.#window.shift();
    const errorUs = Math.min(...this.#window) - this.#estimateUs;
    this.#estimateUs += Math.min(Math.max(errorUs, -STEP_US), STEP_US);
  }

  #begin(differences: number[]): void {
    this.#window = differences;
    this.#strange = [];
    this.#estimateUs = Math.min(...differences);
  }
}

/**
 * An AudioContext's time. It is told a few times a second what `getOutputTimestamp()`, or `currentTime` beside `nowUs()`, says.
 */
export class ContextClock {
  readonly #offset = new Offset();

  /** `contextTimeS` was, or will be, at `localUs`. */
  update(contextTimeS: number, localUs: number): void {
    this.#offset.add(localUs - contextTimeS * 1e6);
  }

  /** When that is, in local epoch µs; NaN before the first update. */
  toLocalUs(contextTimeS: number): number {
    return Math.round(contextTimeS * 1e6 + (this.#offset.us ?? Number.NaN));
  }
}

/** The clock of a camera's or screen's frames, which begins somewhere and is learned from the frames as they come. */
export class CaptureClock {
  readonly #offset = new Offset();
  #lastUs = Number.NEGATIVE_INFINITY;

  /** A frame with this timestamp has come: its capture time in local epoch µs, later than that of every frame before. */
  frame(timestampUs: number, nowUs: number): number {
    this.#offset.add(nowUs - timestampUs);
    const localUs = Math.round(timestampUs + (this.#offset.us ?? nowUs - timestampUs));
    // A frame is not captured after it came.
    return this.#next(Math.min(localUs, nowUs));
  }

  /** A frame without a timestamp of its own: the last one repeated. */
  repeated(nowUs: number): number {
    return this.#next(nowUs);
  }

  /** For the next source of the same stream: another clock, but times go on rising. */
  successor(): CaptureClock {
    const next = new CaptureClock();
    next.#lastUs = this.#lastUs;
    return next;
  }

  #next(localUs: number): number {
    this.#lastUs = Math.max(localUs, this.#lastUs + 1);
    return this.#lastUs;
  }
}
