import { expect, test } from "vitest";
import { isUuid, layerStreamId, randomStreamId, uuidFromBytes, uuidToBytes } from "./ids.js";
import { sha1 } from "./sha1.js";
import { hex, Random, STREAM, wireErrorOf } from "./testing.js";

test("text and bytes go round, and text is written in lower case", () => {
  expect(hex(uuidToBytes(STREAM))).toBe("0192f0c12a3b7c4d8e5f001122334455");
  expect(uuidToBytes(STREAM.toUpperCase())).toEqual(uuidToBytes(STREAM));
  const random = new Random(1);
  for (let i = 0; i < 100; i++) {
    const bytes = random.bytes(20);
    expect(uuidToBytes(uuidFromBytes(bytes, 3))).toEqual(bytes.slice(3, 19));
  }
});

test("no other form is an id", () => {
  const others = ["", "1", "0192f0c12a3b7c4d8e5f001122334455", `{${STREAM}}`, `${STREAM} `, `${STREAM}\n`];
  for (const text of [...others, STREAM.replace("0", "g"), STREAM.replace("-", "0"), "x".repeat(1_000_000)]) {
    expect(isUuid(text)).toBe(false);
    const error = wireErrorOf(() => uuidToBytes(text));
    expect(error.reason).toBe("BadId");
    expect(error.message.length).toBeLessThan(100);
  }
});

test("new stream ids are UUIDv4 and differ", () => {
  const [one, other] = [randomStreamId(), randomStreamId()];
  expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(isUuid(one)).toBe(true);
  expect(one).not.toBe(other);
});

/** RFC 9562 appendix A.4: the name space of DNS names. */
test("UUIDv5 of the RFC", () => {
  expect(layerStreamId("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com")).toBe(
    "2ed6657d-e927-568b-95e1-2665a8aea6a2",
  );
});

/** RFC 3174 section 7.3. */
test("SHA-1 of the RFC's examples", () => {
  const of = (text: string) => hex(sha1(new TextEncoder().encode(text)));
  expect(of("abc")).toBe("a9993e364706816aba3e25717850c26c9cd0d89d");
  expect(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).toBe(
    "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
  );
  expect(of("a".repeat(1_000_000))).toBe("34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  expect(of("01234567".repeat(80))).toBe("dea356a2cddd90c7a7ecedc5ebb563934f460452");
});

/** The padding takes another block, or not; the platform's SHA-1 knows. */
test("SHA-1 of every length around the block", async () => {
  const random = new Random(1);
  for (let length = 0; length <= 130; length++) {
    const message = random.bytes(length);
    const expected = new Uint8Array(await crypto.subtle.digest("SHA-1", Uint8Array.from(message)));
    expect(sha1(message)).toEqual(expected);
  }
});
