/**
 * Identifiers are UUIDs: 16 bytes in units, and text in messages (docs/protocol.md 4). Text is the hyphenated
 * form, read in either case and always written in lower case.
 */

import { Code } from "./codes.js";
import { WireError } from "./errors.js";
import { sha1 } from "./sha1.js";

/** Bytes of an identifier. */
export const UUID_BYTES = 16;

const HYPHENATED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const HEX: readonly string[] = Array.from({ length: 0x100 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Whether `text` is an identifier. */
export function isUuid(text: string): boolean {
  return HYPHENATED.test(text);
}

/**
 * The 16 bytes (RFC 9562 order) behind a text.
 *
 * @throws WireError `BadId` if the text is not the hyphenated form of a UUID
 */
export function uuidToBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(UUID_BYTES);
  writeUuid(bytes, 0, text);
  return bytes;
}

/** Writes the 16 bytes behind a text at `offset`; errors as {@link uuidToBytes}. */
export function writeUuid(target: Uint8Array, offset: number, text: string): void {
  if (!isUuid(text)) {
    const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
    throw new WireError("BadId", Code.PROTOCOL_VIOLATION, `${JSON.stringify(shown)} is not a UUID`);
  }
  let at = 0;
  for (let i = 0; i < UUID_BYTES; i++) {
    if (text[at] === "-") at++;
    target[offset + i] = Number.parseInt(text.slice(at, at + 2), 16);
    at += 2;
  }
}

/** The text behind the 16 bytes at `offset`, which must be there. */
export function uuidFromBytes(bytes: Uint8Array, offset = 0): string {
  const hex = (i: number) => HEX[bytes[offset + i] ?? 0] ?? "";
  const start = `${hex(0)}${hex(1)}${hex(2)}${hex(3)}-${hex(4)}${hex(5)}-${hex(6)}${hex(7)}`;
  return `${start}-${hex(8)}${hex(9)}-${hex(10)}${hex(11)}${hex(12)}${hex(13)}${hex(14)}${hex(15)}`;
}

/** A new stream id: UUIDv4. */
export function randomStreamId(): string {
  return crypto.randomUUID();
}

/**
 * The wire stream id of a simulcast layer that declares none (docs/protocol.md 4.3): UUIDv5 (RFC 9562 section 5.5)
 * with the stream id as name space and the UTF-8 bytes of the layer id as name.
 *
 * @throws WireError `BadId` if `streamId` is no UUID
 */
export function layerStreamId(streamId: string, layerId: string): string {
  const name = new TextEncoder().encode(layerId);
  const hashed = new Uint8Array(UUID_BYTES + name.length);
  writeUuid(hashed, 0, streamId);
  hashed.set(name, UUID_BYTES);
  const digest = sha1(hashed);
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x50;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  return uuidFromBytes(digest);
}
