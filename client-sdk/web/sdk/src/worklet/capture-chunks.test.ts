import { describe, expect, it } from "vitest";
import type { CaptureChunk, CaptureOptions } from "../media/capture-messages.js";
import { CaptureChunks } from "./capture-chunks.js";

const QUANTUM = 128;

/** Takes quanta from sample `from` to `to`; `sampleOf` gives each sample of each channel, undefined: there is no input. */
function take(
  chunks: CaptureChunks,
  from: number,
  to: number,
  sampleOf?: (sample: number, channel: number) => number,
  channelCount = 1,
): void {
  for (let at = from; at < to; at += QUANTUM) {
    const input =
      sampleOf === undefined
        ? []
        : Array.from({ length: channelCount }, (_, channel) =>
            Float32Array.from({ length: QUANTUM }, (__, i) => sampleOf(at + i, channel)),
          );
    chunks.take(input, QUANTUM, at / 48_000);
  }
}

function make(options: CaptureOptions = {}): { chunks: CaptureChunks; sent: CaptureChunk[] } {
  const sent: CaptureChunk[] = [];
  const chunks = new CaptureChunks(options, (chunk, transfer) => {
    // As posting does: the buffers are gone for the sender.
    sent.push(structuredClone(chunk, { transfer }));
  });
  return { chunks, sent };
}

describe("CaptureChunks", () => {
  it("sends every sample once, in order, with the time of the first", () => {
    const { chunks, sent } = make();
    take(chunks, 0, 48_000, (sample) => (sample % 4096) / 8192);
    expect(sent).toHaveLength(50);
    sent.forEach((chunk, index) => {
      expect(chunk.contextTimeS).toBeCloseTo(index * 0.02, 9);
      expect(chunk.channels).toHaveLength(1);
      expect(chunk.channels[0]).toHaveLength(960);
      expect(
        [...(chunk.channels[0] ?? [])].every((value, i) => value === ((index * 960 + i) % 4096) / 8192),
      ).toBe(true);
    });
  });

  it("measures the level", () => {
    const { chunks, sent } = make();
    take(chunks, 0, 960, () => 0.1);
    take(chunks, 1024, 1920, () => 0);
    expect(sent.map((chunk) => chunk.levelDbov)).toEqual([20, 32]);
    const silent = make();
    take(silent.chunks, 0, 1920, () => 0);
    expect(silent.sent[0]?.levelDbov).toBe(127);
  });

  it("makes mono of stereo and stereo of mono", () => {
    const mono = make();
    take(mono.chunks, 0, 960, (_, channel) => (channel === 0 ? 0.25 : 0.75), 2);
    expect(mono.sent[0]?.channels.map((samples) => samples[500])).toEqual([0.5]);
    const stereo = make({ channels: 2 });
    take(stereo.chunks, 0, 960, (_, channel) => (channel === 0 ? 0.25 : 0.75), 2);
    expect(stereo.sent[0]?.channels.map((samples) => samples[500])).toEqual([0.25, 0.75]);
    const doubled = make({ channels: 2 });
    take(doubled.chunks, 0, 960, () => 0.25);
    expect(doubled.sent[0]?.channels.map((samples) => samples[500])).toEqual([0.25, 0.25]);
  });

  it("sends nothing without input or when muted, and begins with a whole chunk after it", () => {
    const { chunks, sent } = make();
    take(chunks, 0, 1280, () => 0.5);
    take(chunks, 1280, 12_800);
    expect(sent).toHaveLength(1);
    take(chunks, 12_800, 13_824, () => 0.25);
    expect(sent).toHaveLength(2);
    expect(sent[1]?.contextTimeS).toBe(12_800 / 48_000);
    expect(new Set(sent[1]?.channels[0])).toEqual(new Set([0.25]));
    chunks.muted = true;
    take(chunks, 13_824, 24_064, () => 0.5);
    expect(sent).toHaveLength(2);
    chunks.muted = false;
    take(chunks, 24_064, 25_088, () => 0.5);
    expect(sent[2]?.contextTimeS).toBe(24_064 / 48_000);
  });
});
