import { expect, test } from "vitest";
import { Random, unhex, wireErrorOf } from "./testing.js";
import {
  decodeLengthPrefix,
  decodeVarint,
  encodeLengthPrefix,
  encodeVarint,
  MAX_VARINT_BYTES,
  varintBytes,
  writeVarint,
} from "./varint.js";

/** RFC 9000 appendix A.1; its eight-byte example is over 2^53. */
test("examples of the RFC", () => {
  expect(decodeVarint(unhex("9d7f3e7d"))).toEqual({ value: 494_878_333, bytes: 4 });
  expect(decodeVarint(unhex("7bbd"))).toEqual({ value: 15_293, bytes: 2 });
  expect(decodeVarint(unhex("25"))).toEqual({ value: 37, bytes: 1 });
  expect(decodeVarint(unhex("4025"))).toEqual({ value: 37, bytes: 2 });
  expect(wireErrorOf(() => decodeVarint(unhex("c2197c5eff14e88c"))).reason).toBe("BadNumber");
});

test("numbers at the edges of the forms go round", () => {
  const random = new Random(1);
  const edges = [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, 2 ** 53 - 1];
  const numbers = [
    ...edges,
    ...Array.from({ length: 200 }, () => random.below(2 ** 32) * random.below(2 ** 21)),
  ];
  for (const value of numbers) {
    const wire = encodeVarint(value);
    expect(wire.length).toBe(varintBytes(value));
    expect(decodeVarint(wire)).toEqual({ value, bytes: wire.length });
    for (let cut = 0; cut < wire.length; cut++) {
      expect(decodeVarint(wire.subarray(0, cut))).toBeUndefined();
    }
    const longer = new Uint8Array(MAX_VARINT_BYTES + 4).fill(0xff);
    expect(writeVarint(longer, 3, value)).toBe(3 + wire.length);
    expect(decodeVarint(longer, 3)).toEqual({ value, bytes: wire.length });
  }
});

test("the first number that is not exact is refused in both directions", () => {
  expect(decodeVarint(unhex("c01fffffffffffff"))).toEqual({ value: 2 ** 53 - 1, bytes: 8 });
  expect(wireErrorOf(() => decodeVarint(unhex("c020000000000000"))).reason).toBe("BadNumber");
  for (const value of [2 ** 53, -1, 0.5, Number.NaN]) {
    expect(wireErrorOf(() => encodeVarint(value)).reason).toBe("BadNumber");
  }
});

test("length prefixes go round", () => {
  for (const value of [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 65_536, 2 ** 31, 2 ** 32 - 1]) {
    const wire = encodeLengthPrefix(value);
    expect(decodeLengthPrefix(wire)).toEqual({ value, bytes: wire.length });
    expect(decodeLengthPrefix(wire.subarray(0, -1))).toBeUndefined();
  }
  expect(encodeLengthPrefix(300)).toEqual(Uint8Array.of(0xac, 0x02));
  expect(wireErrorOf(() => decodeLengthPrefix(unhex("8080808080"))).reason).toBe("Malformed");
});
