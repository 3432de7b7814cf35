/**
 * Video codecs: the names that streams carry, the strings that WebCodecs wants, and which of them this browser can use.
 *
 * Codec configuration travels in band (docs/protocol.md 2.4), so a decoder is configured from a key frame's payload.
 */

/** A video codec by the name that streams carry. */
export type VideoCodec = "VP8" | "VP9" | "AV1" | "H264";

/**
 * In the order in which a publisher tries them: VP8 decodes everywhere and costs least without hardware; H.264 is what
 * hardware knows; VP9 and AV1 need more of a processor than many have to spare.
 */
export const VIDEO_CODECS: readonly VideoCodec[] = ["VP8", "H264", "VP9", "AV1"];

/** The codec behind a stream's codec name, in whatever case; undefined if it is none that is known here. */
export function parseVideoCodec(name: string): VideoCodec | undefined {
  const upper = name.toUpperCase();
  return VIDEO_CODECS.find((codec) => codec === upper);
}

/** A level of a codec: it holds pictures of up to `pixels`, and up to `pixelsPerSecond` of them. */
interface Level {
  readonly code: number;
  readonly pixels: number;
  readonly pixelsPerSecond: number;
}

/** Rec. ITU-T H.264, table A-1 (macroblocks of 256 pixels); the code is `level_idc`. */
const H264_LEVELS: readonly Level[] = [
  { code: 0x0d, pixels: 396 * 256, pixelsPerSecond: 11_880 * 256 },
  { code: 0x1e, pixels: 1_620 * 256, pixelsPerSecond: 40_500 * 256 },
  { code: 0x1f, pixels: 3_600 * 256, pixelsPerSecond: 108_000 * 256 },
  { code: 0x28, pixels: 8_192 * 256, pixelsPerSecond: 245_760 * 256 },
  { code: 0x2a, pixels: 8_704 * 256, pixelsPerSecond: 522_240 * 256 },
  { code: 0x32, pixels: 22_080 * 256, pixelsPerSecond: 589_824 * 256 },
  { code: 0x34, pixels: 36_864 * 256, pixelsPerSecond: 2_073_600 * 256 },
];

/** VP9 bitstream overview, annex A; the code is ten times the level. */
const VP9_LEVELS: readonly Level[] = [
  { code: 10, pixels: 36_864, pixelsPerSecond: 829_440 },
  { code: 11, pixels: 73_728, pixelsPerSecond: 2_764_800 },
  { code: 20, pixels: 122_880, pixelsPerSecond: 4_608_000 },
  { code: 21, pixels: 245_760, pixelsPerSecond: 9_216_000 },
  { code: 30, pixels: 552_960, pixelsPerSecond: 20_736_000 },
  { code: 31, pixels: 983_040, pixelsPerSecond: 36_864_000 },
  { code: 40, pixels: 2_228_224, pixelsPerSecond: 83_558_400 },
  { code: 41, pixels: 2_228_224, pixelsPerSecond: 160_432_128 },
  { code: 50, pixels: 8_912_896, pixelsPerSecond: 311_951_360 },
  { code: 51, pixels: 8_912_896, pixelsPerSecond: 588_251_136 },
  { code: 52, pixels: 8_912_896, pixelsPerSecond: 1_176_502_272 },
];

/** AV1 specification, annex A.3; the code is `seq_level_idx`. */
const AV1_LEVELS: readonly Level[] = [
  { code: 0, pixels: 147_456, pixelsPerSecond: 4_423_680 },
  { code: 1, pixels: 278_784, pixelsPerSecond: 8_363_520 },
  { code: 4, pixels: 665_856, pixelsPerSecond: 19_975_680 },
  { code: 5, pixels: 1_065_024, pixelsPerSecond: 31_950_720 },
  { code: 8, pixels: 2_359_296, pixelsPerSecond: 70_778_880 },
  { code: 9, pixels: 2_359_296, pixelsPerSecond: 141_557_760 },
  { code: 12, pixels: 8_912_896, pixelsPerSecond: 267_386_880 },
  { code: 13, pixels: 8_912_896, pixelsPerSecond: 534_773_760 },
];

/** The lowest level that holds the picture; the highest there is if none does. */
function levelFor(levels: readonly Level[], pixels: number, framerate: number): number {
  const fits = levels.find((level) => pixels <= level.pixels && pixels * framerate <= level.pixelsPerSecond);
  return fits?.code ?? levels.at(-1)?.code ?? 0;
}

/**
 * What WebCodecs calls the codec, with the lowest level that holds the picture. H.264 is constrained baseline, 8 bit 4:2:0
 * everywhere: what every decoder can do.
 */
export function codecString(codec: VideoCodec, width: number, height: number, framerate: number): string {
  const pixels = width * height;
  switch (codec) {
    case "VP8":
      return "vp8";
    case "VP9":
      return vp9String(0, levelFor(VP9_LEVELS, pixels, framerate), 8);
    case "AV1":
      return av1String(0, levelFor(AV1_LEVELS, pixels, framerate), false);
    case "H264": {
      const macroblocks = Math.ceil(width / 16) * Math.ceil(height / 16);
      return `avc1.42E0${hex(levelFor(H264_LEVELS, macroblocks * 256, framerate))}`;
    }
  }
}

/**
 * How to decode what begins with this key frame. Undefined if the payload is no key frame of the codec.
 *
 * The level is the bitstream's own where it is written there, else follows from the picture size at 30 frames per second.
 */
export function decoderConfig(codec: VideoCodec, keyFrame: Uint8Array): VideoDecoderConfig | undefined {
  const string = stringOf(codec, keyFrame);
  return string === undefined ? undefined : { codec: string, optimizeForLatency: true };
}

function stringOf(codec: VideoCodec, keyFrame: Uint8Array): string | undefined {
  try {
    switch (codec) {
      case "VP8":
        return isVp8KeyFrame(keyFrame) ? "vp8" : undefined;
      case "VP9":
        return vp9StringOf(keyFrame);
      case "AV1":
        return av1StringOf(keyFrame);
      case "H264":
        return h264StringOf(keyFrame);
    }
  } catch (error) {
    if (error instanceof EndOfBits) return undefined;
    throw error;
  }
}

/** RFC 6386 section 9.1: the inverted key frame bit, and after three bytes the start code. */
function isVp8KeyFrame(frame: Uint8Array): boolean {
  const [first = 1] = frame;
  return (first & 1) === 0 && frame[3] === 0x9d && frame[4] === 0x01 && frame[5] === 0x2a;
}

/** VP9 bitstream specification 6.2: the uncompressed header of a key frame. */
function vp9StringOf(frame: Uint8Array): string | undefined {
  const bits = new BitReader(frame);
  if (bits.read(2) !== 2) return undefined;
  const profileLow = bits.read(1);
  const profile = (bits.read(1) << 1) | profileLow;
  if (profile === 3) bits.read(1);
  const showsExisting = bits.read(1) === 1;
  const isKey = bits.read(1) === 0;
  bits.read(2); // show_frame, error_resilient_mode
  if (showsExisting || !isKey || bits.read(24) !== 0x498342) return undefined;
  const bitDepth = profile >= 2 ? (bits.read(1) === 1 ? 12 : 10) : 8;
  const isRgb = bits.read(3) === 7;
  if (!isRgb) bits.read(1); // color_range
  const hasSubsampling = profile === 1 || profile === 3;
  if (hasSubsampling) bits.read(isRgb ? 1 : 3);
  const width = bits.read(16) + 1;
  const height = bits.read(16) + 1;
  return vp9String(profile, levelFor(VP9_LEVELS, width * height, 30), bitDepth);
}

/** AV1 specification 5.3 and 5.5: the sequence header OBU, as far as profile and level. */
function av1StringOf(frame: Uint8Array): string | undefined {
  let at = 0;
  while (at < frame.length) {
    const head = frame[at] ?? 0;
    const type = (head >> 3) & 0x0f;
    const hasExtension = (head & 0x04) !== 0;
    const hasSize = (head & 0x02) !== 0;
    let start = at + (hasExtension ? 2 : 1);
    let bytes = frame.length - start;
    if (hasSize) {
      const size = leb128(frame, start);
      if (!size) return undefined;
      start += size.bytes;
      bytes = size.value;
    }
    if (type === AV1_SEQUENCE_HEADER) return av1SequenceHeader(frame.subarray(start, start + bytes));
    at = start + bytes;
  }
  return undefined;
}

const AV1_SEQUENCE_HEADER = 1;

function av1SequenceHeader(header: Uint8Array): string {
  const bits = new BitReader(header);
  const profile = bits.read(3);
  bits.read(1); // still_picture
  if (bits.read(1) === 1) return av1String(profile, bits.read(5), false); // reduced_still_picture_header
  // Timing information would stand before the level; encoders for calls leave it out. Without the level, the largest.
  if (bits.read(1) === 1) return av1String(profile, AV1_LEVELS.at(-1)?.code ?? 0, false);
  bits.read(1 + 5 + 12); // initial_display_delay_present_flag, operating_points_cnt_minus_1, operating_point_idc
  const level = bits.read(5);
  const isHighTier = level > 7 && bits.read(1) === 1;
  return av1String(profile, level, isHighTier);
}

function leb128(bytes: Uint8Array, offset: number): { value: number; bytes: number } | undefined {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[offset + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if ((byte & 0x80) === 0) return { value, bytes: i + 1 };
  }
  return undefined;
}

/** Annex B (Rec. ITU-T H.264): the first three bytes of the sequence parameter set. */
function h264StringOf(frame: Uint8Array): string | undefined {
  for (let at = 0; at + 6 < frame.length; at++) {
    if (frame[at] !== 0 || frame[at + 1] !== 0 || frame[at + 2] !== 1) continue;
    const type = (frame[at + 3] ?? 0) & 0x1f;
    if (type !== H264_SEQUENCE_PARAMETERS) continue;
    return `avc1.${[4, 5, 6].map((i) => hex(frame[at + i] ?? 0)).join("")}`;
  }
  return undefined;
}

const H264_SEQUENCE_PARAMETERS = 7;

function vp9String(profile: number, level: number, bitDepth: number): string {
  return `vp09.${two(profile)}.${two(level)}.${two(bitDepth)}`;
}

function av1String(profile: number, level: number, isHighTier: boolean): string {
  return `av01.${profile}.${two(level)}${isHighTier ? "H" : "M"}.08`;
}

function two(number: number): string {
  return number.toString().padStart(2, "0");
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

/** The payload ends before its header does. */
class EndOfBits extends Error {}

class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next bits, at most 24, most significant first. */
  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.#at++) {
      const byte = this.#bytes[this.#at >> 3];
      if (byte === undefined) throw new EndOfBits();
      value = value * 2 + ((byte >> (7 - (this.#at & 7))) & 1);
    }
    return value;
  }
}

/** A picture that every browser has to manage; for questions about codecs as such. */
const PROBE = { width: 640, height: 360, framerate: 30 };

const encodable = new Map<VideoCodec, Promise<boolean>>();
const decodable = new Map<VideoCodec, Promise<boolean>>();

/** Which codecs this browser encodes, in the order of {@link VIDEO_CODECS}. It is asked once. */
export function encodableCodecs(): Promise<VideoCodec[]> {
  return supported(encodable, async (codec) => {
    if (typeof VideoEncoder === "undefined") return false;
    const { supported = false } = await VideoEncoder.isConfigSupported({
      codec: codecString(codec, PROBE.width, PROBE.height, PROBE.framerate),
      ...PROBE,
      bitrate: 500_000,
      latencyMode: "realtime",
      ...(codec === "H264" && { avc: { format: "annexb" as const } }),
    });
    return supported;
  });
}

/** Which codecs this browser decodes, in the order of {@link VIDEO_CODECS}. It is asked once. */
export function decodableCodecs(): Promise<VideoCodec[]> {
  return supported(decodable, async (codec) => {
    if (typeof VideoDecoder === "undefined") return false;
    const { supported = false } = await VideoDecoder.isConfigSupported({
      codec: codecString(codec, PROBE.width, PROBE.height, PROBE.framerate),
      codedWidth: PROBE.width,
      codedHeight: PROBE.height,
    });
    return supported;
  });
}

async function supported(
  known: Map<VideoCodec, Promise<boolean>>,
  ask: (codec: VideoCodec) => Promise<boolean>,
): Promise<VideoCodec[]> {
  const answers = await Promise.all(
    VIDEO_CODECS.map((codec) => {
      // A browser that throws at a codec string that it has never heard of does not support it.
      const answer = known.get(codec) ?? ask(codec).catch(() => false);
      known.set(codec, answer);
      return answer;
    }),
  );
  return VIDEO_CODECS.filter((_, i) => answers[i]);
}
