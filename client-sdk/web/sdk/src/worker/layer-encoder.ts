/** A VideoEncoder for one layer: its configuration, changes of size and bit rate, and what to do when it fails. */

import { codecString, type VideoCodec } from "../media/codec.js";
import type { StreamType } from "../types.js";

/** An encoded frame. */
export interface EncodedFrame {
  readonly chunk: EncodedVideoChunk;
  readonly isKey: boolean;
  /** No other frame needs this one (docs/protocol.md 2.3). */
  readonly isDiscardable: boolean;
}

export interface LayerEncoderOptions {
  readonly codec: VideoCodec;
  readonly type: StreamType;
  readonly framerate: number;
  readonly onFrame: (frame: EncodedFrame) => void;
  /** The encoder failed and the next frame goes to a new one: it has to be a key frame. */
  readonly onRestart: () => void;
  /** It fails again and again. */
  readonly onFailed: (cause: unknown) => void;
}

/** So many failures within this time, and the encoder is given up. */
const MAX_FAILURES = 3;
const FAILURES_WITHIN_MS = 10_000;

/** How frames depend on each other, and the highest temporal layer: frames of it are needed by no other. */
interface Structure {
  readonly scalabilityMode?: string;
  readonly bitrateMode?: VideoEncoderBitrateMode;
  readonly topTemporalLayer: number;
}

/** From the best to what every encoder can do. A constant bit rate keeps key frames from becoming a burst that queues. */
const STRUCTURES: readonly Structure[] = [
  { scalabilityMode: "L1T2", bitrateMode: "constant", topTemporalLayer: 1 },
  { scalabilityMode: "L1T3", bitrateMode: "constant", topTemporalLayer: 2 },
  { scalabilityMode: "L1T2", topTemporalLayer: 1 },
  { scalabilityMode: "L1T3", topTemporalLayer: 2 },
  { bitrateMode: "constant", topTemporalLayer: 0 },
  { topTemporalLayer: 0 },
];

export class LayerEncoder {
  readonly #options: LayerEncoderOptions;
  #encoder: VideoEncoder | undefined;
  #size = { width: 0, height: 0 };
  #bitrateBps: number;
  /** Index into STRUCTURES; undefined until the browser has said what it supports. */
  #structure: number | undefined;
  #choosing = false;
  #failedMs: number[] = [];
  #closed = false;

  constructor(options: LayerEncoderOptions, bitrateBps: number) {
    this.#options = options;
    this.#bitrateBps = bitrateBps;
  }

  /** Frames that wait to be encoded. */
  get queueSize(): number {
    return this.#encoder?.encodeQueueSize ?? 0;
  }

  get size(): { readonly width: number; readonly height: number } {
    return this.#size;
  }

  /**
   * Prepares for pictures of this size. False while the encoder is not ready; then the frame is left out. The first frame of
   * another size must be a key frame: a decoder may not take it otherwise.
   */
  prepare(size: { readonly width: number; readonly height: number }): boolean {
    if (this.#closed) return false;
    if (this.#structure === undefined) {
      void this.#choose(size);
      return false;
    }
    if (this.#encoder && size.width === this.#size.width && size.height === this.#size.height) return true;
    this.#size = { ...size };
    this.#configure();
    if (this.#encoder) this.#options.onRestart();
    return this.#encoder !== undefined;
  }

  setBitrate(bitrateBps: number): void {
    this.#bitrateBps = bitrateBps;
    if (this.#encoder) this.#configure();
  }

  /**
   * Does not close the frame. The encoder scales it to the layer's size: the specification demands that (WebCodecs,
   * `VideoEncoderConfig.width`), and it costs a twentieth of drawing it on a canvas.
   */
  encode(frame: VideoFrame, keyFrame: boolean): void {
    try {
      this.#encoder?.encode(frame, { keyFrame });
    } catch (error) {
      this.#failed(this.#encoder, error);
    }
  }

  /** Throws away what is being encoded. */
  discard(): void {
    const encoder = this.#encoder;
    this.#encoder = undefined;
    if (encoder && encoder.state !== "closed") encoder.close();
  }

  close(): void {
    this.#closed = true;
    this.discard();
  }

  /** Once at the beginning: the best structure that this browser supports for the codec. */
  async #choose(size: { readonly width: number; readonly height: number }): Promise<void> {
    if (this.#choosing) return;
    this.#choosing = true;
    let chosen = STRUCTURES.length - 1;
    for (const [i, structure] of STRUCTURES.entries()) {
      const config = this.#config(structure, size);
      // A browser that does not know a value may throw.
      const { supported } = await VideoEncoder.isConfigSupported(config).catch(() => ({ supported: false }));
      if (!supported) continue;
      chosen = i;
      break;
    }
    this.#structure = chosen;
  }

  #config(structure: Structure, { width, height }: { width: number; height: number }): VideoEncoderConfig {
    const { codec, type, framerate } = this.#options;
    const { scalabilityMode, bitrateMode } = structure;
    return {
      codec: codecString(codec, width, height, framerate),
      width,
      height,
      bitrate: this.#bitrateBps,
      framerate,
      latencyMode: "realtime",
      contentHint: type === "screen" ? "detail" : "motion",
      // Parameter sets in band (docs/protocol.md 2.4).
      ...(codec === "H264" && { avc: { format: "annexb" as const } }),
      ...(scalabilityMode !== undefined && { scalabilityMode }),
      ...(bitrateMode !== undefined && { bitrateMode }),
    };
  }

  #configure(): void {
    const structure = STRUCTURES[this.#structure ?? STRUCTURES.length - 1];
    if (!structure || this.#closed) return;
    let encoder = this.#encoder;
    try {
      encoder ??= this.#make(structure);
      encoder.configure(this.#config(structure, this.#size));
      this.#encoder = encoder;
    } catch (error) {
      this.#failed(encoder, error);
    }
  }

  #make({ topTemporalLayer }: Structure): VideoEncoder {
    const encoder: VideoEncoder = new VideoEncoder({
      output: (chunk, metadata) => {
        // What an encoder still had when it was thrown away.
        if (encoder !== this.#encoder) return;
        const isKey = chunk.type === "key";
        const temporalLayer = temporalLayerId(metadata);
        const isDiscardable = !isKey && topTemporalLayer > 0 && temporalLayer === topTemporalLayer;
        this.#options.onFrame({ chunk, isKey, isDiscardable });
      },
      error: (error) => this.#failed(encoder, error),
    });
    return encoder;
  }

  #failed(encoder: VideoEncoder | undefined, cause: unknown): void {
    if (this.#closed || (encoder && this.#encoder && encoder !== this.#encoder)) return;
    this.discard();
    const nowMs = performance.now();
    this.#failedMs = this.#failedMs.filter((ms) => nowMs - ms < FAILURES_WITHIN_MS);
    this.#failedMs.push(nowMs);
    if (this.#failedMs.length < MAX_FAILURES) {
      this.#options.onRestart();
    } else if (this.#structure !== STRUCTURES.length - 1) {
      // Supported, but not at this size or in this number: as simple as it can be.
      this.#structure = STRUCTURES.length - 1;
      this.#failedMs = [];
      this.#options.onRestart();
    } else {
      this.close();
      this.#options.onFailed(cause);
    }
  }
}

function temporalLayerId(metadata: EncodedVideoChunkMetadata | undefined): number | undefined {
  // Newer than the types.
  return (metadata as { svc?: { temporalLayerId?: number } } | undefined)?.svc?.temporalLayerId;
}
