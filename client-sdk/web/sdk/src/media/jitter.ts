/**
 * How late audio packets come: what the playout has to hold back so that nearly all are there in time, and the statistics.
 *
 * The clocks of sender and receiver differ by an unknown amount and drift apart, so only differences count: the delay of a packet
 * is its transit (when it is decoded, minus timestamp) over the least transit of the last few seconds. Windows are counted in
 * packets: during silence (DTX) nothing comes, and nothing is forgotten.
 */

import { percentile } from "./recent.js";

/** One audio packet as it arrived. */
export interface Arrival {
  /** Sequence number of the unit. */
  readonly sequence: number;
  /** Capture time, µs of any clock. */
  readonly timestampUs: number;
  /** Local time of arrival, µs of any clock that does not go back. */
  readonly arrivalUs: number;
}

/**
 * Where a packet stands among those before it.
 *
 * * `next`: follows the last one. A gap between the timestamps is silence.
 * * `after-loss`: some packets before it are missing.
 * * `resumed`: the first one, or after so many missing ones that it was no loss: nothing was forwarded while the participant was
 *   not among those who are heard (docs/protocol.md 5.11), or the publisher began anew.
 * * `late`: a later one came before it.
 * * `repeated`: came before already.
 */
export type ArrivalOrder = "next" | "after-loss" | "resumed" | "late" | "repeated";

/** Least and greatest target, milliseconds. */
const MIN_TARGET_MS = 20;
const MAX_TARGET_MS = 400;
/** Before anything is known. */
const INITIAL_TARGET_MS = 50;
/** Beyond what was measured: the ticks of workers and of the sound device. */
const MARGIN_MS = 10;
/** Packets over which the least transit is taken (4 s of 20 ms), and the percentile (3 s). */
const MINIMUM_PACKETS = 200;
const PERCENTILE_PACKETS = 150;
const PERCENTILE = 0.99;
/** Older ones do not count even if they are few: drift of the clocks would make them wrong. */
const MAX_AGE_US = 10_000_000;
/** A step of the transit that is a step of a clock and no delay. */
const CLOCK_STEP_US = 1_000_000;
/** The target shrinks by this share of itself per second. */
const SHRINK_PER_S = 0.15;
/** What was needed before a silence is needed after it: no more than this of it counts. */
const MAX_IDLE_US = 100_000;
/** More packets missing in a row are no loss. */
const MAX_LOSS = 50;
/** Missing packets that may still come, by sequence numbers back from the highest; from further back it is another beginning. */
const MAX_LATE = 500;

/** Arrivals of one audio stream. */
export class ArrivalJitter {
  readonly #packetMs: number;
  readonly #transitsUs = new Float64Array(MINIMUM_PACKETS);
  /** When they could be played. */
  readonly #timesUs = new Float64Array(MINIMUM_PACKETS);
  readonly #sorted = new Float64Array(PERCENTILE_PACKETS);
  /** Samples ever written to the windows since they were last emptied. */
  #samples = 0;
  #lastPlayableUs = 0;
  #lastPlayableTransitUs = 0;
  #highest = -1;
  readonly #missing = new Set<number>();
  #lastTransitUs = 0;
  #jitterUs = 0;
  #target = INITIAL_TARGET_MS;
  #evaluatedUs: number | undefined;
  #receivedPackets = 0;
  #lostPackets = 0;
  #latePackets = 0;

  /** @param packetMs duration of one packet, milliseconds */
  constructor(packetMs = 20) {
    this.#packetMs = packetMs;
  }

  /** Packets that came, repeated ones not counted. */
  get received(): number {
    return this.#receivedPackets;
  }

  /** Packets that are missing; one that comes late is no longer lost. */
  get lost(): number {
    return this.#lostPackets;
  }

  /** Packets that came after a later one. */
  get late(): number {
    return this.#latePackets;
  }

  /** Interarrival jitter of RFC 3550 section 6.4.1, milliseconds. */
  get jitterMs(): number {
    return this.#jitterUs / 1000;
  }

  /** A packet has arrived. */
  arrived(packet: Arrival): ArrivalOrder {
    const order = this.#place(packet.sequence);
    if (order === "repeated") return order;
    const transitUs = packet.arrivalUs - packet.timestampUs;
    if (this.#receivedPackets > 0 && !isClockStep(transitUs - this.#lastTransitUs)) {
      this.#jitterUs += (Math.abs(transitUs - this.#lastTransitUs) - this.#jitterUs) / 16;
    }
    this.#receivedPackets += 1;
    this.#lastTransitUs = transitUs;
    if (order === "late") this.#latePackets += 1;
    return order;
  }

  /**
   * A packet is decoded: from now on it can be played. Of those that are dropped nothing is said here: no playout delay would have
   * saved them.
   */
  playable(timestampUs: number, nowUs: number): void {
    const transitUs = nowUs - timestampUs;
    if (isClockStep(transitUs - this.#lastPlayableTransitUs)) this.#samples = 0;
    this.#lastPlayableTransitUs = transitUs;
    this.#lastPlayableUs = nowUs;
    const index = this.#samples % MINIMUM_PACKETS;
    this.#transitsUs[index] = transitUs;
    this.#timesUs[index] = nowUs;
    this.#samples += 1;
  }

  /**
   * How much audio is to be buffered right after a packet of the least delay was added, milliseconds: the 99th percentile of the
   * delays, the packet itself, and a margin. Grows at once and shrinks by 15 % per second; 20 to 400. To be asked for each packet.
   */
  targetMs(nowUs: number): number {
    if (this.#samples === 0) return this.#target;
    const sinceUs = nowUs - (this.#evaluatedUs ?? nowUs);
    const elapsedUs = Math.min(Math.max(sinceUs, 0), MAX_IDLE_US);
    this.#evaluatedUs = nowUs;
    const measured = this.#spreadUs() / 1000 + this.#packetMs + MARGIN_MS;
    const wanted = Math.min(Math.max(measured, MIN_TARGET_MS), MAX_TARGET_MS);
    const shrunk = this.#target * (1 - (SHRINK_PER_S * elapsedUs) / 1e6);
    this.#target = Math.max(wanted, Math.min(shrunk, this.#target));
    return this.#target;
  }

  #place(sequence: number): ArrivalOrder {
    const step = sequence - this.#highest;
    if (this.#receivedPackets === 0 || step > MAX_LOSS + 1 || step < -MAX_LATE) {
      this.#highest = sequence;
      this.#missing.clear();
      return "resumed";
    }
    if (step <= 0) {
      if (!this.#missing.delete(sequence)) return "repeated";
      this.#lostPackets -= 1;
      return "late";
    }
    for (let missed = this.#highest + 1; missed < sequence; missed++) this.#missing.add(missed);
    this.#lostPackets += step - 1;
    this.#highest = sequence;
    for (const missed of this.#missing) {
      if (missed >= sequence - MAX_LATE) break;
      this.#missing.delete(missed);
    }
    return step === 1 ? "next" : "after-loss";
  }

  /** 99th percentile of the transit over the least one. */
  #spreadUs(): number {
    let least = Number.POSITIVE_INFINITY;
    let count = 0;
    for (let back = 1; back <= Math.min(this.#samples, MINIMUM_PACKETS); back++) {
      const index = (this.#samples - back) % MINIMUM_PACKETS;
      if (this.#lastPlayableUs - (this.#timesUs[index] ?? 0) > MAX_AGE_US) break;
      const transit = this.#transitsUs[index] ?? 0;
      least = Math.min(least, transit);
      if (count < PERCENTILE_PACKETS) this.#sorted[count++] = transit;
    }
    const sorted = this.#sorted.subarray(0, count).sort();
    return (percentile(sorted, PERCENTILE) ?? least) - least;
  }
}

function isClockStep(changeUs: number): boolean {
  return Math.abs(changeUs) > CLOCK_STEP_US;
}
