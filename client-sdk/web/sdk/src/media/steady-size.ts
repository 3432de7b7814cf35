/**
 * The size of pictures whose size changes: a shared window that is resized has another one in every frame, and each would cost
 * a new configuration of the encoder and a key frame. So a new size counts when it has stood for a moment.
 */

/** So long a new size has to stand. */
const STANDS_MS = 300;
/** While it changes on and on, the size of the moment is taken this often, so that something is seen. */
const AT_LEAST_EVERY_MS = 1_500;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** See the module's documentation. Times are milliseconds of a clock that does not go back. */
export class SteadySize {
  #taken: Size | undefined;
  #takenMs = Number.NEGATIVE_INFINITY;
  #next: Size | undefined;
  #nextSinceMs = 0;

  /** Whether a picture of this size is to be encoded now; else it is left out, or offered again later. The first always is. */
  take(size: Size, nowMs: number): boolean {
    if (same(size, this.#taken)) {
      this.#next = undefined;
      this.#takenMs = nowMs;
      return true;
    }
    if (!same(size, this.#next)) {
      this.#next = { width: size.width, height: size.height };
      this.#nextSinceMs = nowMs;
    }
    const hasStood = nowMs - this.#nextSinceMs >= STANDS_MS || nowMs - this.#takenMs >= AT_LEAST_EVERY_MS;
    if (this.#taken && !hasStood) return false;
    this.#taken = this.#next;
    this.#takenMs = nowMs;
    this.#next = undefined;
    return true;
  }
}

function same(a: Size, b: Size | undefined): boolean {
  return b !== undefined && a.width === b.width && a.height === b.height;
}
