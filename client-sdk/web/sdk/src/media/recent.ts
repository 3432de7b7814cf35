/** Values of the last moments. */

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

  /** The value that the share of all (0 to 1) does not exceed; 0 if there is none. */
  percentile(share: number, nowMs: number): number {
    const sorted = this.values(nowMs).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  }

  #forget(nowMs: number): void {
    const keep = this.#entries.findIndex(({ atMs }) => nowMs - atMs < this.#windowMs);
    this.#entries.splice(0, keep < 0 ? this.#entries.length : keep);
  }
}
