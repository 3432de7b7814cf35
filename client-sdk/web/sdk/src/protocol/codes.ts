/**
 * The one table of codes with which connections are closed and QUIC streams reset or stopped
 * (docs/protocol.md 7).
 *
 * Which number goes where in a browser:
 * - `WebTransportError.streamErrorCode`, as an abort or cancel reason and as the error of a stream, is the code
 *   of the table itself: the browser maps it into the range of HTTP/3 and back. So is `closeCode` of
 *   `WebTransport.close()`. Use {@link Code} and {@link fromStreamErrorCode}; nothing else is needed.
 * - {@link toWebTransport} and {@link fromWebTransport} are the mapping that the browser does: for numbers read
 *   in a trace, a server's log or another HTTP/3 implementation.
 */

interface Row {
  readonly name: string;
  readonly code: number;
  readonly meaning: string;
}

/** Every code with its name and meaning. */
export const CODES = [
  { name: "NO_ERROR", code: 0x00, meaning: "Nothing went wrong: the session or stream ended as planned." },
  {
    name: "CANCELLED",
    code: 0x01,
    meaning: "The receiver no longer wants the stream (unsubscribed, closed).",
  },
  { name: "DROPPED_GROUP", code: 0x02, meaning: "The group fell too far behind live; a newer one follows." },
  { name: "LAYER_SWITCHED", code: 0x03, meaning: "Another layer of the stream has taken over." },
  { name: "PUBLISHER_GONE", code: 0x04, meaning: "The publisher left or unpublished the stream." },
  { name: "INTERNAL", code: 0x05, meaning: "The fault is on this side; trying again is sensible." },
  { name: "GOING_AWAY", code: 0x06, meaning: "The server is shutting down or draining." },
  {
    name: "PROTOCOL_VIOLATION",
    code: 0x10,
    meaning: "The peer broke a rule of the protocol that has no code of its own.",
  },
  {
    name: "UNSUPPORTED_VERSION",
    code: 0x11,
    meaning: "No version in common, or a unit with an unknown version byte.",
  },
  {
    name: "MALFORMED_UNIT",
    code: 0x12,
    meaning: "A unit, datagram or group preamble ends inside its header or payload, or makes no sense.",
  },
  {
    name: "PAYLOAD_TOO_LARGE",
    code: 0x13,
    meaning: "A unit announces more payload than the limit of its type.",
  },
  {
    name: "STREAM_NOT_REGISTERED",
    code: 0x14,
    meaning: "The stream id was not registered by this participant (in time).",
  },
  {
    name: "WRONG_STREAM",
    code: 0x15,
    meaning: "A unit carries another stream id than the QUIC stream it came on.",
  },
  { name: "MALFORMED_MESSAGE", code: 0x16, meaning: "A control message cannot be decoded." },
  { name: "MESSAGE_TOO_LARGE", code: 0x17, meaning: "A control message is over the size bound." },
  {
    name: "UNAUTHORIZED",
    code: 0x18,
    meaning: "The token is missing, expired, used up, forged or meant for something else.",
  },
  {
    name: "TIMED_OUT",
    code: 0x19,
    meaning: "What the protocol asks for did not come in time (first message, stream header).",
  },
  { name: "RATE_LIMITED", code: 0x1a, meaning: "Too many messages, streams or datagrams." },
  { name: "CAPACITY_EXCEEDED", code: 0x1b, meaning: "A limit of the meeting or the server is reached." },
  {
    name: "DUPLICATE",
    code: 0x1c,
    meaning: "The same participant connected again; this session was replaced.",
  },
  { name: "KICKED", code: 0x1d, meaning: "A host removed the participant." },
  { name: "MEETING_ENDED", code: 0x1e, meaning: "The meeting is over." },
  { name: "TOO_SLOW", code: 0x1f, meaning: "The subscriber did not read for too long." },
  { name: "NOT_SUBSCRIBED", code: 0x20, meaning: "The stream was not subscribed to (in time)." },
] as const satisfies readonly Row[];

/** The name of a code of the table. */
export type CodeName = (typeof CODES)[number]["name"];

/** The number of a code of the table. */
export type Code = (typeof CODES)[number]["code"];

/** The codes by name. */
export const Code = /*@__PURE__*/ Object.freeze(
  Object.fromEntries(CODES.map(({ name, code }) => [name, code])),
) as { readonly [R in (typeof CODES)[number] as R["name"]]: R["code"] };

/** The code of the table behind `streamErrorCode`; a number that is none is `PROTOCOL_VIOLATION`. */
export function fromStreamErrorCode(streamErrorCode: number | null | undefined): Code {
  return rowOf(streamErrorCode)?.code ?? Code.PROTOCOL_VIOLATION;
}

/** The name in the table, `UNKNOWN` for a number that is not in it. */
export function codeName(code: number): CodeName | "UNKNOWN" {
  return rowOf(code)?.name ?? "UNKNOWN";
}

/** What the code says, for error texts and logs; empty for a number that is not in the table. */
export function codeMeaning(code: number): string {
  return rowOf(code)?.meaning ?? "";
}

function rowOf(code: number | null | undefined): (typeof CODES)[number] | undefined {
  return CODES.find((row) => row.code === code);
}

/** First and last number of the range that draft-ietf-webtrans-http3 (4.3) reserves for stream errors. */
const WEBTRANSPORT_FIRST = 0x52e4a40fa8db;
const WEBTRANSPORT_LAST = 0x52e5ac983162;

/**
 * The number of a code (any of 32 bits) on the wire of a WebTransport stream: every 31st number is left out for
 * HTTP/3 greasing.
 */
export function toWebTransport(code: number): number {
  return WEBTRANSPORT_FIRST + code + Math.floor(code / 0x1e);
}

/** The code behind a number on the wire; one outside the range, or of HTTP/3, is `PROTOCOL_VIOLATION`. */
export function fromWebTransport(wire: number): number {
  const isInRange = wire >= WEBTRANSPORT_FIRST && wire <= WEBTRANSPORT_LAST;
  if (!isInRange || (wire - 0x21) % 0x1f === 0) return Code.PROTOCOL_VIOLATION;
  const shifted = wire - WEBTRANSPORT_FIRST;
  return shifted - Math.floor(shifted / 0x1f);
}
