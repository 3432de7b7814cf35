/**
 * Puts the units of one wire stream id, which arrive on several group streams, back in sequence (docs/protocol.md
 * 3.2). The rules, in the order they are tried:
 *
 * 1. The unit with the next sequence number is handed out at once.
 * 2. A gap inside one QUIC stream is final: a QUIC stream is ordered, so what is missing was left out by the sender.
 *    A gap at the start of a stream marked `discontinuity` is final once no stream that began earlier is open.
 * 3. Any other gap at the start of a stream is waited out: the stream with the missing units may not have been seen
 *    yet. So is the very first unit while a stream that began earlier is open.
 * 4. No unit waits longer than `maxHoldMs`; and when more than `maxHeldBytes` are waiting, those with the lowest
 *    sequence numbers are handed out.
 *
 * Units at or below the last sequence number handed out are dropped and counted. Time is an argument: milliseconds
 * of any clock that does not go back.
 */

import type { GroupPreamble } from "./group.js";
import { HEADER_BYTES, type Unit } from "./unit.js";

/** Bounds on waiting. */
export interface SequencerLimits {
  /** How long a gap may hold units back. */
  readonly maxHoldMs: number;
  /** How many bytes, headers included, a gap may hold back. */
  readonly maxHeldBytes: number;
}

/** One retransmission on a path of 100 ms; one large key frame. */
export const DEFAULT_SEQUENCER_LIMITS: SequencerLimits = { maxHoldMs: 200, maxHeldBytes: 4 * 1024 * 1024 };

/** A unit in order. */
export interface SequencedUnit {
  readonly unit: Unit;
  /**
   * How many units are missing right before it, 0 if none. Before the very first unit nothing counts as missing.
   * When it is not 0, what follows decodes only from the next key frame on, unless what is missing was discardable.
   */
  readonly missingUnits: number;
}

/** A QUIC stream that may bring more units. */
interface Source {
  readonly group: number;
  readonly firstSequence: number;
  readonly discontinuity: boolean;
  hasBegun: boolean;
}

/** What may be missing right before a unit. */
type Gap =
  /** Units that other QUIC streams can bring. */
  | "open"
  /** Units that only QUIC streams which began earlier can bring. */
  | "earlier-streams"
  /** Units that the sender left out. */
  | "final";

interface Held {
  readonly unit: Unit;
  /**
   * When the first of this unit and the held ones after it arrived: none of them may wait longer than that one.
   */
  readonly sinceMs: number;
  readonly source: Source;
  readonly gap: Gap;
}

/**
 * See the description of the module. `K` names a QUIC stream: the stream object or a number. Call {@link poll} after
 * every {@link push} and {@link end}, and at {@link nextDeadlineMs}; then what is held is bounded.
 */
export class Sequencer<K> {
  readonly #limits: SequencerLimits;
  readonly #sources = new Map<K, Source>();
  /** Ascending. */
  #held: Held[] = [];
  #heldBytes = 0;
  #lastSequence: number | undefined;
  #staleUnits = 0;

  constructor(limits: SequencerLimits = DEFAULT_SEQUENCER_LIMITS) {
    this.#limits = limits;
  }

  /** Units that came too late or twice, and were dropped. */
  get staleUnits(): number {
    return this.#staleUnits;
  }

  /** Bytes of the units that wait, headers included. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Before {@link begin}: if the group has been handed out before, at least its first units, goes back so that it comes again
   * whole, and returns true. A server sends it again to who comes back to this layer of a stream from another one
   * (docs/protocol.md 6.4). Streams that began later stay as they are.
   */
  rewind({ continuation, firstSequence }: GroupPreamble): boolean {
    if (continuation || this.#lastSequence === undefined || firstSequence > this.#lastSequence) return false;
    this.#lastSequence = undefined;
    for (const [stream, source] of this.#sources) {
      if (source.firstSequence <= firstSequence) this.#sources.delete(stream);
    }
    this.#held = this.#held.filter(({ source }) => source.firstSequence > firstSequence);
    this.#heldBytes = this.#held.reduce((bytes, { unit }) => bytes + wireBytes(unit), 0);
    return true;
  }

  /** A group stream has begun. */
  begin(stream: K, preamble: GroupPreamble): void {
    const { group, firstSequence, discontinuity } = preamble;
    this.#sources.set(stream, { group, firstSequence, discontinuity, hasBegun: false });
  }

  /** A unit has arrived on a group stream that is open; on another one it is ignored. */
  push(stream: K, unit: Unit, nowMs: number): void {
    const source = this.#sources.get(stream);
    if (!source) return;
    const gap = source.hasBegun ? "final" : source.discontinuity ? "earlier-streams" : "open";
    source.hasBegun = true;
    const at = this.#position(unit.sequence);
    const later = this.#held[at];
    const isTooLate = this.#lastSequence !== undefined && unit.sequence <= this.#lastSequence;
    if (isTooLate || later?.unit.sequence === unit.sequence) {
      this.#staleUnits++;
      return;
    }
    const sinceMs = Math.min(nowMs, later?.sinceMs ?? nowMs);
    this.#held.splice(at, 0, { unit, sinceMs, source, gap });
    this.#heldBytes += wireBytes(unit);
  }

  /** A group stream has ended, by FIN, reset or stop. */
  end(stream: K): void {
    this.#sources.delete(stream);
  }

  /** The units that are in order or need not be waited for any longer. */
  poll(nowMs: number): SequencedUnit[] {
    const ready: SequencedUnit[] = [];
    for (const held of this.#held) {
      if (this.#mustWait(held, nowMs)) break;
      const { unit } = held;
      const expected = this.#lastSequence === undefined ? unit.sequence : this.#lastSequence + 1;
      ready.push({ unit, missingUnits: unit.sequence - expected });
      this.#heldBytes -= wireBytes(unit);
      this.#lastSequence = unit.sequence;
    }
    if (ready.length > 0) this.#held.splice(0, ready.length);
    return ready;
  }

  /** When {@link poll} will hand out more although nothing else happens. */
  nextDeadlineMs(): number | undefined {
    const [first] = this.#held;
    return first && first.sinceMs + this.#limits.maxHoldMs;
  }

  #mustWait(held: Held, nowMs: number): boolean {
    if (this.#heldBytes > this.#limits.maxHeldBytes) return false;
    // Compared with the deadline as it is told, so that a timer set to it never comes too early.
    if (nowMs >= held.sinceMs + this.#limits.maxHoldMs) return false;
    if (this.#lastSequence === undefined) return this.#isEarlierSourceOpen(held.source);
    if (held.unit.sequence === this.#lastSequence + 1) return false;
    if (held.gap === "earlier-streams") return this.#isEarlierSourceOpen(held.source);
    return held.gap === "open";
  }

  #isEarlierSourceOpen(than: Source): boolean {
    for (const { group, firstSequence } of this.#sources.values()) {
      if (group < than.group || (group === than.group && firstSequence < than.firstSequence)) return true;
    }
    return false;
  }

  /** Where among the held units one with this sequence number is or belongs. */
  #position(sequence: number): number {
    let [low, high] = [0, this.#held.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const held = this.#held[middle];
      if (held && held.unit.sequence < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function wireBytes(unit: Unit): number {
  return HEADER_BYTES + unit.payload.length;
}
