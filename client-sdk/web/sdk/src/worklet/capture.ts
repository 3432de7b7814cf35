/** The AudioWorkletProcessor `darktower-capture`: cuts the sound of a microphone into chunks of 20 ms. */

import type {
  CaptureChunk,
  CaptureCommand,
  CaptureOptions,
  CapturePortMessage,
} from "../media/capture-messages.js";
import { CAPTURE_PROCESSOR } from "../media/capture-messages.js";
import { levelDbov } from "../media/levels.js";
import { SAMPLE_RATE } from "../media/playout-ring.js";

/** Frames in a chunk: 20 ms. */
const CHUNK = SAMPLE_RATE / 50;

class CaptureProcessor extends AudioWorkletProcessor {
  readonly #channelCount: number;
  readonly #sendsSilence: boolean;
  #worker: MessagePort | undefined;
  #muted = false;
  #channels: Float32Array<ArrayBuffer>[];
  #filled = 0;
  #startS = 0;

  constructor(options: { processorOptions?: CaptureOptions }) {
    super();
    if (sampleRate !== SAMPLE_RATE)
      throw new Error(`the AudioContext has ${sampleRate} Hz and needs ${SAMPLE_RATE}`);
    this.#channelCount = options.processorOptions?.channels === 2 ? 2 : 1;
    this.#sendsSilence = options.processorOptions?.sendsSilence === true;
    this.#channels = this.#empty();
    this.port.onmessage = (event: MessageEvent<CapturePortMessage>) => {
      this.#worker = event.data.port;
      this.#worker.onmessage = (message: MessageEvent<CaptureCommand>) => {
        this.#muted = message.data.muted;
      };
    };
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const input = inputs[0] ?? [];
    const isSilent = this.#muted || input.length === 0;
    if (isSilent && !this.#sendsSilence) {
      // The part of a chunk that is there ends with it: what comes after the pause has another time.
      this.#filled = 0;
      return true;
    }
    const frames = input[0]?.length ?? outputs[0]?.[0]?.length ?? 128;
    for (let i = 0; i < frames; i++) {
      if (this.#filled === 0) this.#startS = currentTime + i / SAMPLE_RATE;
      for (let channel = 0; channel < this.#channelCount; channel++) {
        const samples = this.#channels[channel];
        if (samples !== undefined) samples[this.#filled] = isSilent ? 0 : this.#sample(input, channel, i);
      }
      this.#filled += 1;
      if (this.#filled === CHUNK) this.#send();
    }
    return true;
  }

  /** Mono from anything is the mean of two channels; stereo from mono the same twice. */
  #sample(input: Float32Array[], channel: number, index: number): number {
    const left = input[0]?.[index] ?? 0;
    const right = input[1]?.[index] ?? left;
    if (this.#channelCount === 1) return (left + right) / 2;
    return channel === 0 ? left : right;
  }

  #send(): void {
    let squares = 0;
    for (const samples of this.#channels) {
      for (const sample of samples) squares += sample * sample;
    }
    const chunk: CaptureChunk = {
      type: "chunk",
      contextTimeS: this.#startS,
      channels: this.#channels,
      levelDbov: levelDbov(squares / (CHUNK * this.#channelCount)),
    };
    this.#worker?.postMessage(
      chunk,
      this.#channels.map((samples) => samples.buffer),
    );
    this.#channels = this.#empty();
    this.#filled = 0;
  }

  #empty(): Float32Array<ArrayBuffer>[] {
    return Array.from({ length: this.#channelCount }, () => new Float32Array(CHUNK));
  }
}

registerProcessor(CAPTURE_PROCESSOR, CaptureProcessor);
