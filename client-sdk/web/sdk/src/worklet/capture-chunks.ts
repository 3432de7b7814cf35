/** Cuts sound into chunks of 20 ms: what the `darktower-capture` worklet does with its quanta. */

import type { CaptureChunk, CaptureOptions } from "../media/capture-messages.js";
import { levelDbov } from "../media/levels.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";

/** Frames in a chunk: 20 ms. */
const CHUNK = SAMPLE_RATE / 50;

/** Chunks of one microphone. */
export class CaptureChunks {
  /** While it is, there is no input. */
  muted = false;
  readonly #channelCount: number;
  readonly #send: (chunk: CaptureChunk, transfer: ArrayBuffer[]) => void;
  #channels: Float32Array<ArrayBuffer>[];
  #filled = 0;
  #startS = 0;

  /** @param send takes a chunk whose buffers are not used any more */
  constructor(options: CaptureOptions, send: (chunk: CaptureChunk, transfer: ArrayBuffer[]) => void) {
    this.#channelCount = options.channels === 2 ? 2 : 1;
    this.#send = send;
    this.#channels = this.#empty();
  }

  /** `frames` samples whose first is at `timeS`; the channels of `input` may be none: nothing is connected. */
  take(input: readonly Float32Array[], frames: number, timeS: number): void {
    if (this.muted || input.length === 0) {
      // The part of a chunk that is there ends with it: what comes after the pause has another time.
      this.#filled = 0;
      return;
    }
    for (let i = 0; i < frames; i++) {
      if (this.#filled === 0) this.#startS = timeS + i / SAMPLE_RATE;
      for (let channel = 0; channel < this.#channelCount; channel++) {
        const samples = this.#channels[channel];
        if (samples !== undefined) samples[this.#filled] = this.#sample(input, channel, i);
      }
      this.#filled += 1;
      if (this.#filled === CHUNK) this.#finish();
    }
  }

  /** Mono from anything is the mean of two channels; stereo from mono the same twice. */
  #sample(input: readonly Float32Array[], channel: number, index: number): number {
    const left = input[0]?.[index] ?? 0;
    const right = input[1]?.[index] ?? left;
    if (this.#channelCount === 1) return (left + right) / 2;
    return channel === 0 ? left : right;
  }

  #finish(): void {
    let squares = 0;
    for (const samples of this.#channels) {
      for (const sample of samples) squares += sample * sample;
    }
    const channels = this.#channels;
    this.#channels = this.#empty();
    this.#filled = 0;
    this.#send(
      {
        type: "chunk",
        contextTimeS: this.#startS,
        channels,
        levelDbov: levelDbov(squares / (CHUNK * this.#channelCount)),
      },
      channels.map((samples) => samples.buffer),
    );
  }

  #empty(): Float32Array<ArrayBuffer>[] {
    return Array.from({ length: this.#channelCount }, () => new Float32Array(CHUNK));
  }
}
