/**
 * Samples of one stream: what is to be played and the most recent past, which stretching and concealment repeat.
 *
 * Positions count samples from the beginning and only the last `RING_FRAMES` of them exist. The ring knows nothing of time.
 */

/** 2.7 s: a power of two above the 2 s that may be buffered and the past that is needed. */
export const RING_FRAMES = 1 << 17;
const MASK = RING_FRAMES - 1;

/** Decoded audio stays near ±1; what is far outside, or no number, is a fault of the decoder and becomes silence. */
const MAX_SAMPLE = 8;

/** One or two channels. */
export class SampleRing {
  #left = new Float32Array(RING_FRAMES);
  #right: Float32Array | undefined;
  /** Position after the last sample. */
  end: number;

  /** @param start position of the first sample; before it is silence */
  constructor(start: number) {
    this.end = start;
  }

  /** 1 until stereo was appended. */
  get channelCount(): number {
    return this.#right === undefined ? 1 : 2;
  }

  /** Samples of a channel by `position & mask`; of mono both are the same. */
  channel(index: number): Float32Array {
    return index === 0 ? this.#left : (this.#right ?? this.#left);
  }

  /** Index of a position in a channel. */
  static index(position: number): number {
    return position & MASK;
  }

  /** Appends `frames` samples. Mono goes to both channels of a stereo ring; of more than two channels two are taken. */
  append(channels: readonly Float32Array[], frames: number): void {
    const first = channels[0];
    if (first === undefined) return;
    const second = channels[1];
    if (second !== undefined && this.#right === undefined) this.#right = this.#left.slice();
    copyInto(this.#left, this.end, first, frames);
    if (this.#right !== undefined) copyInto(this.#right, this.end, second ?? first, frames);
    this.end += frames;
  }

  /** Appends silence. */
  appendSilence(frames: number): void {
    for (let i = 0; i < frames; i++) {
      const at = (this.end + i) & MASK;
      this.#left[at] = 0;
      if (this.#right !== undefined) this.#right[at] = 0;
    }
    this.end += frames;
  }

  /** Copies the mean of the channels from `position` on into `out`. */
  copyMean(position: number, frames: number, out: Float32Array): void {
    const left = this.#left;
    const right = this.#right;
    for (let i = 0; i < frames; i++) {
      const at = (position + i) & MASK;
      const sample = left[at] ?? 0;
      out[i] = right === undefined ? sample : (sample + (right[at] ?? 0)) / 2;
    }
  }

  /**
   * Fades from the samples at `from` to those at `to`, and leaves the result at `into`, which is one of the two. The regions of
   * `frames` samples must not overlap.
   */
  crossFade(from: number, to: number, into: number, frames: number): void {
    fade(this.#left, from, to, into, frames);
    if (this.#right !== undefined) fade(this.#right, from, to, into, frames);
  }
}

function copyInto(ring: Float32Array, end: number, samples: Float32Array, frames: number): void {
  for (let i = 0; i < frames; i++) {
    const sample = samples[i] ?? 0;
    ring[(end + i) & MASK] = sample > -MAX_SAMPLE && sample < MAX_SAMPLE ? sample : 0;
  }
}

function fade(ring: Float32Array, from: number, to: number, into: number, frames: number): void {
  for (let i = 0; i < frames; i++) {
    const weight = (i + 0.5) / frames;
    const before = ring[(from + i) & MASK] ?? 0;
    const after = ring[(to + i) & MASK] ?? 0;
    ring[(into + i) & MASK] = before + (after - before) * weight;
  }
}
