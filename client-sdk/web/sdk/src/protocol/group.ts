/**
 * Group streams (feature `groups`, docs/protocol.md 3.2): a unidirectional QUIC stream with a short preamble and
 * then units.
 *
 * ```text
 * 0xd7 | length u8 | kind u8 | flags u8 | stream id 16 | group varint | first sequence varint
 * ```
 * `length` counts the bytes after it; those beyond the known fields belong to later versions and are ignored.
 */

import { Code } from "./codes.js";
import { truncated, WireError } from "./errors.js";
import { HeldBytes } from "./held_bytes.js";
import { UUID_BYTES, uuidFromBytes, writeUuid } from "./ids.js";
import type { UnitLimits } from "./limits.js";
import { type Unit, UnitDecoder } from "./unit.js";
import { decodeVarint, varintBytes, writeVarint } from "./varint.js";

/** First byte of a preamble; never a unit version. */
export const PREAMBLE_MAGIC = 0xd7;

/** Magic and length. */
const START_BYTES = 2;
/** What `length` counts before the varints: kind, flags, stream id. */
const FIXED_BYTES = 2 + UUID_BYTES;
/** What `length` counts at least. */
const MIN_LENGTH = FIXED_BYTES + 2;

const FLAG_CONTINUATION = 1;
const FLAG_DISCONTINUITY = 2;

/** What the units of a group stream are. */
export const GroupKind = {
  /** A group of pictures: starts with a key frame unless it is a continuation. */
  Video: 1,
  /** Audio that does not fit into datagrams. */
  Audio: 3,
} as const;
export type GroupKind = (typeof GroupKind)[keyof typeof GroupKind];

/** The start of a group stream. */
export interface GroupPreamble {
  kind: GroupKind;
  /** The group began on an earlier QUIC stream. */
  continuation: boolean;
  /** The sender left out what lies between its last unit and this stream: a receiver need not wait for it. */
  discontinuity: boolean;
  /** Wire stream id of every unit on this QUIC stream. */
  streamId: string;
  /** Sequence number of the first unit of the group, up to 2^53 - 1. */
  group: number;
  /** Sequence number of the first unit on this QUIC stream, up to 2^53 - 1. */
  firstSequence: number;
}

/**
 * The bytes on the wire.
 *
 * @throws WireError `BadId` or `BadNumber` for values that no preamble holds
 */
export function encodeGroupPreamble(preamble: GroupPreamble): Uint8Array {
  const { kind, continuation, discontinuity, streamId, group, firstSequence } = preamble;
  const length = FIXED_BYTES + varintBytes(group) + varintBytes(firstSequence);
  const wire = new Uint8Array(START_BYTES + length);
  const flags = (continuation ? FLAG_CONTINUATION : 0) | (discontinuity ? FLAG_DISCONTINUITY : 0);
  wire.set([PREAMBLE_MAGIC, length, kind, flags]);
  writeUuid(wire, 4, streamId);
  const afterGroup = writeVarint(wire, START_BYTES + FIXED_BYTES, group);
  writeVarint(wire, afterGroup, firstSequence);
  return wire;
}

/**
 * Reads a preamble from the front of `bytes`; `undefined` if more are needed.
 *
 * @throws WireError if the bytes cannot become a preamble
 */
export function decodeGroupPreamble(
  bytes: Uint8Array,
): { preamble: GroupPreamble; bytes: number } | undefined {
  const needBytes = preambleBytes(bytes);
  if (bytes.length < needBytes) return undefined;
  const body = bytes.subarray(START_BYTES, needBytes);
  const group = decodeVarint(body, FIXED_BYTES);
  const firstSequence = group && decodeVarint(body, FIXED_BYTES + group.bytes);
  if (!firstSequence) throw badLength(body.length);
  const [kind, flags = 0] = body;
  if (kind !== GroupKind.Video && kind !== GroupKind.Audio) {
    throw new WireError("UnknownKind", Code.MALFORMED_UNIT, `unknown group kind ${kind}`);
  }
  const preamble = {
    kind,
    continuation: (flags & FLAG_CONTINUATION) !== 0,
    discontinuity: (flags & FLAG_DISCONTINUITY) !== 0,
    streamId: uuidFromBytes(body, 2),
    group: group.value,
    firstSequence: firstSequence.value,
  };
  return { preamble, bytes: needBytes };
}

/** Bytes of the preamble that starts like this; of its start if that is not whole. */
function preambleBytes(bytes: Uint8Array): number {
  const [magic, length] = bytes;
  if (magic !== undefined && magic !== PREAMBLE_MAGIC) {
    const message = `a group stream starts with ${PREAMBLE_MAGIC}, not ${magic}`;
    throw new WireError("BadMagic", Code.MALFORMED_UNIT, message);
  }
  if (length !== undefined && length < MIN_LENGTH) throw badLength(length);
  return START_BYTES + (length ?? 0);
}

function badLength(length: number): WireError {
  const message = `preamble of ${length} bytes is too short for its fields`;
  return new WireError("BadLength", Code.MALFORMED_UNIT, message);
}

/**
 * Decodes a group stream as its bytes arrive: the preamble, then units of its stream id. Views and bounds are those
 * of {@link UnitDecoder}; before that at most one preamble (257 bytes) is held.
 */
export class GroupDecoder {
  readonly #limits: UnitLimits | undefined;
  readonly #head = new HeldBytes();
  #preamble: GroupPreamble | undefined;
  #units: UnitDecoder | undefined;
  #failed: WireError | undefined;

  constructor(limits?: UnitLimits) {
    this.#limits = limits;
  }

  /** The preamble, once it has arrived. */
  get preamble(): GroupPreamble | undefined {
    return this.#preamble;
  }

  /** Units of unknown type that were skipped so far. */
  get skippedUnits(): number {
    return this.#units?.skippedUnits ?? 0;
  }

  /** Bytes held back because their preamble or unit is not whole yet. */
  get bufferedBytes(): number {
    return this.#head.length + (this.#units?.bufferedBytes ?? 0);
  }

  /** Memory that they take. */
  get capacityBytes(): number {
    return this.#head.capacityBytes + (this.#units?.capacityBytes ?? 0);
  }

  /** Why the bytes are not a group stream, as soon as it is known. */
  get failed(): WireError | undefined {
    return this.#failed ?? this.#units?.failed;
  }

  /**
   * Takes the next bytes of the stream and returns the units that are whole now; {@link preamble} is set before the
   * first of them. Errors as {@link UnitDecoder.push}.
   */
  push(chunk: Uint8Array): Unit[] {
    if (this.#failed) throw this.#failed;
    if (this.#units) return this.#units.push(chunk);
    try {
      return this.#begin(chunk);
    } catch (error) {
      if (error instanceof WireError && !this.#units) this.#failed = error;
      this.#head.clear();
      throw error;
    }
  }

  /**
   * To be called when the stream ended.
   *
   * @throws WireError if it ended inside the preamble or a unit, or had failed before
   */
  finish(): void {
    if (this.#units) {
      this.#units.finish();
      return;
    }
    this.#failed ??= truncated("the group preamble", this.#head.length, preambleBytes(this.#head.bytes));
    throw this.#failed;
  }

  #begin(chunk: Uint8Array): Unit[] {
    // First the two bytes that say how long the preamble is, then the rest of it.
    let at = this.#head.append(chunk, 0, preambleBytes(this.#head.bytes));
    at += this.#head.append(chunk, at, preambleBytes(this.#head.bytes));
    const decoded = decodeGroupPreamble(this.#head.bytes);
    if (!decoded) return [];
    this.#preamble = decoded.preamble;
    this.#head.clear();
    const { streamId } = decoded.preamble;
    this.#units = new UnitDecoder(this.#limits ? { limits: this.#limits, streamId } : { streamId });
    return this.#units.push(chunk.subarray(at));
  }
}
