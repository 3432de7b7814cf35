import { describe, expect, it } from "vitest";
import { Random, unit } from "../protocol/testing.js";
import { Flags, FrameType, type Unit } from "../protocol/unit.js";
import { type EncodedFrame, FrameAssembler, MAX_FRAME_BYTES, MAX_FRAME_UNITS } from "./frames.js";

const END = Flags.EndOfFrame;
const goesOn = { startsStream: false };
const begins = { startsStream: true };

function key(sequence: number, fields: Partial<Unit> = {}): Unit {
  return unit(sequence, { frameType: FrameType.VideoKey, ...fields });
}

/** Sequence numbers of the frames that come out; units of a QUIC stream each. */
function assembled(assembler: FrameAssembler, ...streams: Unit[][]): number[] {
  const frames: EncodedFrame[] = [];
  for (const units of streams) {
    for (const [i, next] of units.entries()) {
      const frame = assembler.push(next, { startsStream: i === 0 });
      if (frame) frames.push(frame);
    }
  }
  return frames.map((frame) => frame.sequence);
}

describe("FrameAssembler", () => {
  it("takes a frame of one unit without a copy", () => {
    const only = key(0);
    const frame = new FrameAssembler().push(only, begins);
    expect(frame?.payload).toBe(only.payload);
    expect(frame).toMatchObject({
      key: true,
      sequence: 0,
      timestampUs: only.timestampUs,
      discardable: false,
    });
  });

  it("joins the units of a frame", () => {
    const assembler = new FrameAssembler();
    const part = (sequence: number, flags: number, bytes: number[]) =>
      key(sequence, { timestampUs: 7, flags, payload: Uint8Array.from(bytes) });
    expect(assembler.push(part(4, 0, [1, 2]), begins)).toBeUndefined();
    expect(assembler.push(part(5, 0, []), goesOn)).toBeUndefined();
    const frame = assembler.push(part(6, END, [3]), goesOn);
    expect(frame).toMatchObject({ key: true, sequence: 4, timestampUs: 7 });
    expect(frame?.payload).toEqual(Uint8Array.from([1, 2, 3]));
  });

  it("hands nothing out before the first key frame", () => {
    expect(assembled(new FrameAssembler(), [unit(3), unit(4), key(5), unit(6)])).toEqual([5, 6]);
  });

  it("takes what a sender left out inside a QUIC stream as harmless", () => {
    const assembler = new FrameAssembler();
    expect(assembled(assembler, [key(0), unit(1), unit(3), unit(7)])).toEqual([0, 1, 3, 7]);
    expect(assembler.missingUnits).toBe(4);
    expect(assembler.unusableFrames).toBe(0);
  });

  it("drops everything after a hole before a continued group, up to the next key frame", () => {
    const assembler = new FrameAssembler();
    expect(assembled(assembler, [key(0), unit(1)], [unit(3), unit(4)], [key(5), unit(6)])).toEqual([
      0, 1, 5, 6,
    ]);
    expect(assembler.unusableFrames).toBe(2);
  });

  it("goes on with a continued group that misses nothing", () => {
    expect(assembled(new FrameAssembler(), [key(0), unit(1)], [unit(2)])).toEqual([0, 1, 2]);
  });

  it("drops what depends on a frame that was cut off", () => {
    const assembler = new FrameAssembler();
    const cut = unit(1, { flags: 0 });
    expect(assembled(assembler, [key(0), cut, unit(2)], [key(3), unit(4)])).toEqual([0, 3, 4]);
    expect(assembler.unusableFrames).toBe(2);
  });

  it("needs no key frame after a discardable frame that was cut off", () => {
    const cut = unit(1, { flags: Flags.Discardable });
    expect(assembled(new FrameAssembler(), [key(0), cut, unit(2)])).toEqual([0, 2]);
  });

  it("does not mix key and delta units of one timestamp", () => {
    const same = { timestampUs: 5 };
    const assembler = new FrameAssembler();
    expect(assembled(assembler, [key(0, { ...same, flags: 0 }), unit(1, same)])).toEqual([]);
    expect(assembler.needsKeyFrame).toBe(true);
  });

  it("drops a frame that is too large, and holds nothing of it", () => {
    const assembler = new FrameAssembler();
    const payload = new Uint8Array(MAX_FRAME_BYTES / 8);
    const parts = Array.from({ length: 9 }, (_, i) =>
      key(i, { timestampUs: 1, flags: i === 8 ? END : 0, payload }),
    );
    expect(assembled(assembler, parts, [key(9)])).toEqual([9]);
    expect(assembler.unusableFrames).toBe(1);
  });

  it("drops a frame of too many units, however little is in them", () => {
    const assembler = new FrameAssembler();
    const parts = Array.from({ length: MAX_FRAME_UNITS + 1 }, (_, i) =>
      key(i, { timestampUs: 1, flags: i === MAX_FRAME_UNITS ? END : 0, payload: new Uint8Array() }),
    );
    expect(assembled(assembler, parts, [key(parts.length)])).toEqual([parts.length]);
    expect(assembler.unusableFrames).toBe(1);
  });

  it("takes a key frame again of which it has had a part before", () => {
    const assembler = new FrameAssembler();
    const parts = [0, 1, 2].map((i) => key(i, { timestampUs: 1, flags: i === 2 ? END : 0 }));
    expect(assembled(assembler, parts.slice(0, 2))).toEqual([]);
    assembler.restart();
    expect(assembled(assembler, parts)).toEqual([0]);
    expect([assembler.unusableFrames, assembler.missingUnits]).toEqual([0, 0]);
  });

  it("hands out whole, decodable frames only, whatever is missing (300 seeds)", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const assembler = new FrameAssembler();
      let sequence = 0;
      let decodes = false;
      for (let frameNumber = 0; frameNumber < 60; frameNumber++) {
        const isKey = frameNumber === 0 || random.once(8);
        const parts = 1 + random.below(4);
        const cutAt = random.once(6) ? random.below(parts) : parts;
        const left = !isKey && random.once(5);
        const flags = left ? Flags.Discardable : 0;
        let out: EncodedFrame | undefined;
        for (let i = 0; i < parts; i++) {
          const fields = { timestampUs: frameNumber * 1000, flags: flags | (i === parts - 1 ? END : 0) };
          const next = isKey ? key(sequence, fields) : unit(sequence, fields);
          sequence++;
          // What comes after a cut is lost with its QUIC stream, and the next frame begins another.
          if (i < cutAt) out = assembler.push(next, { startsStream: i === 0 && (isKey || !decodes) });
        }
        const isWhole = cutAt === parts;
        // A frame that is lost whole on a QUIC stream was left out by the sender, which does so with discardable ones only.
        if (cutAt === 0 && !left) {
          decodes = false;
          if (!isKey) assembler.push(unit(sequence++, { timestampUs: frameNumber * 1000 + 1 }), begins);
        } else if (!isWhole && !left) {
          decodes = false;
        } else if (isWhole && isKey) {
          decodes = true;
        }
        expect(out !== undefined, `seed ${seed}, frame ${frameNumber}`).toBe(isWhole && (isKey || decodes));
      }
    }
  });
});
