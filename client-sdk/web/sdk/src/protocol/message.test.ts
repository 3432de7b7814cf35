import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EnvelopeSchema } from "./gen/darktower/v1/signaling_pb.js";
import { MAX_MESSAGE_BYTES } from "./limits.js";
import {
  decodeEnvelope,
  decodeMediaClientMessage,
  decodeMediaServerMessage,
  encodeEnvelope,
  encodeMediaClientMessage,
  encodeMediaServerMessage,
  encodeMessage,
  MessageDecoder,
} from "./message.js";
import { concat, Random, unhex, wireErrorOf } from "./testing.js";
import { checkWellFormed } from "./well_formed.js";

test("what is decoded does not depend on the chunks", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = new Random(seed);
    const sent = Array.from({ length: random.below(6) }, () =>
      random.bytes(random.pick([0, 1, 127, 128, random.below(2000)])),
    );
    const wire = concat(sent.map((message) => encodeMessage(message)));
    const decoder = new MessageDecoder();
    const got: Uint8Array[] = [];
    let wasteBytes = 0;
    for (const chunk of random.chunks(wire, random.pick([1, 3, 100, 5000]))) {
      got.push(...decoder.push(chunk));
      wasteBytes = Math.max(wasteBytes, decoder.capacityBytes - 2 * decoder.bufferedBytes);
    }
    expect(wasteBytes).toBeLessThanOrEqual(1024);
    decoder.finish();
    expect(got).toEqual(sent);
    expect(decoder.capacityBytes).toBe(0);
  }
});

test("a message of 64 KiB is the largest", () => {
  const largest = encodeMessage(new Uint8Array(MAX_MESSAGE_BYTES));
  expect(new MessageDecoder().push(largest).map(({ length }) => length)).toEqual([MAX_MESSAGE_BYTES]);
  const tooLarge = wireErrorOf(() => encodeMessage(new Uint8Array(MAX_MESSAGE_BYTES + 1)));
  expect([tooLarge.reason, tooLarge.codeName]).toEqual(["TooLarge", "MESSAGE_TOO_LARGE"]);
  expect(new MessageDecoder(3).push(encodeMessage(new Uint8Array(3))).length).toBe(1);
  const decoder = new MessageDecoder(3);
  expect(wireErrorOf(() => decoder.push(Uint8Array.of(4))).reason).toBe("TooLarge");
});

test("messages before an error in one chunk are kept, and the error comes with the next call", () => {
  const decoder = new MessageDecoder();
  expect(decoder.push(unhex("0101ffffffffff"))).toEqual([Uint8Array.of(1)]);
  expect(decoder.failed?.reason).toBe("Malformed");
  expect(wireErrorOf(() => decoder.push(Uint8Array.of(0)))).toBe(decoder.failed);
  expect(decoder.bufferedBytes).toBe(0);
});

/** Longer forms than needed are varints, too. */
test("a length in a long form does not take from the next message", () => {
  for (const chunks of [
    ["80", "00", "0141"],
    ["80", "000141"],
    ["8080", "000141"],
    ["80800001", "41"],
  ]) {
    const decoder = new MessageDecoder();
    expect(chunks.flatMap((chunk) => decoder.push(unhex(chunk)))).toEqual([unhex(""), unhex("41")]);
    decoder.finish();
  }
});

test("typed messages go round", () => {
  const envelope = create(EnvelopeSchema, {
    version: 1,
    requestId: 9n,
    message: { case: "subscribeStream", value: { streamId: "ä" } },
  });
  expect(decodeEnvelope(encodeEnvelope(envelope))).toEqual(envelope);
  const ping = decodeMediaClientMessage(
    encodeMediaClientMessage({ message: { case: "ping", value: { id: 5n } } }),
  );
  expect(ping.message).toMatchObject({ case: "ping", value: { id: 5n } });
  const pong = decodeMediaServerMessage(
    encodeMediaServerMessage({ message: { case: "pong", value: { id: 5n, serverTime: 2n ** 60n } } }),
  );
  expect(pong.message).toMatchObject({ case: "pong", value: { serverTime: 2n ** 60n } });
});

/** What the decoder of protobuf-es lets pass and the server's does not. */
test.each([
  ["a string that is not UTF-8", "52030a01ff"],
  ["an error whose details have a key that is not UTF-8", "fa01061a040a02c328"],
  ["a nested message that is longer than its parent", "52030a0541"],
  ["a field that ends after its message", "52020a0141"],
  ["a fixed number that ends after its message", "e203041d00000000"],
  ["a string that is sent as a number", "52020801"],
  ["a number that is sent as bytes", "0a0101"],
  ["a message that is sent as a number", "5001"],
  ["a number longer than ten bytes", "08ffffffffffffffffffffff01"],
  ["an unknown field longer than ten bytes", "f83fffffffffffffffffffff01"],
  ["field number 0", "0001"],
  ["a group that does not end", "f33f0801"],
  ["a group that ends as another", "f33ffc40"],
  ["the end of no group", "f43f"],
  ["a group in 100 groups", "f33f".repeat(101) + "f43f".repeat(101)],
])("%s is refused", (_, wire) => {
  const error = wireErrorOf(() => decodeEnvelope(unhex(wire)));
  expect([error.reason, error.codeName]).toEqual(["Malformed", "MALFORMED_MESSAGE"]);
  expect(() => checkWellFormed(EnvelopeSchema, unhex(wire))).toThrow(error.message.replace(/.*?: /, ""));
});

test.each([
  ["an unknown number", "0801f83f05"],
  ["an unknown string that is not UTF-8", "0801fa3f01ff"],
  ["an unknown group", "0801f33f0801f33ff43ff43f"],
  ["a group in 99 groups", `0801${"f33f".repeat(100)}${"f43f".repeat(100)}`],
])("%s is ignored", (_, wire) => {
  const envelope = decodeEnvelope(unhex(wire));
  expect(envelope.version).toBe(1);
  expect(encodeEnvelope(envelope)).toEqual(unhex("0801"));
});
