/**
 * Frames of a video track, on their way to the worker that encodes them. What the browser can do decides how:
 *
 * 1. `MediaStreamTrackProcessor` in the window (Chromium): its stream is transferred.
 * 2. Tracks that can be transferred (Safari): a copy of the track is, and the worker has the processor.
 * 3. Else (Firefox): a `<video>` element plays the track, and every picture that it shows becomes a frame.
 */

import type { OpenSource } from "./publication.js";

/** A reader that is late gets the newest frame, not all that it missed. */
const BUFFERED_FRAMES = 1;

/** What to transfer to the worker. The track stays the caller's; `close` ends what was made of it. */
export function videoFrames(track: MediaStreamTrack, framerate: number): OpenSource {
  if (typeof MediaStreamTrackProcessor !== "undefined") {
    const processor = new MediaStreamTrackProcessor({
      track: track as MediaStreamVideoTrack,
      maxBufferSize: BUFFERED_FRAMES,
    });
    const frames = processor.readable;
    // The worker cancels it, which ends the processor.
    return { source: { kind: "frames", frames }, transfer: [frames], close: () => {} };
  }
  const moved = transferableClone(track);
  if (moved) {
    // Transferred, it is out of reach; the worker stops it.
    const transfer = [moved as unknown as Transferable];
    return { source: { kind: "track", track: moved }, transfer, close: () => {} };
  }
  const player = new FramePlayer(track, framerate);
  return {
    source: { kind: "frames", frames: player.frames },
    transfer: [player.frames],
    close: () => player.close(),
  };
}

/**
 * In the worker: the frames of a track that was transferred. The track is a copy that nobody else has, and ends with the stream.
 */
export function framesOfTrack(track: MediaStreamTrack): ReadableStream<VideoFrame> {
  const processor = new MediaStreamTrackProcessor({
    track: track as MediaStreamVideoTrack,
    maxBufferSize: BUFFERED_FRAMES,
  });
  const reader = processor.readable.getReader();
  return new ReadableStream<VideoFrame>(
    {
      async pull(controller) {
        const { value, done } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel(reason) {
        track.stop();
        await reader.cancel(reason);
      },
    },
    // A frame is read when it is asked for: one that waited here would be of the past.
    { highWaterMark: 0 },
  );
}

/** A copy of the track that can be posted, if this browser posts tracks. */
function transferableClone(track: MediaStreamTrack): MediaStreamTrack | undefined {
  const clone = track.clone();
  try {
    return structuredClone(clone, { transfer: [clone as unknown as Transferable] });
  } catch {
    clone.stop();
    return undefined;
  }
}

/** Plays a track and makes a frame of every picture that is asked for. */
class FramePlayer {
  readonly frames: ReadableStream<VideoFrame>;
  readonly #video = document.createElement("video");
  readonly #intervalMs: number;
  readonly #visibilityChanged = () => this.#schedule();
  #controller: ReadableStreamDefaultController<VideoFrame> | undefined;
  /** The worker is ready for a frame. */
  #asked: (() => void) | undefined;
  /** What was passed on: transferred streams copy their chunks, and the original has to be closed. */
  #passedOn: VideoFrame | undefined;
  #cancelScheduled: () => void = () => {};
  #closed = false;

  constructor(track: MediaStreamTrack, framerate: number) {
    this.#intervalMs = 1000 / Math.max(framerate, 1);
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.srcObject = new MediaStream([track]);
    this.frames = new ReadableStream<VideoFrame>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => {
          // Asking for the next one means that the last one has been copied.
          this.#forgetPassedOn();
          return new Promise<void>((resolve) => {
            this.#asked = resolve;
          });
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 0 },
    );
    document.addEventListener("visibilitychange", this.#visibilityChanged);
    track.addEventListener("ended", () => this.close(), { once: true });
    // Muted video plays without a gesture; where it does not, no frame comes, as from a camera that is covered.
    this.#video.play().catch(() => {});
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#visibilityChanged);
    this.#cancelScheduled();
    this.#forgetPassedOn();
    this.#video.srcObject = null;
    try {
      this.#controller?.close();
    } catch {
      // Cancelled by the reader.
    }
    this.#asked?.();
  }

  /** A hidden page shows no pictures: there a timer takes the place of the callback. */
  #schedule(): void {
    this.#cancelScheduled();
    if (this.#closed) return;
    if (document.hidden) {
      const timer = setTimeout(() => this.#take(nowOfPageUs()), this.#intervalMs);
      this.#cancelScheduled = () => clearTimeout(timer);
      return;
    }
    const callback = this.#video.requestVideoFrameCallback((_, { captureTime, expectedDisplayTime }) => {
      this.#take(Math.round((captureTime ?? expectedDisplayTime) * 1000));
    });
    this.#cancelScheduled = () => this.#video.cancelVideoFrameCallback(callback);
  }

  #take(timestamp: number): void {
    const asked = this.#asked;
    const hasPicture = this.#video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (asked && hasPicture) {
      this.#asked = undefined;
      this.#passedOn = new VideoFrame(this.#video, { timestamp });
      this.#controller?.enqueue(this.#passedOn);
      asked();
    }
    this.#schedule();
  }

  #forgetPassedOn(): void {
    this.#passedOn?.close();
    this.#passedOn = undefined;
  }
}

/** By the clock of the callbacks of `<video>`. */
function nowOfPageUs(): number {
  return Math.round(performance.now() * 1000);
}
