/** The server's clock seen from here; estimated as the Rust SDK does. */

/** Measurements that are remembered. */
const SAMPLES = 30;

interface Sample {
  readonly roundTripUs: number;
  readonly offsetUs: number;
}

/**
 * Server clock − local clock, from pings. The answer tells where the server's clock stood at some moment between question
 * and answer: a measurement is uncertain by half its round trip. The shortest round trip counts, and an offset smaller
 * than its uncertainty is taken as none: with synchronized clocks, correcting by noise would be worse.
 */
export class ServerClock {
  readonly #samples: Sample[] = [];
  #fixedUs: number | undefined;

  measured(sentUs: number, receivedUs: number, serverUs: number): void {
    const roundTripUs = Math.max(0, receivedUs - sentUs);
    if (this.#samples.length === SAMPLES) this.#samples.shift();
    this.#samples.push({ roundTripUs, offsetUs: serverUs - (sentUs + roundTripUs / 2) });
  }

  /** As well as it is known now. */
  get offsetUs(): number {
    if (this.#samples.length === 0) return 0;
    const best = this.#samples.reduce((a, b) => (b.roundTripUs < a.roundTripUs ? b : a));
    return Math.abs(best.offsetUs) > best.roundTripUs / 2 ? Math.round(best.offsetUs) : 0;
  }

  /** As it was known when this was first asked: capture times of one session must not jump. */
  get fixedOffsetUs(): number {
    this.#fixedUs ??= this.offsetUs;
    return this.#fixedUs;
  }

  /** Of the latest pings, milliseconds; 0 = none yet. */
  get rttMs(): number {
    const recent = this.#samples.slice(-5);
    return recent.length === 0 ? 0 : Math.min(...recent.map((sample) => sample.roundTripUs)) / 1000;
  }
}
