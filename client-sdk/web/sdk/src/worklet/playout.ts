/** The AudioWorkletProcessor `darktower-playout`: plays all incoming audio streams of a meeting. A shell over `PlayoutMixer`. */

import type {
  PlayoutCommand,
  PlayoutPortMessage,
  PlayoutReport,
  PlayoutStreamReport,
} from "../media/playout-messages.js";
import { PLAYOUT_PROCESSOR } from "../media/playout-messages.js";
import { PlayoutMixer } from "../media/playout-mixer.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";

/** Between reports, frames: 100 ms. */
const REPORT_EVERY = SAMPLE_RATE / 10;

class PlayoutProcessor extends AudioWorkletProcessor {
  readonly #mixer = new PlayoutMixer();
  #worker: MessagePort | undefined;
  #reportAt = 0;

  constructor() {
    super();
    // Packets, marks and searches are counted in samples of 48 kHz; the context resamples for the device.
    if (sampleRate !== SAMPLE_RATE)
      throw new Error(`the AudioContext has ${sampleRate} Hz and needs ${SAMPLE_RATE}`);
    this.port.onmessage = (event: MessageEvent<PlayoutPortMessage>) => {
      this.#worker = event.data.port;
      this.#worker.onmessage = (message: MessageEvent<PlayoutCommand>) => this.#receive(message.data);
    };
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const output = outputs[0];
    const frames = output?.[0]?.length;
    if (output === undefined || frames === undefined) return true;
    if (currentFrame >= this.#reportAt) {
      this.#reportAt = currentFrame + REPORT_EVERY;
      this.#report();
    }
    this.#mixer.pull(output, frames, Date.now());
    return true;
  }

  #receive(command: PlayoutCommand): void {
    switch (command.type) {
      case "pcm":
        this.#mixer.push(command.streamId, command, command.targetMs);
        break;
      case "remove":
        this.#mixer.remove(command.streamId);
        break;
      case "gain":
        this.#mixer.setGain(command.streamId, command.gain);
        break;
      case "minTarget":
        this.#mixer.setMinTarget(command.streamId, command.ms);
        break;
    }
  }

  #report(): void {
    const streams: PlayoutStreamReport[] = [];
    for (const [streamId, buffer] of this.#mixer.streams()) {
      streams.push({
        streamId,
        playingTimestampUs: buffer.playingTimestampUs,
        depthMs: buffer.depthMs,
        delayMs: buffer.delayMs,
        targetMs: buffer.targetMs,
        levelDbov: buffer.takeLevel().rmsDbov,
        ...buffer.statistics,
      });
    }
    const report: PlayoutReport = { type: "report", contextTimeS: currentTime, streams };
    this.#worker?.postMessage(report);
  }
}

registerProcessor(PLAYOUT_PROCESSOR, PlayoutProcessor);
