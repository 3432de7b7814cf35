/** Publishes sound: chunks of the capture worklet, encoded as Opus, one unit per datagram (docs/protocol.md 3.3). */

import { MeetingError } from "../error.js";
import type { CaptureChunk, CaptureCommand } from "../media/capture-messages.js";
import type { ContextClock } from "../media/context-clock.js";
import { SILENCE_DBOV, SilenceGate } from "../media/levels.js";
import { NO_FIGURES } from "../media/no-figures.js";
import { Recent } from "../media/recent.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";
import { encodeGroupPreamble, GroupKind } from "../protocol/group.js";
import { encodeUnit, Flags, FrameType } from "../protocol/unit.js";
import type { StreamDescription, StreamStatistics } from "../types.js";
import { GroupWriter } from "./group-writer.js";
import { type MediaLink, nowUs } from "./link.js";

const CHUNK_US = 20_000;
/** Speech, per channel. */
const BITRATE_BPS = 32_000;
/** What the encoder assumes to be lost, per cent: without loss it would leave the redundancy out. */
const EXPECTED_LOSS = 10;
/** A chunk that begins so much later than the one before ended comes after a pause. */
const PAUSE_US = 5_000;
/** Chunks in front of the encoder: more than these are a fifth of a second late, and not worth sending. */
const MAX_ENCODE_QUEUE = 10;
const MAX_FAILURES = 3;
const FAILURES_WITHIN_MS = 10_000;
const STATISTICS_WINDOW_MS = 2_000;

/** `OpusEncoderConfig` with what is newer than the types. */
type Opus = OpusEncoderConfig & { application?: string; signal?: string };

export interface AudioPublisherOptions {
  readonly stream: StreamDescription;
  readonly link: MediaLink;
  /** How loud it is, dBov (RFC 6464), for every 20 ms that are captured; 127 once when it is switched off. */
  onLevel(dBov: number): void;
  /** Nothing is sent any more. */
  onFailed(error: MeetingError): void;
}

export class AudioPublisher {
  readonly #stream: StreamDescription;
  readonly #link: MediaLink;
  readonly #onLevel: (dBov: number) => void;
  readonly #onFailed: (error: MeetingError) => void;
  readonly #wireStreamId: string;
  #port: MessagePort | undefined;
  #clock: ContextClock | undefined;
  #encoder: AudioEncoder | undefined;
  #channels = 0;
  /** What the encoder has been given and not answered, in order. */
  #encoding: { readonly startUs: number; readonly isSent: boolean }[] = [];
  readonly #gate = new SilenceGate();
  /** End of the last chunk that was encoded, by the clock of the AudioContext. */
  #endUs: number | undefined;
  #enabled = true;
  #over = false;
  #sequence = 0;
  #lastTimestampUs = 0;
  /** Local time minus that of the AudioContext, until its clock is known. */
  #guessUs: number | undefined;
  #failedMs: number[] = [];
  readonly #sentBytes = new Recent(STATISTICS_WINDOW_MS);
  readonly #sentFrames = new Recent(STATISTICS_WINDOW_MS);
  #frames = 0;
  #dropped = 0;

  constructor(options: AudioPublisherOptions) {
    this.#stream = options.stream;
    this.#link = options.link;
    this.#onLevel = options.onLevel;
    this.#onFailed = options.onFailed;
    this.#wireStreamId = options.stream.layers[0]?.wireStreamId ?? options.stream.streamId;
    this.#checkServer();
  }

  /** Replaces an earlier source. `port` is that of the capture worklet, `clock` the one of its AudioContext. */
  setPort(port: MessagePort, clock: ContextClock): void {
    this.#port?.close();
    this.#discardEncoder();
    if (this.#over) {
      port.close();
      return;
    }
    this.#port = port;
    this.#clock = clock;
    this.#guessUs = undefined;
    port.onmessage = (event: MessageEvent<CaptureChunk>) => {
      if (event.data.type === "chunk" && port === this.#port) this.#chunk(event.data);
    };
    if (!this.#enabled) this.#tell({ type: "mute", muted: true });
  }

  /** False: the worklet stops, so that no sound leaves it. */
  setEnabled(enabled: boolean): void {
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    this.#tell({ type: "mute", muted: !enabled });
    if (enabled) return;
    this.#discardEncoder();
    this.#onLevel(SILENCE_DBOV);
  }

  /** The link has another connection, or lost it. What was being encoded is of the time before. */
  connectionChanged(): void {
    if (!this.#link.connected) this.#discardEncoder();
    else this.#checkServer();
  }

  statistics(nowMs: number): StreamStatistics[] {
    return [
      {
        ...NO_FIGURES,
        streamId: this.#stream.streamId,
        type: "audio",
        direction: "outgoing",
        codec: this.#stream.codec,
        bitrateBps: Math.round(this.#sentBytes.perSecond(nowMs) * 8),
        framesPerSecond: this.#sentFrames.perSecond(nowMs),
        frames: this.#frames,
        framesDropped: this.#dropped,
      },
    ];
  }

  async stop(): Promise<void> {
    this.#over = true;
    this.#port?.close();
    this.#port = undefined;
    this.#discardEncoder();
  }

  #tell(command: CaptureCommand): void {
    this.#port?.postMessage(command);
  }

  #chunk(chunk: CaptureChunk): void {
    if (!this.#enabled) return;
    this.#onLevel(chunk.levelDbov);
    if (!this.#link.connected) {
      this.#dropped += 1;
      return;
    }
    const startUs = Math.round(chunk.contextTimeS * 1e6);
    // After a pause an encoder would go on counting samples where it was.
    const isPause = this.#endUs !== undefined && Math.abs(startUs - this.#endUs) > PAUSE_US;
    if (isPause || chunk.channels.length !== this.#channels) this.#discardEncoder();
    if ((this.#encoder?.encodeQueueSize ?? 0) > MAX_ENCODE_QUEUE) {
      this.#dropped += 1;
      return;
    }
    this.#endUs = startUs + CHUNK_US;
    this.#encode(chunk, startUs);
  }

  #encode({ channels, levelDbov }: CaptureChunk, timestamp: number): void {
    const frames = channels[0]?.length ?? 0;
    if (frames === 0) return;
    const data = new Float32Array(frames * channels.length);
    for (const [i, samples] of channels.entries()) data.set(samples.subarray(0, frames), i * frames);
    let encoder = this.#encoder;
    try {
      encoder ??= this.#makeEncoder(channels.length);
      const sound = new AudioData({
        format: "f32-planar",
        sampleRate: SAMPLE_RATE,
        numberOfFrames: frames,
        numberOfChannels: channels.length,
        timestamp,
        data,
      });
      try {
        encoder.encode(sound);
      } finally {
        sound.close();
      }
      // Silence is encoded as well: the encoder must not jump.
      const isSent = channels.length > 1 || this.#gate.take(levelDbov);
      this.#encoding.push({ startUs: timestamp, isSent });
    } catch (error) {
      this.#failed(encoder, error);
    }
  }

  #makeEncoder(channels: number): AudioEncoder {
    const encoder: AudioEncoder = new AudioEncoder({
      output: (chunk) => {
        if (encoder === this.#encoder) this.#encoded(chunk);
      },
      error: (error) => this.#failed(encoder, error),
    });
    const isSpeech = channels === 1;
    const opus: Opus = {
      frameDuration: CHUNK_US,
      // One packet for each chunk: `SilenceGate` says why.
      usedtx: false,
      useinbandfec: isSpeech,
      packetlossperc: isSpeech ? EXPECTED_LOSS : 0,
      // Browsers that do not know these leave them out.
      application: isSpeech ? "voip" : "audio",
      ...(isSpeech && { signal: "voice" }),
    };
    encoder.configure({
      codec: "opus",
      sampleRate: SAMPLE_RATE,
      numberOfChannels: channels,
      bitrate: this.#stream.maxBitrateBps || BITRATE_BPS * channels,
      opus,
    });
    this.#encoder = encoder;
    this.#encoding = [];
    this.#channels = channels;
    return encoder;
  }

  /** The encoder's answers are in the order of what it was given. */
  #encoded(chunk: EncodedAudioChunk): void {
    const encoding = this.#encoding.shift();
    if (encoding?.isSent) this.#send(chunk, encoding.startUs);
  }

  #send(chunk: EncodedAudioChunk, startUs: number): void {
    if (!this.#link.connected) return;
    const nowMs = performance.now();
    const payload = new Uint8Array(chunk.byteLength);
    chunk.copyTo(payload);
    const sequence = this.#sequence++;
    const bytes = encodeUnit({
      frameType: FrameType.Audio,
      streamId: this.#wireStreamId,
      timestampUs: this.#timestampUs(startUs),
      sequence,
      flags: Flags.EndOfFrame,
      payload,
    });
    if (!this.#link.sendDatagram(bytes)) this.#sendAlone(bytes, sequence, nowMs);
    this.#frames += 1;
    this.#sentFrames.add(1, nowMs);
    this.#sentBytes.add(bytes.length, nowMs);
  }

  /** What fits into no datagram gets a QUIC stream of its own (docs/protocol.md 3.3). */
  #sendAlone(bytes: Uint8Array, sequence: number, nowMs: number): void {
    const group = new GroupWriter(this.#link, () => {});
    const preamble = encodeGroupPreamble({
      kind: GroupKind.Audio,
      continuation: false,
      discontinuity: false,
      streamId: this.#wireStreamId,
      group: sequence,
      firstSequence: sequence,
    });
    group.write(preamble, nowMs);
    group.write(bytes, nowMs);
    group.finish();
  }

  /** Capture time on the wire; rising, whatever the clocks do. */
  #timestampUs(contextUs: number): number {
    const mappedUs = this.#clock?.toLocalUs(contextUs / 1e6) ?? Number.NaN;
    // Before the first reading of the context's clock: what is encoded first was captured just now, the rest follows it.
    if (Number.isNaN(mappedUs)) this.#guessUs ??= nowUs() - CHUNK_US - contextUs;
    const localUs = Number.isNaN(mappedUs) ? contextUs + (this.#guessUs ?? 0) : mappedUs;
    const wireUs = Math.max(Math.round(this.#link.toWireUs(localUs)), 0);
    this.#lastTimestampUs = Math.max(wireUs, this.#lastTimestampUs + 1);
    return this.#lastTimestampUs;
  }

  #discardEncoder(): void {
    const encoder = this.#encoder;
    this.#encoder = undefined;
    this.#encoding = [];
    this.#endUs = undefined;
    if (encoder && encoder.state !== "closed") encoder.close();
  }

  /** The end of this if the server takes no sound in datagrams: the other way, of docs/protocol.md 6.3, is not spoken here. */
  #checkServer(): void {
    if (!this.#link.connected || this.#link.features.audioDatagrams) return;
    this.#fail("the server takes no sound in datagrams", "audio-datagrams");
  }

  #fail(message: string, code: string, cause?: unknown): void {
    if (this.#over) return;
    void this.stop();
    // Not from inside the constructor: whoever made this does not have it yet.
    queueMicrotask(() => this.#onFailed(new MeetingError("unsupported", message, { code, cause })));
  }

  /** The next chunk gets a new encoder, unless that failed too often. */
  #failed(encoder: AudioEncoder | undefined, cause: unknown): void {
    if (this.#over || (encoder && this.#encoder && encoder !== this.#encoder)) return;
    this.#discardEncoder();
    const nowMs = performance.now();
    this.#failedMs = this.#failedMs.filter((ms) => nowMs - ms < FAILURES_WITHIN_MS);
    this.#failedMs.push(nowMs);
    if (this.#failedMs.length < MAX_FAILURES) return;
    this.#fail("the audio encoder failed", "AudioEncoder", cause);
  }
}
