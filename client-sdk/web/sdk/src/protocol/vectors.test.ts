/**
 * The byte-exact vectors of `protocol/testdata`, in both directions. They come from a third implementation, and the
 * Rust codecs read them, too.
 */

import { type DescMessage, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import badMessages from "../../../../../protocol/testdata/bad_messages.json";
import badPreambles from "../../../../../protocol/testdata/bad_preambles.json";
import badUnits from "../../../../../protocol/testdata/bad_units.json";
import datagrams from "../../../../../protocol/testdata/datagrams.json";
import errorCodes from "../../../../../protocol/testdata/error_codes.json";
import futureMessages from "../../../../../protocol/testdata/future_messages.json";
import layers from "../../../../../protocol/testdata/layers.json";
import messages from "../../../../../protocol/testdata/messages.json";
import preambles from "../../../../../protocol/testdata/preambles.json";
import units from "../../../../../protocol/testdata/units.json";
import { CODES, fromWebTransport, toWebTransport } from "./codes.js";
import { decodeDatagram, encodeDatagram } from "./datagram.js";
import type { WireError } from "./errors.js";
import {
  MediaClientMessageSchema,
  MediaServerMessageSchema,
  PublisherFeedbackSchema,
} from "./gen/darktower/v1/media_pb.js";
import { EnvelopeSchema } from "./gen/darktower/v1/signaling_pb.js";
import { decodeGroupPreamble, encodeGroupPreamble, GroupDecoder, GroupKind } from "./group.js";
import { layerStreamId } from "./ids.js";
import {
  decodeEnvelope,
  decodeMediaClientMessage,
  decodeMediaServerMessage,
  decodePublisherFeedback,
  encodeMessage,
  MessageDecoder,
} from "./message.js";
import { asWireError, hex, unhex, wireErrorOf } from "./testing.js";
import { encodeUnit, FrameType, HEADER_BYTES, type Unit, UnitDecoder } from "./unit.js";

type UnitRow = (typeof units)[number];

/** The one vector that JavaScript numbers do not hold. */
const MAX_VALUES = "max-values";

const TYPE_NAMES = new Map<number, string>([
  [FrameType.Audio, "audio"],
  [FrameType.VideoKey, "video_key"],
  [FrameType.VideoDelta, "video_delta"],
  [FrameType.Attach, "attach"],
]);

function unitOf(row: UnitRow): Unit {
  return {
    frameType: row.frame_type,
    streamId: row.stream_id,
    timestampUs: Number(row.timestamp),
    sequence: Number(row.sequence),
    flags: row.flags,
    payload: unhex(row.payload),
  };
}

describe("units.json", () => {
  test.each(units.filter(({ name }) => !name.endsWith(MAX_VALUES)))("$name", (row) => {
    const wire = unhex(row.wire);
    const isKnown = row.frame_type_name !== "unknown";
    expect(TYPE_NAMES.get(row.frame_type)).toBe(isKnown ? row.frame_type_name : undefined);
    for (const chunks of [[wire], Array.from(wire, (byte) => Uint8Array.of(byte))]) {
      const decoder = new UnitDecoder();
      const decoded = chunks.flatMap((chunk) => decoder.push(chunk));
      decoder.finish();
      expect(decoded).toEqual(isKnown ? [unitOf(row)] : []);
      expect(decoder.skippedUnits).toBe(isKnown ? 0 : 1);
    }
    expect(wire.length).toBe(HEADER_BYTES + row.payload_len);
    // Reserved bytes are ignored when they come, and sent as 0.
    const sent = unhex(row.wire);
    sent.fill(0, 40, HEADER_BYTES);
    expect(hex(encodeUnit(unitOf(row)))).toBe(hex(sent));
  });

  test("numbers over 2^53 are refused", () => {
    const rows = units.filter(({ name }) => name.endsWith(MAX_VALUES));
    expect(rows.length).toBe(1);
    for (const row of rows) {
      const error = wireErrorOf(() => new UnitDecoder().push(unhex(row.wire)));
      expect([error.reason, error.codeName]).toEqual(["BadNumber", "MALFORMED_UNIT"]);
    }
  });
});

describe("preambles.json", () => {
  test.each(preambles.filter(({ name }) => !name.endsWith(MAX_VALUES)))("$name", (row) => {
    const preamble = {
      kind: row.kind === "video" ? GroupKind.Video : GroupKind.Audio,
      continuation: row.continuation,
      discontinuity: row.discontinuity,
      streamId: row.stream_id,
      group: Number(row.group),
      firstSequence: Number(row.first_sequence),
    };
    const wire = unhex(row.wire);
    expect(decodeGroupPreamble(wire)).toEqual({ preamble, bytes: wire.length });
    for (let cut = 0; cut < wire.length; cut++) {
      expect(decodeGroupPreamble(wire.subarray(0, cut))).toBeUndefined();
    }
    if (!row.decode_only) expect(hex(encodeGroupPreamble(preamble))).toBe(row.wire);
  });

  test("numbers over 2^53 are refused", () => {
    const rows = preambles.filter(({ name }) => name.endsWith(MAX_VALUES));
    expect(rows.length).toBe(1);
    for (const row of rows) {
      const error = wireErrorOf(() => decodeGroupPreamble(unhex(row.wire)));
      expect([error.reason, error.codeName]).toEqual(["BadNumber", "MALFORMED_UNIT"]);
    }
  });
});

test.each(datagrams)("datagrams.json: $name", (row) => {
  const expected = row.units.map((name) => {
    const known = units.find((known) => known.name === name);
    if (!known) throw new Error(`no unit ${name}`);
    return unitOf(known);
  });
  const { units: decoded, skippedUnits, error } = decodeDatagram(unhex(row.wire));
  expect(decoded).toEqual(expected);
  expect(skippedUnits).toBe(row.skipped);
  expect([error?.reason, error?.codeName]).toEqual([row.error ?? undefined, row.code ?? undefined]);
  if (!row.error && row.skipped === 0) expect(hex(encodeDatagram(expected))).toBe(row.wire);
});

interface MessageType {
  schema: DescMessage;
  decode: (bytes: Uint8Array) => JsonValue;
}

/** The functions for a type of message, by its name in the vectors. */
function messageType(name: string): MessageType {
  switch (name) {
    case "Envelope":
      return { schema: EnvelopeSchema, decode: (bytes) => toJson(EnvelopeSchema, decodeEnvelope(bytes)) };
    case "MediaClientMessage":
      return {
        schema: MediaClientMessageSchema,
        decode: (bytes) => toJson(MediaClientMessageSchema, decodeMediaClientMessage(bytes)),
      };
    case "MediaServerMessage":
      return {
        schema: MediaServerMessageSchema,
        decode: (bytes) => toJson(MediaServerMessageSchema, decodeMediaServerMessage(bytes)),
      };
    case "PublisherFeedback":
      return {
        schema: PublisherFeedbackSchema,
        decode: (bytes) => toJson(PublisherFeedbackSchema, decodePublisherFeedback(bytes)),
      };
    default:
      throw new Error(`no type ${name}`);
  }
}

function onlyMessage(wire: Uint8Array): Uint8Array {
  const decoder = new MessageDecoder();
  const [message, ...more] = decoder.push(wire);
  decoder.finish();
  if (!message || more.length > 0) throw new Error("not one message");
  return message;
}

test.each(messages)("messages.json: $name", (row) => {
  const { schema, decode } = messageType(row.type);
  expect(decode(onlyMessage(unhex(row.wire)))).toEqual(row.json);
  const message = fromJson(schema, row.json);
  expect(hex(encodeMessage(toBinary(schema, message)))).toBe(row.wire);
});

/** What a later version adds is skipped, and all that is known stays. */
test.each(futureMessages)("future_messages.json: $name", (row) => {
  const { schema, decode } = messageType(row.type);
  const json = decode(onlyMessage(unhex(row.wire)));
  expect(json).toEqual(row.json);
  const known = encodeMessage(toBinary(schema, fromJson(schema, json)));
  expect(known.length).toBeLessThan(unhex(row.wire).length);
});

interface BadRow {
  name: string;
  wire: string;
  error: string;
  code: string;
  refused_after: number | null;
}

/** Feeds single bytes: the error must come after exactly as many as the vector says. */
function checkRefusal(row: BadRow, push: (chunk: Uint8Array) => unknown, finish: () => void): void {
  let error: WireError | undefined;
  let refusedAfter: number | null = null;
  unhex(row.wire).forEach((byte, at) => {
    if (error) return;
    try {
      push(Uint8Array.of(byte));
    } catch (thrown) {
      error = asWireError(thrown);
      refusedAfter = at + 1;
    }
  });
  error ??= wireErrorOf(finish);
  expect([error.reason, error.codeName, refusedAfter]).toEqual([row.error, row.code, row.refused_after]);
  expect(wireErrorOf(() => push(Uint8Array.of(1)))).toBe(error);
  expect(wireErrorOf(finish)).toBe(error);
}

test.each(badUnits)("bad_units.json: $name", (row) => {
  const decoder = new UnitDecoder();
  checkRefusal(
    row,
    (chunk) => decoder.push(chunk),
    () => decoder.finish(),
  );
  expect(decoder.failed?.reason).toBe(row.error);
});

test.each(badPreambles)("bad_preambles.json: $name", (row) => {
  const decoder = new GroupDecoder();
  checkRefusal(
    row,
    (chunk) => decoder.push(chunk),
    () => decoder.finish(),
  );
  expect(decoder.failed?.reason).toBe(row.error);
});

test.each(badMessages)("bad_messages.json: $name", (row) => {
  const decoder = new MessageDecoder();
  let malformed: WireError | undefined;
  checkRefusal(
    row,
    (chunk) => {
      // As a reader of a stream does: a message that is none ends the stream, too.
      if (malformed) throw malformed;
      for (const message of decoder.push(chunk)) {
        try {
          decodeEnvelope(message);
        } catch (error) {
          malformed = asWireError(error);
          throw malformed;
        }
      }
    },
    () => {
      if (malformed) throw malformed;
      decoder.finish();
    },
  );
});

test("error_codes.json is the whole table", () => {
  const rows = CODES.map(({ name, code }) => ({ name, number: code, webtransport: toWebTransport(code) }));
  expect(rows).toEqual(errorCodes);
  expect(errorCodes.map(({ webtransport }) => fromWebTransport(webtransport))).toEqual(
    errorCodes.map(({ number }) => number),
  );
});

test.each(layers)("layers.json: $stream_id $layer_id", (row) => {
  expect(layerStreamId(row.stream_id, row.layer_id)).toBe(row.wire_stream_id);
  expect(layerStreamId(row.stream_id.toUpperCase(), row.layer_id)).toBe(row.wire_stream_id);
});
