import { describe, expect, test } from "vitest";
import { codecString, decoderConfig, encodableCodecs, parseVideoCodec } from "./codec.js";

describe("codec names", () => {
  test("are read in any case", () => {
    expect(parseVideoCodec("vp8")).toBe("VP8");
    expect(parseVideoCodec("h264")).toBe("H264");
    expect(parseVideoCodec("Opus")).toBeUndefined();
    expect(parseVideoCodec("")).toBeUndefined();
  });

  test("become WebCodecs strings with the lowest level that holds the picture", () => {
    expect(codecString("VP8", 1280, 720, 30)).toBe("vp8");
    expect(codecString("H264", 320, 180, 30)).toBe("avc1.42E00D");
    expect(codecString("H264", 640, 360, 30)).toBe("avc1.42E01E");
    expect(codecString("H264", 1280, 720, 30)).toBe("avc1.42E01F");
    expect(codecString("H264", 1280, 720, 60)).toBe("avc1.42E028");
    expect(codecString("H264", 1920, 1080, 30)).toBe("avc1.42E028");
    expect(codecString("VP9", 640, 360, 30)).toBe("vp09.00.21.08");
    expect(codecString("VP9", 1280, 720, 30)).toBe("vp09.00.31.08");
    expect(codecString("AV1", 640, 360, 30)).toBe("av01.0.01M.08");
    expect(codecString("AV1", 1280, 720, 30)).toBe("av01.0.05M.08");
  });

  test("a picture over every level gets the highest", () => {
    expect(codecString("AV1", 16_000, 9_000, 60)).toBe("av01.0.13M.08");
  });
});

describe("decoder configuration from a key frame", () => {
  /** First bytes of key frames of 320x180 that Chromium 156 encoded. */
  const VP8 = [240, 77, 0, 157, 1, 42, 64, 1, 180, 0, 57, 23];
  const VP9 = [131, 73, 131, 66, 80, 19, 240, 11, 48, 32, 224, 144];
  const AV1 = [18, 0, 10, 15, 0, 17, 3, 0, 128, 130, 30, 127, 102, 0, 209, 1, 13, 1, 132, 54];
  const H264 = [0, 0, 0, 1, 103, 66, 192, 13, 140, 141, 64, 160, 203, 207, 55, 1];

  test("reads profile and level of the bitstream", () => {
    expect(decoderConfig("VP8", new Uint8Array(VP8))?.codec).toBe("vp8");
    expect(decoderConfig("VP9", new Uint8Array(VP9))?.codec).toBe("vp09.00.11.08");
    expect(decoderConfig("H264", new Uint8Array(H264))?.codec).toBe("avc1.42C00D");
    expect(decoderConfig("AV1", new Uint8Array(AV1))?.codec).toMatch(/^av01\.0\.\d\d[MH]\.08$/);
  });

  test("parameter sets are found behind other units of Annex B", () => {
    const withDelimiter = new Uint8Array([0, 0, 0, 1, 9, 240, 0, 0, 1, 103, 0x64, 0, 0x28, 1, 2]);
    expect(decoderConfig("H264", withDelimiter)?.codec).toBe("avc1.640028");
  });

  test("is asked for latency, not throughput", () => {
    expect(decoderConfig("VP8", new Uint8Array(VP8))?.optimizeForLatency).toBe(true);
  });

  test("is undefined for deltas, cut payloads and rubbish", () => {
    expect(decoderConfig("VP8", new Uint8Array([241, ...VP8.slice(1)]))).toBeUndefined();
    for (const codec of ["VP8", "VP9", "AV1", "H264"] as const) {
      expect(decoderConfig(codec, new Uint8Array())).toBeUndefined();
      expect(decoderConfig(codec, new Uint8Array(64).fill(0xff))).toBeUndefined();
    }
    for (let length = 0; length < 8; length++) {
      expect(decoderConfig("VP9", new Uint8Array(VP9.slice(0, length)))).toBeUndefined();
    }
  });

  test("an AV1 unit whose size leads nowhere ends the search", () => {
    expect(decoderConfig("AV1", new Uint8Array([0x32, 0xff, 0xff, 0xff, 0xff, 0xff]))).toBeUndefined();
    expect(decoderConfig("AV1", new Uint8Array([0x12, 0, 0x12, 0]))).toBeUndefined();
  });
});

test("without WebCodecs nothing is encodable", async () => {
  expect(await encodableCodecs()).toEqual([]);
});
