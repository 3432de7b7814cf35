/**
 * Units: a header of 46 bytes and a payload (docs/protocol.md 2), one at a time and back to back on a QUIC stream
 * (3.1).
 *
 * | offset | bytes | field          |
 * |-------:|------:|----------------|
 * |      0 |     1 | version, 1     |
 * |      1 |     1 | frame type     |
 * |      2 |    16 | stream id      |
 * |     18 |     8 | timestamp      |
 * |     26 |     8 | sequence       |
 * |     34 |     4 | payload length |
 * |     38 |     2 | flags          |
 * |     40 |     6 | reserved: sent as 0, ignored |
 *
 * Timestamps and sequence numbers are JavaScript numbers: exact up to 2^53 - 1, which is the year 2255 and more
 * units than anybody sends. Beyond that a unit is an error (`BadNumber`), in both directions.
 */

import { Code } from "./codes.js";
import { truncated, WireError } from "./errors.js";
import { HeldBytes } from "./held_bytes.js";
import { UUID_BYTES, uuidFromBytes, writeUuid } from "./ids.js";
import { DEFAULT_UNIT_LIMITS, type UnitLimits } from "./limits.js";

/** Bytes of a unit header. */
export const HEADER_BYTES = 46;

/** The version byte of every unit of this protocol. */
export const UNIT_VERSION = 1;

/** What a unit carries. Units of other types are skipped by a receiver. */
export const FrameType = {
  /** An audio frame. */
  Audio: 0x00,
  /** (Part of) a video frame that decodes by itself. */
  VideoKey: 0x01,
  /** (Part of) a video frame that needs earlier ones. */
  VideoDelta: 0x02,
  /** No media: asks for a subscription on this QUIC stream (docs/protocol.md 6.4). */
  Attach: 0x80,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Bits of {@link Unit.flags}. */
export const Flags = {
  /** The last, or only, unit of its frame. */
  EndOfFrame: 1,
  /** No other frame needs this one. */
  Discardable: 2,
} as const;

/** What a sender chooses of a unit besides its payload. */
export interface UnitHeader {
  /** {@link FrameType}. */
  frameType: number;
  /** Wire stream id, hyphenated, lower case when received. */
  streamId: string;
  /** Capture time in µs since the Unix epoch; equal for all units of a frame. */
  timestampUs: number;
  /** 0 for the first unit of a wire stream id, then +1 per unit. */
  sequence: number;
  /** {@link Flags}; reserved bits are kept when received. */
  flags: number;
}

/** A unit. */
export interface Unit extends UnitHeader {
  /**
   * A received payload is a view into memory that other units may share: copy it before its buffer is transferred
   * to another thread.
   */
  payload: Uint8Array;
}

/** Offsets of the header's fields. */
const AT = { type: 1, streamId: 2, timestamp: 18, sequence: 26, payloadLength: 34, flags: 38, reserved: 40 };

/**
 * Writes the 46 bytes of a header at `offset`.
 *
 * @throws WireError `BadId` or `BadNumber` for values that no header holds; RangeError if `target` is too short
 */
export function writeHeader(
  target: Uint8Array,
  offset: number,
  header: UnitHeader,
  payloadBytes: number,
): void {
  checkNumber("frame type", header.frameType, 0xff);
  checkNumber("timestamp", header.timestampUs, Number.MAX_SAFE_INTEGER);
  checkNumber("sequence", header.sequence, Number.MAX_SAFE_INTEGER);
  checkNumber("payload length", payloadBytes, 0xffff_ffff);
  checkNumber("flags", header.flags, 0xffff);
  const view = new DataView(target.buffer, target.byteOffset + offset, HEADER_BYTES);
  view.setUint8(0, UNIT_VERSION);
  view.setUint8(AT.type, header.frameType);
  writeUuid(target, offset + AT.streamId, header.streamId);
  writeUint64(view, AT.timestamp, header.timestampUs);
  writeUint64(view, AT.sequence, header.sequence);
  view.setUint32(AT.payloadLength, payloadBytes);
  view.setUint16(AT.flags, header.flags);
  target.fill(0, offset + AT.reserved, offset + HEADER_BYTES);
}

/** Header and payload in one new array; errors as {@link writeHeader}. */
export function encodeUnit(unit: Unit): Uint8Array {
  const wire = new Uint8Array(HEADER_BYTES + unit.payload.length);
  writeHeader(wire, 0, unit, unit.payload.length);
  wire.set(unit.payload, HEADER_BYTES);
  return wire;
}

function checkNumber(what: string, value: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new WireError("BadNumber", Code.INTERNAL, `${what} ${value} does not fit into a unit header`);
  }
}

function writeUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, Math.floor(value / 0x1_0000_0000));
  view.setUint32(offset + 4, value % 0x1_0000_0000);
}

function readUint64(view: DataView, offset: number, what: string): number {
  const high = view.getUint32(offset);
  if (high > 0x1f_ffff) {
    throw new WireError("BadNumber", Code.MALFORMED_UNIT, `a ${what} over 2^53 - 1 is not supported`);
  }
  return high * 0x1_0000_0000 + view.getUint32(offset + 4);
}

/** A received header that has been checked; `header` is missing if the unit's type is not known. */
export interface ReceivedHeader {
  readonly header: UnitHeader | undefined;
  readonly payloadBytes: number;
}

/** The 16 bytes of an id. */
type IdWords = readonly [number, number, number, number];

/** Reads unit headers. Keeps the text of the stream id that it saw last, because it is mostly the same. */
export class HeaderReader {
  readonly #limits: UnitLimits;
  #idWords: IdWords = [0, 0, 0, 0];
  #idText = "00000000-0000-0000-0000-000000000000";

  constructor(limits: UnitLimits) {
    this.#limits = limits;
  }

  /**
   * Reads the 46 bytes at `offset`, which must be there; the payload need not be.
   *
   * @throws WireError if they are no header, or announce a payload over the bound of its type
   */
  read(view: DataView, offset: number): ReceivedHeader {
    checkVersion(view.getUint8(offset));
    const frameType = view.getUint8(offset + AT.type);
    const payloadBytes = view.getUint32(offset + AT.payloadLength);
    const maxBytes = maxPayloadBytes(frameType, this.#limits);
    if (payloadBytes > maxBytes) {
      const message = `payload of ${payloadBytes} bytes is over the limit of ${maxBytes} for type ${frameType}`;
      throw new WireError("PayloadTooLarge", Code.PAYLOAD_TOO_LARGE, message);
    }
    if (!isKnownType(frameType)) return { header: undefined, payloadBytes };
    const header = {
      frameType,
      streamId: this.#streamId(view, offset + AT.streamId),
      timestampUs: readUint64(view, offset + AT.timestamp, "timestamp"),
      sequence: readUint64(view, offset + AT.sequence, "sequence number"),
      flags: view.getUint16(offset + AT.flags),
    };
    return { header, payloadBytes };
  }

  #streamId(view: DataView, offset: number): string {
    const [a, b, c, d] = this.#idWords;
    const words: IdWords = [
      view.getUint32(offset),
      view.getUint32(offset + 4),
      view.getUint32(offset + 8),
      view.getUint32(offset + 12),
    ];
    if (words[0] !== a || words[1] !== b || words[2] !== c || words[3] !== d) {
      this.#idWords = words;
      this.#idText = uuidFromBytes(new Uint8Array(view.buffer, view.byteOffset + offset, UUID_BYTES));
    }
    return this.#idText;
  }
}

/** @throws WireError if `version` is not the first byte of a unit */
export function checkVersion(version: number): void {
  if (version !== UNIT_VERSION) {
    const message = `unit version ${version} is not supported; this side speaks ${UNIT_VERSION}`;
    throw new WireError("UnsupportedVersion", Code.UNSUPPORTED_VERSION, message);
  }
}

function isKnownType(frameType: number): boolean {
  return frameType <= FrameType.VideoDelta || frameType === FrameType.Attach;
}

function maxPayloadBytes(frameType: number, limits: UnitLimits): number {
  if (frameType === FrameType.Audio) return limits.maxAudioPayloadBytes;
  return frameType === FrameType.Attach ? 0 : limits.maxVideoPayloadBytes;
}

/** How a {@link UnitDecoder} decodes. */
export interface UnitDecoderOptions {
  /** Bounds of payloads; those of docs/protocol.md 2.5 if not given. */
  readonly limits?: UnitLimits;
  /** The wire stream id of all units. */
  readonly streamId?: string;
  /** Whether all units must have the wire stream id of the first (docs/protocol.md 3.1). */
  readonly isOneStream?: boolean;
}

/**
 * Decodes units from chunks of a byte stream.
 *
 * Units of unknown type are skipped. Payloads are views of the pushed chunks where a unit lies in one chunk whole
 * (do not reuse a chunk's memory), else of a copy. At most one unfinished unit is held.
 */
export class UnitDecoder {
  readonly #headers: HeaderReader;
  readonly #isOneStream: boolean;
  #streamId: string | undefined;
  /** The start of a unit that is not whole yet. */
  readonly #held = new HeldBytes();
  /** Its header, once it is there. */
  #heldHeader: ReceivedHeader | undefined;
  /** Bytes of a unit of unknown type that have yet to be thrown away, and its length. */
  #skippingBytes = 0;
  #skippingOfBytes = 0;
  #skippedUnits = 0;
  #failed: WireError | undefined;

  constructor(options: UnitDecoderOptions = {}) {
    this.#headers = new HeaderReader(options.limits ?? DEFAULT_UNIT_LIMITS);
    this.#streamId = options.streamId?.toLowerCase();
    this.#isOneStream = options.isOneStream ?? options.streamId !== undefined;
  }

  /** Units of unknown type that were skipped so far. */
  get skippedUnits(): number {
    return this.#skippedUnits;
  }

  /** Bytes held back because their unit is not whole yet. */
  get bufferedBytes(): number {
    return this.#held.length;
  }

  /** Memory that they take. */
  get capacityBytes(): number {
    return this.#held.capacityBytes;
  }

  /** Why the bytes are not a sequence of units, as soon as it is known. The QUIC stream cannot go on after that. */
  get failed(): WireError | undefined {
    return this.#failed;
  }

  /**
   * Takes the next bytes of the stream and returns the units that are whole now.
   *
   * Whole units before an error in the same chunk are returned; {@link failed} is set, and the next call of
   * `push` or {@link finish} throws it.
   *
   * @throws WireError the same again on every call after the first
   */
  push(chunk: Uint8Array): Unit[] {
    if (this.#failed) throw this.#failed;
    const units: Unit[] = [];
    try {
      this.#decode(chunk, units);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#failed = error;
      this.#held.clear();
      if (units.length === 0) throw error;
    }
    return units;
  }

  /**
   * To be called when the stream ended.
   *
   * @throws WireError if it ended inside a unit, or had failed before
   */
  finish(): void {
    if (this.#failed) throw this.#failed;
    if (this.#skippingBytes > 0) {
      this.#failed = truncated("a unit", this.#skippingOfBytes - this.#skippingBytes, this.#skippingOfBytes);
    } else if (this.#held.length > 0) {
      this.#failed = truncated("a unit", this.#held.length, wireBytes(this.#heldHeader));
    }
    if (this.#failed) throw this.#failed;
  }

  #decode(chunk: Uint8Array, units: Unit[]): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < chunk.length) {
      if (this.#skippingBytes > 0) {
        const skipped = Math.min(this.#skippingBytes, chunk.length - at);
        this.#skippingBytes -= skipped;
        at += skipped;
      } else if (this.#held.length > 0 || chunk.length - at < HEADER_BYTES) {
        at += this.#hold(chunk, at, units);
      } else {
        at += this.#decodeInPlace(chunk, view, at, units);
      }
    }
  }

  /** Takes the unit at `at`, whose header is in the chunk; returns how many bytes have been dealt with. */
  #decodeInPlace(chunk: Uint8Array, view: DataView, at: number, units: Unit[]): number {
    const received = this.#headers.read(view, at);
    const needBytes = wireBytes(received);
    if (!received.header) {
      this.#skip(needBytes);
      return 0;
    }
    if (chunk.length - at < needBytes) {
      this.#heldHeader = received;
      return this.#held.append(chunk, at, needBytes);
    }
    units.push(this.#unit(received.header, chunk.subarray(at + HEADER_BYTES, at + needBytes)));
    return needBytes;
  }

  /** Adds bytes to a unit that comes in several chunks; returns how many. */
  #hold(chunk: Uint8Array, at: number, units: Unit[]): number {
    const taken = this.#held.append(chunk, at, wireBytes(this.#heldHeader));
    const { bytes } = this.#held;
    checkVersion(bytes[0] ?? UNIT_VERSION);
    if (bytes.length < HEADER_BYTES) return taken;
    this.#heldHeader ??= this.#headers.read(
      new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      0,
    );
    const { header } = this.#heldHeader;
    const needBytes = wireBytes(this.#heldHeader);
    if (header && bytes.length < needBytes) return taken;
    this.#heldHeader = undefined;
    const wire = this.#held.take();
    if (header) {
      units.push(this.#unit(header, wire.subarray(HEADER_BYTES)));
    } else {
      this.#skip(needBytes);
      this.#skippingBytes -= wire.length;
    }
    return taken;
  }

  #skip(bytes: number): void {
    this.#skippingBytes = bytes;
    this.#skippingOfBytes = bytes;
    this.#skippedUnits++;
  }

  #unit(header: UnitHeader, payload: Uint8Array): Unit {
    if (this.#isOneStream) {
      this.#streamId ??= header.streamId;
      if (header.streamId !== this.#streamId) {
        const message = `unit of stream ${header.streamId} on a QUIC stream of ${this.#streamId}`;
        throw new WireError("WrongStream", Code.WRONG_STREAM, message);
      }
    }
    const { frameType, streamId, timestampUs, sequence, flags } = header;
    return { frameType, streamId, timestampUs, sequence, flags, payload };
  }
}

/** Bytes of header and payload, those of a header if that has not come. */
function wireBytes(received: ReceivedHeader | undefined): number {
  return HEADER_BYTES + (received?.payloadBytes ?? 0);
}
