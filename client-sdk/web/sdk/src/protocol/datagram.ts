/** Units in QUIC datagrams: one or more whole units, nothing else (docs/protocol.md 3.3). */

import { truncated, WireError } from "./errors.js";
import { DEFAULT_UNIT_LIMITS, type UnitLimits } from "./limits.js";
import { checkVersion, HEADER_BYTES, HeaderReader, type Unit, writeHeader } from "./unit.js";

/** What a datagram held. */
export interface DatagramUnits {
  /** The whole units before an error, in order; their payloads are views of the datagram. */
  readonly units: Unit[];
  /** Units of unknown type that were skipped. */
  readonly skippedUnits: number;
  /** Why the rest of the datagram was dropped. It does not end the session. */
  readonly error?: WireError;
}

/** The units of a datagram. Throws nothing. */
export function decodeDatagram(
  datagram: Uint8Array,
  limits: UnitLimits = DEFAULT_UNIT_LIMITS,
): DatagramUnits {
  const units: Unit[] = [];
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const headers = new HeaderReader(limits);
  let skippedUnits = 0;
  try {
    for (let at = 0; at < datagram.length; ) {
      const haveBytes = datagram.length - at;
      checkVersion(view.getUint8(at));
      if (haveBytes < HEADER_BYTES) throw truncated("a unit header", haveBytes, HEADER_BYTES);
      const { header, payloadBytes } = headers.read(view, at);
      const needBytes = HEADER_BYTES + payloadBytes;
      if (!header) skippedUnits++;
      if (haveBytes < needBytes) throw truncated("a unit", haveBytes, needBytes);
      if (header) units.push({ ...header, payload: datagram.subarray(at + HEADER_BYTES, at + needBytes) });
      at += needBytes;
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { units, skippedUnits, error };
  }
  return { units, skippedUnits };
}

/**
 * Units back to back. Only audio travels in datagrams, and no more bytes than the transport's `maxDatagramSize`:
 * the caller sees to both.
 *
 * @throws WireError as `writeHeader` does
 */
export function encodeDatagram(units: readonly Unit[]): Uint8Array {
  const bytes = units.reduce((sum, unit) => sum + HEADER_BYTES + unit.payload.length, 0);
  const datagram = new Uint8Array(bytes);
  let at = 0;
  for (const unit of units) {
    writeHeader(datagram, at, unit, unit.payload.length);
    datagram.set(unit.payload, at + HEADER_BYTES);
    at += HEADER_BYTES + unit.payload.length;
  }
  return datagram;
}
