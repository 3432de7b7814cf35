/** The AudioWorkletProcessor `darktower-capture`: the sound of a microphone in chunks of 20 ms. A shell over `CaptureChunks`. */

import type { CaptureCommand, CaptureOptions, CapturePortMessage } from "../media/capture-messages.js";
import { CAPTURE_PROCESSOR } from "../media/capture-messages.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";
import { CaptureChunks } from "./capture-chunks.js";

class CaptureProcessor extends AudioWorkletProcessor {
  readonly #chunks: CaptureChunks;
  #worker: MessagePort | undefined;
  #ended = false;

  constructor(options: { processorOptions?: CaptureOptions }) {
    super();
    if (sampleRate !== SAMPLE_RATE)
      throw new Error(`the AudioContext has ${sampleRate} Hz and needs ${SAMPLE_RATE}`);
    this.#chunks = new CaptureChunks(options.processorOptions ?? {}, (chunk, transfer) => {
      this.#worker?.postMessage(chunk, transfer);
    });
    this.port.onmessage = ({ data }: MessageEvent<CapturePortMessage>) => {
      if (data.type === "end") {
        this.#end();
        return;
      }
      this.#worker = data.port;
      this.#worker.onmessage = (message: MessageEvent<CaptureCommand>) => {
        this.#chunks.muted = message.data.muted;
      };
    };
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    if (this.#ended) return false;
    const input = inputs[0] ?? [];
    // Without input the size of the quantum shows at the output, if there is one.
    const frames = input[0]?.length ?? outputs[0]?.[0]?.length ?? 128;
    this.#chunks.take(input, frames, currentTime);
    return true;
  }

  #end(): void {
    this.#ended = true;
    this.#worker?.close();
    this.#worker = undefined;
    this.port.close();
  }
}

registerProcessor(CAPTURE_PROCESSOR, CaptureProcessor);
