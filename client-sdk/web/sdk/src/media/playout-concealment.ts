/**
 * What is played where there is no audio: the last period of the sound again and again, faded out over 60 ms, then silence. The
 * same at the beginning of silence (DTX), which is quiet before it begins.
 */

import { MAX_PERIOD, type PitchSearch } from "./playout-pitch.js";
import { SampleRing } from "./playout-ring.js";

/** Heard in full for so long, then fading, then silent; samples of 48 kHz: 10 and 60 ms. */
const FULL = 480;
const SILENT = 2880;
/** How like itself a sound must be to have a period. Noise repeated quickly would buzz. */
const PERIODIC = 0.5;
/** Compared for the period: 10 ms. */
const COMPARED = 480;
/** The end of the period is blended into what came before its beginning, so that repeating it makes no click. */
const BLEND = 60;
/** The step between real and repeated sound is spread over so many samples. */
const SMOOTH = 120;
/** Real audio comes back over 5 ms. */
const RETURN = 240;

/** Concealment of one stream. */
export class Concealment {
  readonly #periods = [new Float32Array(MAX_PERIOD), new Float32Array(MAX_PERIOD)];
  readonly #steps = new Float32Array(2);
  #period = MAX_PERIOD;
  #frames = 0;
  #active = false;

  /** Samples made up since real audio ended; 0 if the last is real. */
  get length(): number {
    return this.#frames;
  }

  /** Whether what was appended last is made up. */
  get isActive(): boolean {
    return this.#active;
  }

  /** What follows is silence, as if sound had ended long ago. */
  beginSilent(): void {
    this.#active = true;
    this.#frames = SILENT;
  }

  /** Appends `frames` samples in place of missing ones. */
  extend(ring: SampleRing, frames: number, pitch: PitchSearch): void {
    if (frames <= 0) return;
    if (!this.#active) this.#begin(ring, pitch);
    const made = Math.min(Math.max(SILENT - this.#frames, 0), frames);
    for (let channel = 0; channel < ring.channelCount; channel++) {
      const samples = ring.channel(channel);
      for (let i = 0; i < made; i++) {
        samples[SampleRing.index(ring.end + i)] = this.#sample(channel, this.#frames + i);
      }
    }
    ring.end += made;
    ring.appendSilence(frames - made);
    this.#frames += frames;
  }

  /** Real audio of `frames` samples was appended: blends the made-up sound into its beginning. */
  end(ring: SampleRing, frames: number): void {
    if (!this.#active) return;
    const blended = Math.min(RETURN, frames);
    for (let channel = 0; channel < ring.channelCount; channel++) {
      const samples = ring.channel(channel);
      for (let i = 0; i < blended; i++) {
        const at = SampleRing.index(ring.end - frames + i);
        const made = this.#sample(channel, this.#frames + i);
        samples[at] = made + ((samples[at] ?? 0) - made) * ((i + 0.5) / blended);
      }
    }
    this.#active = false;
    this.#frames = 0;
  }

  #begin(ring: SampleRing, pitch: PitchSearch): void {
    ring.copyMean(ring.end - COMPARED - MAX_PERIOD, COMPARED + MAX_PERIOD, pitch.signal);
    pitch.search(COMPARED, MAX_PERIOD, true);
    this.#period = pitch.likeness >= PERIODIC ? pitch.period : MAX_PERIOD;
    for (let channel = 0; channel < 2; channel++) {
      const samples = ring.channel(channel);
      const at = (position: number): number => samples[SampleRing.index(position)] ?? 0;
      const period = this.#periods[channel];
      if (period === undefined) continue;
      for (let i = 0; i < this.#period; i++) period[i] = at(ring.end - this.#period + i);
      for (let i = 0; i < BLEND; i++) {
        const weight = (i + 0.5) / BLEND;
        const index = this.#period - BLEND + i;
        const before = at(ring.end - this.#period - BLEND + i);
        period[index] = (period[index] ?? 0) * (1 - weight) + before * weight;
      }
      this.#steps[channel] = at(ring.end - 1) - at(ring.end - this.#period - 1);
    }
    this.#active = true;
    this.#frames = 0;
  }

  #sample(channel: number, n: number): number {
    if (n >= SILENT) return 0;
    const repeated = this.#periods[channel]?.[n % this.#period] ?? 0;
    const step = n < SMOOTH ? (this.#steps[channel] ?? 0) * (1 - n / SMOOTH) : 0;
    const gain = n < FULL ? 1 : (SILENT - n) / (SILENT - FULL);
    return (repeated + step) * gain;
  }
}
