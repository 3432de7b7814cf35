/**
 * Random bytes and damaged vectors into every decoder: whatever comes, it gives a `WireError` or nothing worse than
 * odd units, says the same for every way in which the bytes are cut, and holds no more than its bounds.
 */

import { describe, expect, test } from "vitest";
import badMessages from "../../../../../protocol/testdata/bad_messages.json";
import badPreambles from "../../../../../protocol/testdata/bad_preambles.json";
import badUnits from "../../../../../protocol/testdata/bad_units.json";
import datagrams from "../../../../../protocol/testdata/datagrams.json";
import futureMessages from "../../../../../protocol/testdata/future_messages.json";
import messages from "../../../../../protocol/testdata/messages.json";
import preambles from "../../../../../protocol/testdata/preambles.json";
import units from "../../../../../protocol/testdata/units.json";
import { decodeDatagram } from "./datagram.js";
import { WireError } from "./errors.js";
import { decodeGroupPreamble, GroupDecoder } from "./group.js";
import { uuidToBytes } from "./ids.js";
import {
  decodeEnvelope,
  decodeMediaClientMessage,
  decodeMediaServerMessage,
  decodePublisherFeedback,
  MessageDecoder,
} from "./message.js";
import { asWireError, concat, Random, unhex } from "./testing.js";
import { HEADER_BYTES, UnitDecoder } from "./unit.js";
import { decodeLengthPrefix, decodeVarint } from "./varint.js";

const VECTORS = [
  badMessages,
  badPreambles,
  badUnits,
  datagrams,
  futureMessages,
  messages,
  preambles,
  units,
].flatMap((rows) => rows.map(({ wire }) => unhex(wire)));

/** Small bounds, so that they are reached. */
const LIMITS = { maxAudioPayloadBytes: 100, maxVideoPayloadBytes: 300 };
const MAX_HELD_BYTES = 300;

/** Vectors put together and damaged: bits turned, bytes cut out, put in or doubled, the rest random. */
function damaged(random: Random): Uint8Array {
  let bytes = concat(
    Array.from({ length: 1 + random.below(4) }, () =>
      random.once(8)
        ? random.bytes(random.below(60))
        : (VECTORS[random.below(VECTORS.length)] ?? new Uint8Array()),
    ),
  );
  for (let damage = random.below(4); damage > 0 && bytes.length > 0; damage--) {
    const at = random.below(bytes.length);
    // Headers and prefixes are at the front: damage is more interesting there.
    const near = random.once(2) ? at : Math.min(at, random.below(HEADER_BYTES));
    const until = near + random.below(20);
    switch (random.below(4)) {
      case 0:
        bytes[near] = (bytes[near] ?? 0) ^ (1 << random.below(8));
        break;
      case 1:
        bytes = concat([bytes.subarray(0, near), bytes.subarray(until)]);
        break;
      case 2:
        bytes = concat([bytes.subarray(0, near), random.bytes(random.below(10)), bytes.subarray(near)]);
        break;
      default:
        bytes = concat([bytes.subarray(0, until), bytes.subarray(near)]);
    }
  }
  return bytes;
}

interface StreamDecoder {
  readonly bufferedBytes: number;
  readonly capacityBytes: number;
  push(chunk: Uint8Array): unknown[];
  finish(): void;
}

/** Everything that came out, and the error at the end of it. */
function outcome(decoder: StreamDecoder, chunks: readonly Uint8Array[], maxHeldBytes: number) {
  const decoded: unknown[] = [];
  try {
    for (const chunk of chunks) {
      decoded.push(...decoder.push(chunk));
      if (decoder.bufferedBytes > maxHeldBytes) throw new Error(`holds ${decoder.bufferedBytes} bytes`);
      const maxCapacityBytes = Math.max(1024, 2 * decoder.bufferedBytes);
      if (decoder.capacityBytes > maxCapacityBytes) throw new Error(`takes ${decoder.capacityBytes} bytes`);
    }
    decoder.finish();
    return { decoded, error: undefined };
  } catch (error) {
    return { decoded, error: asWireError(error).message };
  }
}

const STREAM_DECODERS: [string, number, () => StreamDecoder][] = [
  ["UnitDecoder", HEADER_BYTES + MAX_HELD_BYTES, () => new UnitDecoder({ limits: LIMITS })],
  [
    "UnitDecoder of one stream",
    HEADER_BYTES + MAX_HELD_BYTES,
    () => new UnitDecoder({ limits: LIMITS, isOneStream: true }),
  ],
  ["GroupDecoder", HEADER_BYTES + MAX_HELD_BYTES, () => new GroupDecoder(LIMITS)],
  ["MessageDecoder", 5 + MAX_HELD_BYTES, () => new MessageDecoder(MAX_HELD_BYTES)],
];

describe.each(STREAM_DECODERS)("%s", (_, maxHeldBytes, decoder) => {
  test("damaged vectors and random bytes, in any chunks", () => {
    let [failed, whole] = [0, 0];
    for (let seed = 1; seed <= 2_000; seed++) {
      const random = new Random(seed);
      const bytes = damaged(random);
      const atOnce = outcome(decoder(), [bytes], maxHeldBytes);
      const inChunks = outcome(decoder(), random.chunks(bytes, random.pick([1, 20, 60])), maxHeldBytes);
      expect(inChunks).toEqual(atOnce);
      if (atOnce.error === undefined) whole++;
      else failed++;
    }
    // Both ways out are taken often, or this tests little.
    expect(failed).toBeGreaterThan(100);
    expect(whole).toBeGreaterThan(5);
  });
});

test("decodeDatagram", () => {
  for (let seed = 1; seed <= 5_000; seed++) {
    const bytes = damaged(new Random(seed));
    const { units, error } = decodeDatagram(bytes, LIMITS);
    const decodedBytes = units.reduce((sum, { payload }) => sum + HEADER_BYTES + payload.length, 0);
    expect(decodedBytes).toBeLessThanOrEqual(bytes.length);
    if (error !== undefined) expect(error).toBeInstanceOf(WireError);
  }
});

test.each<[string, (bytes: Uint8Array) => unknown, string[]]>([
  ["decodeEnvelope", decodeEnvelope, ["Malformed", "none"]],
  ["decodeMediaClientMessage", decodeMediaClientMessage, ["Malformed", "none"]],
  ["decodeMediaServerMessage", decodeMediaServerMessage, ["Malformed", "none"]],
  ["decodePublisherFeedback", decodePublisherFeedback, ["Malformed", "none"]],
  ["decodeGroupPreamble", decodeGroupPreamble, ["BadLength", "BadMagic", "BadNumber", "UnknownKind", "none"]],
  ["decodeVarint", decodeVarint, ["BadNumber", "none"]],
  ["decodeLengthPrefix", decodeLengthPrefix, ["Malformed", "none"]],
  ["uuidToBytes", (bytes) => uuidToBytes(new TextDecoder().decode(bytes)), ["BadId"]],
])("%s", (_, decode, expected) => {
  const reasons = new Set<string>();
  for (let seed = 1; seed <= 5_000; seed++) {
    const random = new Random(seed);
    // Without its length prefix, the vector of a message is a message.
    const bytes = damaged(random).subarray(random.below(3));
    try {
      decode(bytes);
      reasons.add("none");
    } catch (error) {
      reasons.add(asWireError(error).reason);
    }
  }
  expect([...reasons].sort()).toEqual(expected);
});
