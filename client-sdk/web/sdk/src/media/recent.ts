/** Values of the last moments, and percentiles. */

/**
 * The least of the values that the share of all (0 to 1) does not exceed, by the nearest rank; undefined if there is none.
 * `sorted` is ascending.
 */
export function percentile(sorted: ArrayLike<number>, share: number): number | undefined {
  return sorted[Math.min(Math.max(Math.ceil(share * sorted.length) - 1, 0), sorted.length - 1)];
}

/** Those of a window of time. */
export class Recent {
  readonly #windowMs: number;
  readonly #entries: { readonly atMs: number; readonly value: number }[] = [];
  #sinceMs: number | undefined;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `nowMs` of a clock that does not go back. */
  add(value: number, nowMs: number): void {
    this.#sinceMs ??= nowMs;
    this.#entries.push({ atMs: nowMs, value });
    this.#forget(nowMs);
  }

  values(nowMs: number): number[] {
    this.#forget(nowMs);
    return this.#entries.map((entry) => entry.value);
  }

  /** Sum per second, over the window or as long as there is anything. */
  perSecond(nowMs: number): number {
    if (this.#sinceMs === undefined) return 0;
    const sum = this.values(nowMs).reduce((sum, value) => sum + value, 0);
    const overMs = Math.min(Math.max(nowMs - this.#sinceMs, 500), this.#windowMs);
    return (sum * 1000) / overMs;
  }

  /** See {@link percentile}; 0 if there is none. */
  percentile(share: number, nowMs: number): number {
    return percentile(Float64Array.from(this.values(nowMs)).sort(), share) ?? 0;
  }

  #forget(nowMs: number): void {
    const [oldest] = this.#entries;
    if (!oldest || nowMs - oldest.atMs < this.#windowMs) return;
    const keep = this.#entries.findIndex(({ atMs }) => nowMs - atMs < this.#windowMs);
    this.#entries.splice(0, keep < 0 ? this.#entries.length : keep);
  }
}
