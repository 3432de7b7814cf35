/**
 * Whether the server is silent, long before its connection times out. A browser does not tell what QUIC hears, so this
 * counts what the application asks and hears.
 */

/** A question is asked so often while nothing else is heard. */
export const ASK_INTERVAL_MS = 500;
/** An answer that takes longer than this, and much longer than usual, does not come. */
const SILENT_AFTER_MS = 1_500;
const TIMES_USUAL = 4;

export class Silence {
  /** When the oldest question was asked that nothing was heard since. */
  #askedMs: number | undefined;

  /** Something was sent that is answered at once. */
  asked(nowMs: number): void {
    this.#askedMs ??= nowMs;
  }

  /** Anything came. */
  heard(): void {
    this.#askedMs = undefined;
  }

  /** On a path with this round-trip time (0 = not known). */
  isSilent(nowMs: number, rttMs: number): boolean {
    if (this.#askedMs === undefined) return false;
    return nowMs - this.#askedMs >= Math.max(SILENT_AFTER_MS, TIMES_USUAL * rttMs);
  }
}
