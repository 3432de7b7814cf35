/**
 * Integers of variable length: those of QUIC (RFC 9000 section 16: 1, 2, 4 or 8 bytes, big-endian, the length in
 * the two highest bits), and the length prefix of messages, which is a varint of Protocol Buffers (LEB128).
 */

import { Code } from "./codes.js";
import { WireError } from "./errors.js";

/** A decoded integer and the bytes that it took. */
export interface Varint {
  readonly value: number;
  readonly bytes: number;
}

/** Bytes of the longest QUIC varint. */
export const MAX_VARINT_BYTES = 8;

/** Bytes that {@link writeVarint} writes for `value`. */
export function varintBytes(value: number): number {
  if (value < 0x40) return 1;
  if (value < 0x4000) return 2;
  return value < 0x4000_0000 ? 4 : 8;
}

/**
 * Writes `value` in its shortest form at `offset` and returns the offset behind it.
 *
 * @throws WireError if `value` is not an integer of 0 to 2^53 - 1
 */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new WireError("BadNumber", Code.INTERNAL, `${value} does not fit into a varint`);
  }
  const bytes = varintBytes(value);
  let rest = value;
  for (let at = offset + bytes - 1; at >= offset; at--) {
    target[at] = rest % 0x100;
    rest = Math.floor(rest / 0x100);
  }
  // The highest two bits are free: a value of 2^53 - 1 leaves even eleven.
  target[offset] = (target[offset] ?? 0) | (Math.log2(bytes) << 6);
  return offset + bytes;
}

/** The shortest form of `value`; errors as {@link writeVarint}. */
export function encodeVarint(value: number): Uint8Array {
  const target = new Uint8Array(varintBytes(value));
  writeVarint(target, 0, value);
  return target;
}

/**
 * Reads one integer at `offset`; `undefined` if `bytes` ends inside it. Longer forms than needed are accepted, as
 * RFC 9000 demands.
 *
 * @throws WireError if the value is over 2^53 - 1
 */
export function decodeVarint(bytes: Uint8Array, offset = 0): Varint | undefined {
  const first = bytes[offset];
  if (first === undefined) return undefined;
  const length = 1 << (first >> 6);
  if (bytes.length - offset < length) return undefined;
  let value = first & 0x3f;
  for (let at = offset + 1; at < offset + length; at++) {
    // Above 2^53 this is inexact, but stays above it.
    value = value * 0x100 + (bytes[at] ?? 0);
  }
  if (!Number.isSafeInteger(value)) {
    throw new WireError("BadNumber", Code.MALFORMED_UNIT, "a number over 2^53 - 1 is not supported");
  }
  return { value, bytes: length };
}

/** Bytes of the longest length prefix that is accepted (docs/protocol.md 5.1). */
export const MAX_LENGTH_PREFIX_BYTES = 5;

/** The length prefix of a message of `lengthBytes` (below 2^32) bytes. */
export function encodeLengthPrefix(lengthBytes: number): Uint8Array {
  const prefix: number[] = [];
  let rest = lengthBytes;
  while (rest >= 0x80) {
    prefix.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  prefix.push(rest);
  return Uint8Array.from(prefix);
}

/**
 * Reads a length prefix at `offset`; `undefined` if `bytes` ends inside it.
 *
 * @throws WireError if it is longer than 5 bytes
 */
export function decodeLengthPrefix(bytes: Uint8Array, offset = 0): Varint | undefined {
  let value = 0;
  for (let at = 0; at < MAX_LENGTH_PREFIX_BYTES; at++) {
    const byte = bytes[offset + at];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 0x80 ** at;
    if (byte < 0x80) return { value, bytes: at + 1 };
  }
  const message = `length prefix is longer than ${MAX_LENGTH_PREFIX_BYTES} bytes`;
  throw new WireError("Malformed", Code.MALFORMED_MESSAGE, message);
}
