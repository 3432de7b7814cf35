/** When to try to reach the server again. The Rust SDK paces itself alike (docs/decisions/0013-reconnect.md). */

/**
 * Between two attempts while the path has not been dark for long. Longer than in native clients: browsers make each new
 * WebTransport wait longer the more handshakes of the page have failed in the last minutes (about 10 ms doubled each time in
 * Chromium: after ten five seconds).
 */
const STEADY_INTERVAL_MS = 1_500;
/** For how long attempts are made so often: as long as a server keeps a place, by default. */
const STEADY_FOR_MS = 15_000;
const GROWTH = 1.5;
const MAX_INTERVAL_MS = 5_000;
/** Attempts under way at one time; the oldest makes room for the next. */
const IN_FLIGHT = 3;

export class Pace {
  readonly #beganMs: number;
  readonly #random: () => number;
  #nextMs: number;
  #intervalMs: number;

  /** Begins at once. `random` is uniform in [0, 1) and spreads the attempts of many clients. */
  constructor(nowMs: number, rttMs: number, random: () => number) {
    this.#beganMs = nowMs;
    this.#nextMs = nowMs;
    this.#intervalMs = Math.min(Math.max(STEADY_INTERVAL_MS, 2 * rttMs), MAX_INTERVAL_MS);
    this.#random = random;
  }

  /** When the next attempt is due. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** An attempt begins; returns how long it may take. */
  begin(nowMs: number): number {
    const pauseMs = nowMs - this.#beganMs >= STEADY_FOR_MS ? this.#longerPauseMs() : this.#intervalMs;
    this.#nextMs = nowMs + pauseMs;
    return this.#intervalMs * IN_FLIGHT;
  }

  /** The server was reached, and cannot help now: it is asked less and less often. */
  putOff(nowMs: number): void {
    this.#nextMs = nowMs + this.#longerPauseMs();
  }

  /** The browser says that the network is there again. */
  hurry(nowMs: number): void {
    this.#nextMs = Math.min(this.#nextMs, nowMs);
  }

  #longerPauseMs(): number {
    this.#intervalMs = Math.min(this.#intervalMs * GROWTH, MAX_INTERVAL_MS);
    return this.#intervalMs * (0.5 + this.#random());
  }
}
