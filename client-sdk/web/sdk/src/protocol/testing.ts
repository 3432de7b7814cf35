/** For the tests of this folder only; not exported from the package. */

import { WireError } from "./errors.js";
import { FrameType, type Unit } from "./unit.js";

/** Two stream ids of the test vectors. */
export const STREAM = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
export const OTHER_STREAM = "0192f0c1-2a3b-7c4d-8e5f-66778899aabb";

export function unhex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function unit(sequence: number, fields: Partial<Unit> = {}): Unit {
  return {
    frameType: FrameType.VideoDelta,
    streamId: STREAM,
    timestampUs: 1_737_028_800_000_000 + sequence,
    sequence,
    flags: 1,
    payload: Uint8Array.from([sequence & 0xff]),
    ...fields,
  };
}

/** What was caught; anything else than a WireError goes on. */
export function asWireError(caught: unknown): WireError {
  if (caught instanceof WireError) return caught;
  throw caught;
}

/** The error that `call` throws; anything else than a WireError goes on, and no error is one. */
export function wireErrorOf(call: () => unknown): WireError {
  try {
    call();
  } catch (error) {
    return asWireError(error);
  }
  throw new Error("nothing was thrown");
}

/** Numbers that look random and are the same for the same seed (xorshift32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 0x9e3779b9 || 1;
  }

  /** An integer of 0 to `below` - 1. */
  below(below: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % below;
  }

  /** Whether something happens once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  pick<T>(from: readonly [T, ...T[]]): T {
    return from[this.below(from.length)] ?? from[0];
  }

  /** The bytes in chunks of up to `maxBytes`, some of them empty; each in memory of its own. */
  chunks(bytes: Uint8Array, maxBytes: number): Uint8Array[] {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = this.below(maxBytes + 1);
      chunks.push(bytes.slice(at, at + length));
      at += length;
    }
    return chunks;
  }
}
