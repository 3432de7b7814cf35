import { expect, test } from "vitest";
import { encodeGroupPreamble, GroupDecoder, GroupKind, type GroupPreamble } from "./group.js";
import { concat, OTHER_STREAM, Random, STREAM, unit, wireErrorOf } from "./testing.js";
import { encodeUnit, type Unit } from "./unit.js";

function preamble(random: Random): GroupPreamble {
  const number = () => random.pick([0, 63, 64, random.below(2 ** 32), 2 ** 53 - 1]);
  return {
    kind: random.pick([GroupKind.Video, GroupKind.Audio]),
    continuation: random.once(2),
    discontinuity: random.once(2),
    streamId: random.pick([STREAM, OTHER_STREAM]),
    group: number(),
    firstSequence: number(),
  };
}

test("what is decoded does not depend on the chunks", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = new Random(seed);
    const sent = preamble(random);
    const units = Array.from({ length: random.below(5) }, (_, i) =>
      unit(i, { streamId: sent.streamId, payload: random.bytes(random.below(300)) }),
    );
    // A later version has more fields.
    const later = random.bytes(random.below(4));
    const start = concat([encodeGroupPreamble(sent), later]);
    start[1] = start.length - 2;
    const decoder = new GroupDecoder();
    const got: Unit[] = [];
    for (const chunk of random.chunks(
      concat([start, ...units.map(encodeUnit)]),
      random.pick([1, 10, 1000]),
    )) {
      got.push(...decoder.push(chunk));
    }
    decoder.finish();
    expect(decoder.preamble).toEqual(sent);
    expect(got).toEqual(units);
    expect([decoder.bufferedBytes, decoder.capacityBytes, decoder.skippedUnits]).toEqual([0, 0, 0]);
  }
});

test("the longest preamble is held and no more", () => {
  const decoder = new GroupDecoder();
  decoder.push(Uint8Array.of(0xd7, 0xff));
  for (let i = 0; i < 254; i++) {
    expect(decoder.push(Uint8Array.of(1))).toEqual([]);
    expect([decoder.preamble, decoder.bufferedBytes]).toEqual([undefined, 3 + i]);
  }
  decoder.push(Uint8Array.of(1));
  expect(decoder.preamble?.group).toBe(1);
  expect(decoder.bufferedBytes).toBe(0);
});

test("units of another stream are refused, and those before them kept", () => {
  const random = new Random(1);
  const start = { ...preamble(random), streamId: STREAM };
  const decoder = new GroupDecoder({ maxAudioPayloadBytes: 10, maxVideoPayloadBytes: 10 });
  const units = [unit(0), unit(1, { streamId: OTHER_STREAM })];
  expect(decoder.push(concat([encodeGroupPreamble(start), ...units.map(encodeUnit)]))).toEqual([unit(0)]);
  expect(decoder.failed?.codeName).toBe("WRONG_STREAM");
  expect(wireErrorOf(() => decoder.finish())).toBe(decoder.failed);
});

test("the bounds count", () => {
  const random = new Random(2);
  const start = { ...preamble(random), streamId: STREAM };
  const decoder = new GroupDecoder({ maxAudioPayloadBytes: 10, maxVideoPayloadBytes: 10 });
  decoder.push(encodeGroupPreamble(start));
  const large = encodeUnit(unit(0, { payload: new Uint8Array(11) }));
  expect(wireErrorOf(() => decoder.push(large)).codeName).toBe("PAYLOAD_TOO_LARGE");
});

test("numbers that no preamble holds are refused", () => {
  for (const fields of [{ group: 2 ** 53 }, { firstSequence: -1 }, { group: Number.NaN }]) {
    const error = wireErrorOf(() => encodeGroupPreamble({ ...preamble(new Random(1)), ...fields }));
    expect(error.reason).toBe("BadNumber");
  }
});
