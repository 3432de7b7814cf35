/**
 * Units put together to video frames (docs/protocol.md 2.4), and which of these frames decode.
 *
 * Video travels on QUIC streams. Only the sender leaves units out there, and only whole frames: discardable ones, or
 * everything up to the next key frame (6.6). So numbers that are missing inside one QUIC stream are harmless. What is
 * missing before a QUIC stream that goes on with a group has been lost: frames from there on do not decode, up to the
 * next key frame.
 */

import { Flags, FrameType, type Unit } from "../protocol/unit.js";

/** Bytes of one frame; larger ones are dropped. Several units of the largest payload. */
export const MAX_FRAME_BYTES = 32 * 1024 * 1024;
/** Units of one frame; those with little in them cost memory, too. */
export const MAX_FRAME_UNITS = 4096;

/** A whole encoded frame. */
export interface EncodedFrame {
  readonly key: boolean;
  /** Capture time as in the unit headers, µs since the Unix epoch. */
  readonly timestampUs: number;
  /** Of its first unit. */
  readonly sequence: number;
  /** No other frame needs this one. */
  readonly discardable: boolean;
  /** As the encoder made it; possibly a view of memory that other frames share. */
  readonly payload: Uint8Array;
}

/** What is known of a unit besides itself. */
export interface UnitPlace {
  /** It is the first on its QUIC stream. */
  readonly startsStream: boolean;
}

interface PartialFrame {
  readonly first: Unit;
  readonly pieces: Uint8Array[];
  bytes: number;
  /** It has all its units so far. */
  whole: boolean;
}

/** Puts the units of one wire stream id, which must come in ascending order, together. */
export class FrameAssembler {
  #next: number | undefined;
  #partial: PartialFrame | undefined;
  #needsKeyFrame = true;
  #unusableFrames = 0;
  #missingUnits = 0;

  /** Whether frames are thrown away until a key frame comes. */
  get needsKeyFrame(): boolean {
    return this.#needsKeyFrame;
  }

  /** Frames that missed a unit, or came after a hole. */
  get unusableFrames(): number {
    return this.#unusableFrames;
  }

  /** Sequence numbers that did not come, whether left out by a sender or lost. */
  get missingUnits(): number {
    return this.#missingUnits;
  }

  /** Takes the next unit; the frame, if it is whole with it and decodes. */
  push(unit: Unit, place: UnitPlace): EncodedFrame | undefined {
    const missing = this.#next === undefined ? 0 : Math.max(unit.sequence - this.#next, 0);
    const follows = this.#next === unit.sequence;
    this.#next = unit.sequence + 1;
    this.#missingUnits += missing;
    if (missing > 0 && place.startsStream) this.#needsKeyFrame = true;

    const partial = this.#continued(unit, follows);
    partial.bytes += unit.payload.length;
    if (partial.bytes > MAX_FRAME_BYTES || partial.pieces.length >= MAX_FRAME_UNITS) partial.whole = false;
    if (partial.whole) partial.pieces.push(unit.payload);
    else partial.pieces.length = 0;
    if ((unit.flags & Flags.EndOfFrame) === 0) return undefined;
    this.#partial = undefined;
    return this.#finished(partial);
  }

  /** What comes next begins anew with a key frame, and may have come before. */
  restart(): void {
    this.#next = undefined;
    this.#partial = undefined;
    this.#needsKeyFrame = true;
  }

  /** The frame in progress that the unit belongs to; a new one if it begins one. */
  #continued(unit: Unit, follows: boolean): PartialFrame {
    const partial = this.#partial;
    if (partial && partial.first.timestampUs === unit.timestampUs) {
      partial.whole &&= follows && partial.first.frameType === unit.frameType;
      return partial;
    }
    if (partial) this.#unusable(partial.first);
    this.#partial = { first: unit, pieces: [], bytes: 0, whole: true };
    return this.#partial;
  }

  #finished(partial: PartialFrame): EncodedFrame | undefined {
    const { first, pieces } = partial;
    const key = first.frameType === FrameType.VideoKey;
    if (!partial.whole || (this.#needsKeyFrame && !key)) {
      this.#unusable(first);
      return undefined;
    }
    this.#needsKeyFrame = false;
    return {
      key,
      timestampUs: first.timestampUs,
      sequence: first.sequence,
      discardable: isDiscardable(first),
      payload: joined(pieces, partial.bytes),
    };
  }

  #unusable(first: Unit): void {
    this.#unusableFrames++;
    if (!isDiscardable(first)) this.#needsKeyFrame = true;
  }
}

function isDiscardable(unit: Unit): boolean {
  return (unit.flags & Flags.Discardable) !== 0;
}

function joined(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
