/** The one error of the wire codecs. */

import { Code, codeName } from "./codes.js";

/**
 * What was wrong:
 * - `UnsupportedVersion`, `PayloadTooLarge`, `Truncated`, `WrongStream`: a unit;
 * - `BadMagic`, `BadLength`, `UnknownKind`: a group preamble;
 * - `TooLarge`, `Malformed`: a message;
 * - `BadId`: text that is not a UUID;
 * - `BadNumber`: a number that this side cannot represent exactly (over 2^53 - 1), or that its field cannot.
 */
export type WireReason =
  | "UnsupportedVersion"
  | "PayloadTooLarge"
  | "Truncated"
  | "WrongStream"
  | "BadMagic"
  | "BadLength"
  | "UnknownKind"
  | "TooLarge"
  | "Malformed"
  | "BadId"
  | "BadNumber";

/**
 * Bytes that break the protocol, or values that cannot be put on the wire. The codecs throw (or return) nothing
 * else, whatever the bytes are.
 */
export class WireError extends Error {
  override readonly name = "WireError";

  /** @param code the code with which the QUIC stream is stopped or the session closed */
  constructor(
    readonly reason: WireReason,
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Name of the code in the table of docs/protocol.md 7. */
  get codeName(): string {
    return codeName(this.code);
  }
}

/** A stream, datagram or preamble that ended too early. */
export function truncated(what: string, haveBytes: number, needBytes: number): WireError {
  const message = `ended inside ${what}: ${haveBytes} of ${needBytes} bytes`;
  return new WireError("Truncated", Code.MALFORMED_UNIT, message);
}
