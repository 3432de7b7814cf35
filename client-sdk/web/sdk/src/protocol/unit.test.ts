import { describe, expect, test } from "vitest";
import { decodeDatagram, encodeDatagram } from "./datagram.js";
import {
  agreedLimits,
  DEFAULT_UNIT_LIMITS,
  MAX_AUDIO_PAYLOAD_BYTES,
  MAX_VIDEO_PAYLOAD_BYTES,
} from "./limits.js";
import { concat, hex, OTHER_STREAM, Random, STREAM, unit, wireErrorOf } from "./testing.js";
import { encodeUnit, FrameType, HEADER_BYTES, type Unit, UnitDecoder, writeHeader } from "./unit.js";

const UNKNOWN_TYPE = 0x7f;

/** Any unit, also of unknown types and other streams. */
function anyUnit(random: Random, maxPayloadBytes: number): Unit {
  const frameType = random.pick([0, 1, 2, 0x80, UNKNOWN_TYPE, 3, 0xff]);
  const payloadBytes = frameType === FrameType.Attach ? 0 : random.below(maxPayloadBytes + 1);
  return {
    frameType,
    streamId: random.pick([STREAM, OTHER_STREAM]),
    timestampUs: random.below(2 ** 32) * random.below(2 ** 21),
    sequence: random.pick([0, 1, random.below(2 ** 32), 2 ** 32, 2 ** 53 - 1]),
    flags: random.below(2 ** 16),
    payload: random.bytes(payloadBytes),
  };
}

const isKnown = (unit: Unit) => unit.frameType <= 2 || unit.frameType === FrameType.Attach;

describe("UnitDecoder", () => {
  test("what is decoded does not depend on the chunks", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const sent = Array.from({ length: random.below(8) }, () => anyUnit(random, random.pick([0, 5, 3000])));
      const wire = concat(sent.map(encodeUnit));
      const decoder = new UnitDecoder();
      const got: Unit[] = [];
      let wasteBytes = 0;
      for (const chunk of random.chunks(wire, random.pick([1, 10, 46, 100, 5000]))) {
        got.push(...decoder.push(chunk));
        wasteBytes = Math.max(wasteBytes, decoder.capacityBytes - 2 * decoder.bufferedBytes);
      }
      expect(wasteBytes).toBeLessThanOrEqual(1024);
      decoder.finish();
      expect(got).toEqual(sent.filter(isKnown));
      expect(decoder.skippedUnits).toBe(sent.filter((unit) => !isKnown(unit)).length);
      expect(decoder.capacityBytes).toBe(0);
    }
  });

  test("payloads in one chunk are views of it", () => {
    const chunk = concat([encodeUnit(unit(0)), encodeUnit(unit(1))]);
    const buffers = new UnitDecoder().push(chunk).map(({ payload }) => payload.buffer);
    expect(buffers).toEqual([chunk.buffer, chunk.buffer]);
    expect(buffers[0]).toBe(chunk.buffer);
  });

  test("chunks may be views themselves", () => {
    const wire = encodeUnit(unit(7));
    const memory = concat([Uint8Array.of(9, 9, 9), wire, Uint8Array.of(9)]);
    expect(new UnitDecoder().push(memory.subarray(3, 3 + wire.length))).toEqual([unit(7)]);
  });

  test("units before an error in one chunk are kept, and the error comes with the next call", () => {
    const decoder = new UnitDecoder();
    expect(decoder.push(concat([encodeUnit(unit(0)), Uint8Array.of(2)]))).toEqual([unit(0)]);
    expect(decoder.failed?.reason).toBe("UnsupportedVersion");
    expect(wireErrorOf(() => decoder.push(Uint8Array.of(1)))).toBe(decoder.failed);
    expect(wireErrorOf(() => decoder.finish())).toBe(decoder.failed);
  });

  test("nothing is kept after an error", () => {
    const decoder = new UnitDecoder({ isOneStream: true });
    decoder.push(encodeUnit(unit(0)));
    const other = encodeUnit(unit(1, { streamId: OTHER_STREAM, payload: new Uint8Array(10_000) }));
    decoder.push(other.subarray(0, 5_000));
    expect(decoder.bufferedBytes).toBe(5_000);
    expect(wireErrorOf(() => decoder.push(other.subarray(5_000))).reason).toBe("WrongStream");
    expect([decoder.bufferedBytes, decoder.capacityBytes]).toEqual([0, 0]);

    const limited = new UnitDecoder({ limits: { maxAudioPayloadBytes: 9, maxVideoPayloadBytes: 9 } });
    limited.push(other.subarray(0, HEADER_BYTES - 1));
    expect(wireErrorOf(() => limited.push(other.subarray(HEADER_BYTES - 1))).reason).toBe("PayloadTooLarge");
    expect([limited.bufferedBytes, limited.capacityBytes]).toEqual([0, 0]);
  });

  test("ids that differ in one place are told apart", () => {
    const places = [...STREAM.matchAll(/[0-9a-f]/g)].map(({ index }) => index);
    const ids = places.map((at) => {
      const digit = STREAM[at] === "f" ? "e" : "f";
      return STREAM.slice(0, at) + digit + STREAM.slice(at + 1);
    });
    const sent = ids.flatMap((streamId) => [unit(0), unit(0, { streamId })]);
    expect(new UnitDecoder().push(concat(sent.map(encodeUnit)))).toEqual(sent);
  });

  test("the first numbers that are not exact are refused", () => {
    for (const offset of [18, 26]) {
      const wire = encodeUnit(unit(0));
      wire.set([0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], offset);
      const [largest] = new UnitDecoder().push(wire);
      expect(offset === 18 ? largest?.timestampUs : largest?.sequence).toBe(2 ** 53 - 1);
      wire.set([0, 0x20, 0, 0, 0, 0, 0, 0], offset);
      expect(wireErrorOf(() => new UnitDecoder().push(wire)).reason).toBe("BadNumber");
    }
  });

  test("the stream id is checked if asked for", () => {
    const wire = concat([encodeUnit(unit(0)), encodeUnit(unit(0, { streamId: OTHER_STREAM }))]);
    expect(new UnitDecoder().push(wire).length).toBe(2);
    const one = new UnitDecoder({ isOneStream: true });
    expect(one.push(wire).length).toBe(1);
    expect(one.failed?.codeName).toBe("WRONG_STREAM");
    expect(new UnitDecoder({ streamId: STREAM.toUpperCase() }).push(wire).length).toBe(1);
    const other = new UnitDecoder({ streamId: OTHER_STREAM });
    expect(wireErrorOf(() => other.push(wire)).codeName).toBe("WRONG_STREAM");
  });

  test("a payload over the bound is refused with its header, and one at the bound is not", () => {
    const limits = { maxAudioPayloadBytes: 10, maxVideoPayloadBytes: 20 };
    const bounds: [number, number][] = [
      [FrameType.Audio, 10],
      [FrameType.VideoKey, 20],
      [UNKNOWN_TYPE, 20],
      [FrameType.Attach, 0],
    ];
    for (const [frameType, bytes] of bounds) {
      const fits = encodeUnit(unit(0, { frameType, payload: new Uint8Array(bytes) }));
      const decoder = new UnitDecoder({ limits });
      decoder.push(fits);
      decoder.finish();
      const tooLarge = encodeUnit(unit(0, { frameType, payload: new Uint8Array(bytes + 1) }));
      const error = wireErrorOf(() => new UnitDecoder({ limits }).push(tooLarge.subarray(0, HEADER_BYTES)));
      expect(error.codeName).toBe("PAYLOAD_TOO_LARGE");
    }
  });

  test("what is announced is not allocated, and what is skipped is not kept", () => {
    const header = new Uint8Array(HEADER_BYTES);
    writeHeader(header, 0, unit(0), MAX_VIDEO_PAYLOAD_BYTES);
    const waiting = new UnitDecoder();
    waiting.push(header);
    waiting.push(Uint8Array.of(1));
    expect(waiting.capacityBytes).toBeLessThanOrEqual(1024);

    writeHeader(header, 0, unit(0, { frameType: UNKNOWN_TYPE }), MAX_VIDEO_PAYLOAD_BYTES);
    const skipping = new UnitDecoder();
    skipping.push(header);
    for (let at = 0; at < MAX_VIDEO_PAYLOAD_BYTES; at += 1 << 16) {
      skipping.push(new Uint8Array(1 << 16));
      expect(skipping.capacityBytes).toBe(0);
    }
    skipping.finish();
    expect(skipping.skippedUnits).toBe(1);

    const cutOff = new UnitDecoder();
    cutOff.push(header);
    cutOff.push(Uint8Array.of(1));
    expect(wireErrorOf(() => cutOff.finish()).message).toContain("47 of 4194350 bytes");
  });
});

describe("writeHeader", () => {
  test("writes at an offset and zeroes the reserved bytes", () => {
    const target = new Uint8Array(HEADER_BYTES + 5).fill(0xee);
    writeHeader(target.subarray(1), 2, unit(3), 1);
    expect(hex(target.subarray(3, 3 + HEADER_BYTES))).toBe(
      hex(encodeUnit(unit(3)).subarray(0, HEADER_BYTES)),
    );
    expect([target[2], target[3 + HEADER_BYTES]]).toEqual([0xee, 0xee]);
  });

  test("refuses what no header holds", () => {
    const bad: Partial<Unit>[] = [
      { sequence: 2 ** 53 },
      { sequence: -1 },
      { sequence: 0.5 },
      { timestampUs: 2 ** 53 },
      { timestampUs: Number.NaN },
      { frameType: 0x100 },
      { flags: 0x1_0000 },
    ];
    for (const fields of bad) {
      expect(wireErrorOf(() => encodeUnit(unit(0, fields))).reason).toBe("BadNumber");
    }
    expect(wireErrorOf(() => encodeUnit(unit(0, { streamId: "camera" }))).reason).toBe("BadId");
  });
});

test("datagrams go round", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Random(seed);
    const sent = Array.from({ length: random.below(6) }, () => anyUnit(random, 200));
    const { units, skippedUnits, error } = decodeDatagram(encodeDatagram(sent));
    expect(error).toBeUndefined();
    expect(units).toEqual(sent.filter(isKnown));
    expect(units.length + skippedUnits).toBe(sent.length);
  }
});

test("the server's limits are followed down, not up", () => {
  expect(agreedLimits(undefined)).toEqual(DEFAULT_UNIT_LIMITS);
  expect(agreedLimits({ maxAudioPayload: 0, maxVideoPayload: 0 })).toEqual(DEFAULT_UNIT_LIMITS);
  expect(agreedLimits({ maxAudioPayload: 2 ** 32 - 1, maxVideoPayload: 1000 })).toEqual({
    maxAudioPayloadBytes: MAX_AUDIO_PAYLOAD_BYTES,
    maxVideoPayloadBytes: 1000,
  });
});
