/** Publishes a video: frames of a camera or screen, encoded in all layers of the stream that somebody watches. */

import { MeetingError } from "../error.js";
import { parseVideoCodec } from "../media/codec.js";
import { CaptureClock } from "../media/context-clock.js";
import type { StreamDescription, StreamStatistics } from "../types.js";
import { LayerPublisher } from "./layer-publisher.js";
import { type MediaLink, nowUs } from "./link.js";

/** Frames of sources that deliver more than they should are left out; this much earlier than due is still in time. */
const EARLY_SHARE = 0.4;
/** A screen delivers nothing while nothing moves. Its newest frame is sent again when somebody waits for a key frame … */
const STILL_MS = 200;
/** … and now and then, for what was lost and for the sharpness that the first one did not have. */
const REPEAT_MS = 1_000;
const REPEAT_TICK_MS = 200;
/** How long `stop` waits for what was sent to arrive. */
const DELIVERY_TIMEOUT_MS = 500;
/** Timestamps inside the encoders start here, so that none is negative. */
const EPOCH_MARGIN_US = 10_000_000;

export interface VideoPublisherOptions {
  readonly stream: StreamDescription;
  readonly codec: string;
  /** Frames per second, at most. */
  readonly framerate: number;
  readonly link: MediaLink;
  /** Nothing is sent any more. */
  onFailed(error: MeetingError): void;
}

export class VideoPublisher {
  readonly #link: MediaLink;
  readonly #framerate: number;
  readonly #onFailed: (error: MeetingError) => void;
  readonly #layers: LayerPublisher[];
  readonly #epochUs = nowUs() - EPOCH_MARGIN_US;
  readonly #repeats: boolean;
  #reader: ReadableStreamDefaultReader<VideoFrame> | undefined;
  #clock = new CaptureClock();
  /** Local time at which the next frame is due. */
  #dueUs = 0;
  #enabled = true;
  #over = false;
  /** The newest frame of a screen, also while it is not sent: nothing older may be seen after it. */
  #newest: VideoFrame | undefined;
  /** It has not been encoded for anybody. */
  #isUnsent = false;
  /** When a frame was offered to the layers last. */
  #offeredMs = Number.NEGATIVE_INFINITY;
  #sending: ReturnType<typeof setTimeout> | undefined;
  #repeating: ReturnType<typeof setInterval> | undefined;
  #uprightCanvas: OffscreenCanvas | undefined;

  constructor(options: VideoPublisherOptions) {
    const { stream, link } = options;
    const codec = parseVideoCodec(options.codec);
    this.#link = link;
    this.#framerate = Math.max(options.framerate, 1);
    this.#onFailed = options.onFailed;
    this.#repeats = stream.type === "screen";
    this.#layers = codec
      ? stream.layers.map(
          (layer) =>
            new LayerPublisher({
              stream,
              layer,
              codec,
              framerate: this.#framerate,
              link,
              epochUs: this.#epochUs,
              onFailed: (cause) => this.#fail("the video encoder failed", "VideoEncoder", cause),
            }),
        )
      : [];
    if (!codec) this.#fail(`there is no encoder for ${options.codec}`, options.codec);
    else this.#checkServer();
  }

  /** Replaces an earlier source, which is cancelled. Every frame that comes is closed here. */
  setSource(frames: ReadableStream<VideoFrame>): void {
    this.#dropSource();
    if (this.#over) {
      frames.cancel().catch(() => {});
      return;
    }
    this.#clock = this.#clock.successor();
    const reader = frames.getReader();
    this.#reader = reader;
    void this.#read(reader);
    if (this.#repeats) this.#repeating = setInterval(() => this.#repeat(), REPEAT_TICK_MS);
  }

  /** False: nothing is sent, as if there were no camera. */
  setEnabled(enabled: boolean): void {
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    if (enabled) this.#repeat();
    else for (const layer of this.#layers) layer.suspend();
  }

  /** What the server said of a layer (docs/protocol.md 6.5); of others nothing is taken. */
  feedback(
    wireStreamId: string,
    feedback: { keyFrameRequested: boolean; paused?: boolean; targetBitrateBps: number },
  ): void {
    this.#layers.find((layer) => layer.wireStreamId === wireStreamId)?.feedback(feedback);
    if (this.#isUnsent) this.#repeat();
  }

  /** The link has another connection, or lost it. */
  connectionChanged(): void {
    if (!this.#checkServer()) return;
    for (const layer of this.#layers) layer.connectionChanged();
    if (this.#isUnsent) this.#repeat();
  }

  /** One per layer, from the lowest to the highest. */
  statistics(nowMs: number): StreamStatistics[] {
    return this.#layers.map((layer) => layer.statistics(nowMs));
  }

  /** Ends everything; settles when what was sent has arrived, or half a second later. */
  async stop(): Promise<void> {
    this.#over = true;
    this.#dropSource();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, DELIVERY_TIMEOUT_MS);
    });
    await Promise.race([Promise.all(this.#layers.map((layer) => layer.stop())), late]);
    clearTimeout(timer);
  }

  async #read(reader: ReadableStreamDefaultReader<VideoFrame>): Promise<void> {
    for (;;) {
      // A source that breaks ends as one whose track has ended: its owner knows.
      const { value: frame, done } = await reader.read().catch(() => ({ value: undefined, done: true }));
      if (done || !frame) break;
      try {
        if (reader === this.#reader) this.#frame(frame);
      } catch (error) {
        this.#fail("a frame could not be prepared for encoding", "VideoFrame", error);
      } finally {
        frame.close();
      }
    }
    if (reader === this.#reader) this.#dropSource();
  }

  #frame(frame: VideoFrame): void {
    const localUs = this.#clock.frame(frame.timestamp, nowUs());
    if (this.#repeats) {
      this.#forgetNewest();
      this.#newest = this.#stamp(frame, localUs);
      this.#isUnsent = true;
      if (!this.#enabled) return;
      if (this.#isDue(localUs)) this.#offer(this.#newest);
      else this.#sendWhenDue(localUs);
    } else if (this.#enabled && this.#isDue(localUs)) {
      const stamped = this.#stamp(frame, localUs);
      try {
        this.#offer(stamped);
      } finally {
        stamped.close();
      }
    }
  }

  /** The frame with its capture time, as all layers get it, and the right way up. */
  #stamp(frame: VideoFrame, localUs: number): VideoFrame {
    const timestamp = localUs - this.#epochUs;
    // Newer than the types; phones have cameras that lie on their side.
    const { rotation = 0, flip = false } = frame as { rotation?: number; flip?: boolean };
    if (rotation === 0 && !flip) return new VideoFrame(frame, { timestamp });
    const { displayWidth, displayHeight } = frame;
    this.#uprightCanvas ??= new OffscreenCanvas(displayWidth, displayHeight);
    const canvas = this.#uprightCanvas;
    if (canvas.width !== displayWidth) canvas.width = displayWidth;
    if (canvas.height !== displayHeight) canvas.height = displayHeight;
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) return new VideoFrame(frame, { timestamp });
    context.drawImage(frame, 0, 0, displayWidth, displayHeight);
    return new VideoFrame(canvas, { timestamp, alpha: "discard" });
  }

  #offer(frame: VideoFrame): void {
    clearTimeout(this.#sending);
    this.#sending = undefined;
    const nowMs = performance.now();
    this.#offeredMs = nowMs;
    for (const layer of this.#layers) {
      if (layer.frame(frame, nowMs)) this.#isUnsent = false;
    }
  }

  #isDue(localUs: number): boolean {
    const intervalUs = 1e6 / this.#framerate;
    if (localUs < this.#dueUs - intervalUs * EARLY_SHARE) return false;
    // On the beat if it keeps it; a late frame begins a new one.
    const isOnBeat = localUs < this.#dueUs + intervalUs;
    this.#dueUs = (isOnBeat ? this.#dueUs : localUs) + intervalUs;
    return true;
  }

  /** Sends the newest frame of a screen (again) if there is a reason to. */
  #repeat(): void {
    this.#sending = undefined;
    const newest = this.#newest;
    if (!newest || !this.#enabled || !this.#layers.some((layer) => layer.isWanted)) return;
    const nowMs = performance.now();
    const stillMs = nowMs - this.#offeredMs;
    const isAwaited = stillMs >= STILL_MS && this.#layers.some((layer) => layer.keyFrameDue(nowMs));
    if (!this.#isUnsent && !isAwaited && stillMs < REPEAT_MS) return;
    const localUs = nowUs();
    if (!this.#isDue(localUs)) {
      this.#sendWhenDue(localUs);
      return;
    }
    const frame = new VideoFrame(newest, { timestamp: this.#clock.repeated(localUs) - this.#epochUs });
    try {
      this.#offer(frame);
    } finally {
      frame.close();
    }
  }

  /** The newest frame of a screen may be the last for long: it must not be left out because it came early. */
  #sendWhenDue(localUs: number): void {
    clearTimeout(this.#sending);
    this.#sending = setTimeout(() => this.#repeat(), Math.max((this.#dueUs - localUs) / 1000, 0));
  }

  #dropSource(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.cancel().catch(() => {});
    clearInterval(this.#repeating);
    this.#repeating = undefined;
    this.#forgetNewest();
  }

  #forgetNewest(): void {
    clearTimeout(this.#sending);
    this.#sending = undefined;
    this.#newest?.close();
    this.#newest = undefined;
    this.#isUnsent = false;
  }

  /** False, and the end of this, if the server does not take video as it is sent here (docs/protocol.md 6.3). */
  #checkServer(): boolean {
    if (!this.#link.connected || this.#link.features.groups) return true;
    this.#fail("the server takes no group streams", "groups");
    return false;
  }

  #fail(message: string, code: string, cause?: unknown): void {
    this.#failWith(new MeetingError("unsupported", message, { code, cause }));
  }

  #failWith(error: MeetingError): void {
    if (this.#over) return;
    // Not from inside the constructor: whoever made this does not have it yet.
    queueMicrotask(() => this.#onFailed(error));
    void this.stop();
  }
}
