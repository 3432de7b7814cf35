/** Which capture time belongs to which sample: one mark for each packet. */

import { SAMPLE_RATE } from "./sample-rate.js";

/** Marks kept: 2 s of packets of 2.5 ms. */
const MAX_MARKS = 1024;
/** Marks are kept so many samples behind what plays: stretching goes back by no more. */
const KEPT_BEHIND = 2048;

const US_PER_SAMPLE = 1e6 / SAMPLE_RATE;

/** Marks of one stream, in the order of their positions. */
export class Timeline {
  readonly #positions = new Float64Array(MAX_MARKS);
  readonly #timestampsUs = new Float64Array(MAX_MARKS);
  #first = 0;
  #count = 0;
  #latestUs = Number.NEGATIVE_INFINITY;

  /** Forgets everything; the next times may be earlier. */
  clear(): void {
    this.#count = 0;
    this.#latestUs = Number.NEGATIVE_INFINITY;
  }

  /** The sample at `position` was captured at `timestampUs`. */
  mark(position: number, timestampUs: number): void {
    if (this.#count === MAX_MARKS) this.#drop();
    const index = (this.#first + this.#count) % MAX_MARKS;
    this.#positions[index] = position;
    this.#timestampsUs[index] = timestampUs;
    this.#count += 1;
  }

  /**
   * Capture time of the sample at `position`, µs; undefined without marks. Does not go back until the timeline is cleared, though
   * what plays does by some milliseconds when sound is stretched.
   */
  at(position: number): number | undefined {
    while (this.#count > 1 && this.#position(1) <= position - KEPT_BEHIND) this.#drop();
    if (this.#count === 0) return undefined;
    let mark = 0;
    while (mark + 1 < this.#count && this.#position(mark + 1) <= position) mark += 1;
    let timestampUs = this.#timestamp(mark) + (position - this.#position(mark)) * US_PER_SAMPLE;
    if (mark + 1 < this.#count) timestampUs = Math.min(timestampUs, this.#timestamp(mark + 1));
    this.#latestUs = Math.max(this.#latestUs, timestampUs);
    return this.#latestUs;
  }

  #position(mark: number): number {
    return this.#positions[(this.#first + mark) % MAX_MARKS] ?? 0;
  }

  #timestamp(mark: number): number {
    return this.#timestampsUs[(this.#first + mark) % MAX_MARKS] ?? 0;
  }

  #drop(): void {
    this.#first = (this.#first + 1) % MAX_MARKS;
    this.#count -= 1;
  }
}
