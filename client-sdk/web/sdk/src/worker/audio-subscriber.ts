/** Receives one audio stream: Opus units in, sound to the playout worklet. */

import { ArrivalJitter } from "../media/jitter.js";
import { NO_FIGURES } from "../media/no-figures.js";
import type { PlayoutCommand, PlayoutStreamReport } from "../media/playout-messages.js";
import { Recent } from "../media/recent.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";
import { HEADER_BYTES, type Unit } from "../protocol/unit.js";
import type { StreamDescription, StreamStatistics } from "../types.js";
import { nowUs } from "./link.js";

/** Of packets whose decoding is under way; more mean that the decoder hangs. */
const MAX_DECODING = 64;

/** What is known of a packet while it is decoded. */
interface Decoding {
  readonly timestampUs: number;
  readonly afterLoss: boolean;
  /** Of a decoder, which has to be made ready for it. */
  readonly isFirst: boolean;
}

export class AudioSubscriber {
  readonly stream: StreamDescription;
  readonly participantId: string;
  readonly #playout: MessagePort;
  readonly #jitter = new ArrivalJitter();
  readonly #rate = new Recent(2_000);
  readonly #latency = new Recent(5_000);
  readonly #decoding: Decoding[] = [];
  #decoder: AudioDecoder | undefined;
  /** The decoder has been given nothing yet. */
  #isNew = false;
  #closed = false;
  #frames = 0;
  /** What came before the next packet that is decoded did not all come, or was not decoded. */
  #afterLoss = false;
  #lossWindow = { received: 0, lost: 0, loss: 0, sinceMs: 0 };
  #report: PlayoutStreamReport | undefined;

  constructor(stream: StreamDescription, participantId: string, playout: MessagePort) {
    this.stream = stream;
    this.participantId = participantId;
    this.#playout = playout;
  }

  /** Units of this stream as they came. */
  take(units: readonly Unit[], arrivalUs: number): void {
    if (this.#closed) return;
    for (const unit of units) this.#takeOne(unit, arrivalUs);
  }

  /** What the worklet says of it, ten times a second. */
  heard(report: PlayoutStreamReport, latencyMs: number | undefined, nowMs: number): void {
    this.#report = report;
    if (latencyMs !== undefined) this.#latency.add(latencyMs, nowMs);
  }

  setGain(gain: number): void {
    this.#tell({ type: "gain", streamId: this.stream.streamId, gain });
  }

  /** Pictures of the same participant need it to be so late. */
  setMinimumDelay(ms: number): void {
    this.#tell({ type: "minTarget", streamId: this.stream.streamId, ms });
  }

  statistics(nowMs: number): StreamStatistics {
    const window = this.#lossWindow;
    if (nowMs - window.sinceMs >= 2_000) {
      const received = this.#jitter.received - window.received;
      const lost = Math.max(0, this.#jitter.lost - window.lost);
      const loss = received + lost > 0 ? lost / (received + lost) : 0;
      this.#lossWindow = { received: this.#jitter.received, lost: this.#jitter.lost, loss, sinceMs: nowMs };
    }
    return {
      ...NO_FIGURES,
      streamId: this.stream.streamId,
      type: "audio",
      direction: "incoming",
      participantId: this.participantId,
      codec: this.stream.codec,
      bitrateBps: this.#rate.perSecond(nowMs) * 8,
      frames: this.#frames,
      framesDropped: this.#jitter.late,
      loss: this.#lossWindow.loss,
      jitterMs: this.#jitter.jitterMs,
      bufferMs: this.#report?.depthMs ?? 0,
      latencyP50Ms: this.#latency.percentile(0.5, nowMs),
      latencyP95Ms: this.#latency.percentile(0.95, nowMs),
      concealedMs: this.#report?.concealedMs ?? 0,
      underruns: this.#report?.underruns ?? 0,
    };
  }

  close(): void {
    this.#closed = true;
    const decoder = this.#decoder;
    this.#decoder = undefined;
    if (decoder && decoder.state !== "closed") decoder.close();
    this.#tell({ type: "remove", streamId: this.stream.streamId });
  }

  #takeOne(unit: Unit, arrivalUs: number): void {
    const { sequence, timestampUs, payload } = unit;
    this.#rate.add(HEADER_BYTES + payload.length, arrivalUs / 1000);
    const order = this.#jitter.arrived({ sequence, timestampUs, arrivalUs });
    // A decoder cannot go back.
    if (order === "late" || order === "repeated") return;
    this.#afterLoss ||= order === "after-loss";
    // An empty packet is silence that is not sent.
    if (payload.length === 0) return;
    const decoder = this.#openDecoder();
    if (decoder.decodeQueueSize > MAX_DECODING) {
      this.#forgetDecoder();
      return;
    }
    const isFirst = this.#isNew;
    this.#isNew = false;
    this.#decoding.push({ timestampUs, afterLoss: this.#afterLoss, isFirst });
    this.#afterLoss = false;
    try {
      // Every packet of Opus stands for itself, as far as decoders are told.
      decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: timestampUs, data: payload }));
    } catch {
      this.#forgetDecoder();
    }
  }

  #openDecoder(): AudioDecoder {
    if (this.#decoder?.state === "configured") return this.#decoder;
    this.#decoding.length = 0;
    const decoder = new AudioDecoder({
      output: (data) => this.#decoded(decoder, data),
      error: () => {
        if (this.#decoder === decoder) this.#forgetDecoder();
      },
    });
    decoder.configure({
      codec: "opus",
      sampleRate: SAMPLE_RATE,
      numberOfChannels: Math.min(this.stream.audio?.channels ?? 1, 2),
    });
    this.#decoder = decoder;
    this.#isNew = true;
    return decoder;
  }

  /** What cannot be decoded is lost, and the next packet begins anew. */
  #forgetDecoder(): void {
    const decoder = this.#decoder;
    this.#decoder = undefined;
    this.#decoding.length = 0;
    this.#afterLoss = true;
    if (decoder && decoder.state !== "closed") decoder.close();
  }

  #decoded(decoder: AudioDecoder, data: AudioData): void {
    const decoding = decoder === this.#decoder ? this.#decoding.shift() : undefined;
    if (!decoding) {
      data.close();
      return;
    }
    this.#frames += 1;
    const channels: Float32Array<ArrayBuffer>[] = [];
    for (let plane = 0; plane < Math.min(data.numberOfChannels, 2); plane++) {
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex: plane, format: "f32-planar" });
      channels.push(samples);
    }
    data.close();
    const { timestampUs, afterLoss, isFirst } = decoding;
    const decodedUs = nowUs();
    if (!isFirst) this.#jitter.playable(timestampUs, decodedUs);
    const targetMs = this.#jitter.targetMs(decodedUs);
    this.#tell(
      { type: "pcm", streamId: this.stream.streamId, timestampUs, channels, afterLoss, targetMs },
      channels.map((samples) => samples.buffer),
    );
  }

  #tell(command: PlayoutCommand, transfer: Transferable[] = []): void {
    this.#playout.postMessage(command, transfer);
  }
}
