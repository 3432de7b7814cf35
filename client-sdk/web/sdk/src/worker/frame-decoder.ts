/**
 * A `VideoDecoder` that survives errors: it is made anew at the next key frame, and every picture it makes is either
 * handed on or closed.
 */

import { MeetingError } from "../error.js";
import { decoderConfig, parseVideoCodec, type VideoCodec } from "../media/codec.js";
import type { EncodedFrame } from "../media/frames.js";

/** Frames given to the decoder that it has not begun with: enough to keep it busy. */
const MAX_QUEUED = 3;
/** Frames whose pictures are awaited; older ones will not come. */
const MAX_AWAITED = 64;
/** A decoder that has frames and makes nothing of them for so long hangs. */
const HANG_US = 3_000_000;
/** After so many failures in a row without a picture another decoder is tried. */
const FAILURES_OF_ONE_KIND = 2;

/** What hears of the decoder. `T` goes with a frame. */
export interface FrameDecoderEvents<T> {
  /** Owns the picture now. */
  picture(picture: VideoFrame, item: T, tookUs: number): void;
  /** It takes frames again. */
  ready(): void;
  /** It can go on at a key frame only. */
  failed(): void;
}

/** See the module's documentation. */
export class FrameDecoder<T> {
  readonly #codec: VideoCodec;
  readonly #events: FrameDecoderEvents<T>;
  readonly #nowUs: () => number;
  #decoder: VideoDecoder | undefined;
  #configured = "";
  #awaited = new Map<number, { item: T; sinceUs: number }>();
  #failuresInARow = 0;
  #errors = 0;
  #lastPictureUs = 0;

  /**
   * @param codec as the stream's description names it
   * @throws MeetingError `unsupported` if it is none that is known
   */
  constructor(codec: string, events: FrameDecoderEvents<T>, nowUs: () => number) {
    const known = parseVideoCodec(codec);
    if (!known) throw new MeetingError("unsupported", `unknown codec ${codec}`, { code: "VideoDecoder" });
    this.#codec = known;
    this.#events = events;
    this.#nowUs = nowUs;
  }

  /** Failures so far. */
  get errors(): number {
    return this.#errors;
  }

  /** Whether it takes another frame now. */
  get isReady(): boolean {
    return this.queued < MAX_QUEUED;
  }

  /** Frames that it has not begun with. */
  get queued(): number {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  /** Decodes a frame; the first, and the first after a failure, must be a key frame. */
  decode(frame: EncodedFrame, item: T): void {
    const nowUs = this.#nowUs();
    try {
      const decoder = this.#prepared(frame);
      if (!decoder) return;
      decoder.decode(
        new EncodedVideoChunk({
          type: frame.key ? "key" : "delta",
          timestamp: frame.timestampUs,
          data: frame.payload,
        }),
      );
    } catch {
      // What it says differs between browsers; the way out is the same.
      this.#fail();
      return;
    }
    this.#awaited.set(frame.timestampUs, { item, sinceUs: nowUs });
    if (this.#awaited.size > MAX_AWAITED) {
      const [oldest] = this.#awaited.keys();
      if (oldest !== undefined) this.#awaited.delete(oldest);
    }
  }

  /** To be called now and then, also while it takes no frames: one that hangs is given up. */
  check(): void {
    if (!this.isReady && this.#waitedUs(this.#nowUs()) > HANG_US) this.#fail();
  }

  close(): void {
    const decoder = this.#decoder;
    this.#decoder = undefined;
    this.#configured = "";
    this.#awaited.clear();
    if (decoder && decoder.state !== "closed") decoder.close();
  }

  /** For how long it has had frames and made nothing: while it had none it had nothing to make. */
  #waitedUs(nowUs: number): number {
    const [oldest] = this.#awaited.values();
    return oldest ? nowUs - Math.max(oldest.sinceUs, this.#lastPictureUs) : 0;
  }

  /** The decoder, configured for what the key frame says. */
  #prepared(frame: EncodedFrame): VideoDecoder | undefined {
    if (!frame.key) return this.#decoder;
    const config = decoderConfig(this.#codec, frame.payload);
    if (!config) {
      this.#fail();
      return undefined;
    }
    if (this.#decoder && this.#configured === config.codec) return this.#decoder;
    this.#decoder ??= this.#made();
    this.#configured = config.codec;
    const software = Math.floor(this.#failuresInARow / FAILURES_OF_ONE_KIND) % 2 === 1;
    this.#decoder.configure({
      ...config,
      optimizeForLatency: true,
      hardwareAcceleration: software ? "prefer-software" : "no-preference",
    });
    return this.#decoder;
  }

  #made(): VideoDecoder {
    const decoder: VideoDecoder = new VideoDecoder({
      output: (picture) => this.#output(decoder, picture),
      error: () => {
        if (decoder === this.#decoder) this.#fail();
      },
    });
    decoder.addEventListener("dequeue", () => {
      if (decoder === this.#decoder) this.#events.ready();
    });
    return decoder;
  }

  #output(decoder: VideoDecoder, picture: VideoFrame): void {
    const awaited = this.#awaited.get(picture.timestamp);
    if (decoder !== this.#decoder || !awaited) {
      picture.close();
      return;
    }
    for (const timestampUs of this.#awaited.keys()) {
      // Pictures come in the order of their timestamps: what was left out on the way does not come any more.
      if (timestampUs <= picture.timestamp) this.#awaited.delete(timestampUs);
      if (timestampUs === picture.timestamp) break;
    }
    this.#failuresInARow = 0;
    this.#lastPictureUs = this.#nowUs();
    this.#events.picture(picture, awaited.item, this.#lastPictureUs - awaited.sinceUs);
  }

  #fail(): void {
    this.close();
    this.#errors++;
    this.#failuresInARow++;
    this.#events.failed();
  }
}
