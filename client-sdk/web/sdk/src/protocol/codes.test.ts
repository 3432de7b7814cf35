import { expect, test } from "vitest";
import {
  CODES,
  Code,
  codeMeaning,
  codeName,
  fromStreamErrorCode,
  fromWebTransport,
  toWebTransport,
} from "./codes.js";
import { Random } from "./testing.js";

test("names and numbers are unique, and the constants come from the table", () => {
  expect(new Set(CODES.map(({ name }) => name)).size).toBe(CODES.length);
  expect(new Set(CODES.map(({ code }) => code)).size).toBe(CODES.length);
  for (const { name, code, meaning } of CODES) {
    expect(Code[name]).toBe(code);
    expect([codeName(code), codeMeaning(code), fromStreamErrorCode(code)]).toEqual([name, meaning, code]);
  }
});

test("a number that is not in the table is a violation of the protocol", () => {
  for (const unknown of [7, 0x21, 2 ** 32 - 1, null, undefined]) {
    expect(fromStreamErrorCode(unknown)).toBe(Code.PROTOCOL_VIOLATION);
  }
  expect([codeName(7), codeMeaning(7)]).toEqual(["UNKNOWN", ""]);
});

test("known points of the WebTransport range", () => {
  expect(toWebTransport(0x1d)).toBe(0x52e4a40fa8f8);
  // 0x52e4a40fa8f9 is left out for greasing.
  expect(toWebTransport(0x1e)).toBe(0x52e4a40fa8fa);
  expect(toWebTransport(2 ** 32 - 1)).toBe(0x52e5ac983162);
  for (const outside of [0, 55, 0x52e4a40fa8da, 0x52e4a40fa8f9, 0x52e5ac983163]) {
    expect(fromWebTransport(outside)).toBe(Code.PROTOCOL_VIOLATION);
  }
});

test("codes of 32 bits go through the WebTransport range and back", () => {
  const random = new Random(1);
  for (let i = 0; i < 1000; i++) {
    const code = random.below(2 ** 32);
    const wire = toWebTransport(code);
    expect((wire - 0x21) % 0x1f).not.toBe(0);
    expect(fromWebTransport(wire)).toBe(code);
  }
});
