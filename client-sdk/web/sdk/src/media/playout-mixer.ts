/** All audio streams together: one sum that does not clip. */

import type { PcmPacket } from "./playout.js";
import { PlayoutBuffer } from "./playout.js";
import { RenderBursts } from "./playout-bursts.js";
import { PitchSearch } from "./playout-pitch.js";
import { SAMPLE_RATE } from "./sample-rate.js";

/** The sum is turned down so that it stays below this ... */
const CEILING = 0.95;
/** ... within 32 samples; until then what is above the knee is bent, so that it stays below 1. */
const ATTACK = 32;
const KNEE = 0.9;
/** Turned up again with this time constant. */
const RELEASE_S = 0.2;
/** More streams are not mixed at one time: nobody could tell them apart, and memory is bounded. */
const MAX_STREAMS = 64;

/** A buffer for each stream. */
export class PlayoutMixer {
  readonly #buffers = new Map<string, PlayoutBuffer>();
  readonly #gains = new Map<string, number>();
  readonly #minTargets = new Map<string, number>();
  readonly #pitch = new PitchSearch();
  readonly #bursts = new RenderBursts();
  #limiterGain = 1;

  /** The streams that audio has come for; of many silent ones not all. */
  streams(): IterableIterator<[string, PlayoutBuffer]> {
    return this.#buffers.entries();
  }

  /** Adds a packet; the first one adds the stream. */
  push(streamId: string, packet: PcmPacket, targetMs: number): void {
    let buffer = this.#buffers.get(streamId);
    if (buffer === undefined) {
      if (this.#buffers.size >= MAX_STREAMS && !this.#forgetSilent()) return;
      buffer = new PlayoutBuffer(this.#pitch);
      buffer.burstMs = this.#bursts.ms;
      buffer.gain = this.#gains.get(streamId) ?? 1;
      buffer.minTargetMs = this.#minTargets.get(streamId) ?? 0;
      this.#buffers.set(streamId, buffer);
    }
    buffer.push(packet, targetMs);
  }

  /** Forgets a stream, its gain too. */
  remove(streamId: string): void {
    this.#buffers.delete(streamId);
    this.#gains.delete(streamId);
    this.#minTargets.delete(streamId);
  }

  /** Linear gain of a stream, 0 (mute) to 4; may come before the stream does. */
  setGain(streamId: string, gain: number): void {
    const bounded = gain > 0 ? Math.min(gain, 4) : 0;
    this.#gains.set(streamId, bounded);
    const buffer = this.#buffers.get(streamId);
    if (buffer !== undefined) buffer.gain = bounded;
  }

  /** Least delay of a stream, ms (`PlayoutBuffer.minTargetMs`); may come before the stream does. */
  setMinTarget(streamId: string, ms: number): void {
    this.#minTargets.set(streamId, ms);
    const buffer = this.#buffers.get(streamId);
    if (buffer !== undefined) buffer.minTargetMs = ms;
  }

  /** Fills the channels of `output`, which are zero, with the next `frames` samples of all streams. `nowMs` is of any clock. */
  pull(output: readonly Float32Array[], frames: number, nowMs: number): void {
    this.#bursts.rendered(frames, nowMs);
    const burstMs = this.#bursts.ms;
    for (const buffer of this.#buffers.values()) {
      buffer.burstMs = burstMs;
      buffer.pull(output, frames);
    }
    this.#limit(output, frames);
  }

  /** In a large meeting more people speak in the course of time than at once. */
  #forgetSilent(): boolean {
    for (const [streamId, buffer] of this.#buffers) {
      if (buffer.playingTimestampUs === undefined) return this.#buffers.delete(streamId);
    }
    return false;
  }

  #limit(output: readonly Float32Array[], frames: number): void {
    let peak = 0;
    for (const channel of output) {
      for (let i = 0; i < frames; i++) peak = Math.max(peak, Math.abs(channel[i] ?? 0));
    }
    const before = this.#limiterGain;
    const needed = peak > CEILING ? CEILING / peak : 1;
    const released = before + (1 - before) * (frames / (RELEASE_S * SAMPLE_RATE));
    const after = Math.min(needed, released);
    this.#limiterGain = after > 0.9999 ? 1 : after;
    if (before === 1 && this.#limiterGain === 1 && peak <= KNEE) return;
    const ramp = after < before ? Math.min(ATTACK, frames) : frames;
    for (const channel of output) {
      for (let i = 0; i < frames; i++) {
        const gain = i < ramp ? before + ((after - before) * (i + 1)) / ramp : after;
        channel[i] = bend((channel[i] ?? 0) * gain);
      }
    }
  }
}

/** As it is up to the knee, then towards 1. */
function bend(sample: number): number {
  const size = Math.abs(sample);
  if (size <= KNEE) return sample;
  const bent = KNEE + (1 - KNEE) * Math.tanh((size - KNEE) / (1 - KNEE));
  return sample < 0 ? -bent : bent;
}
