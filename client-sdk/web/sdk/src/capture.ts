/**
 * Frames of a video track, on their way to the worker that encodes them. What the browser can do decides how:
 *
 * 1. `MediaStreamTrackProcessor` in the window (Chromium): its stream is transferred.
 * 2. Tracks that can be transferred (Safari): a copy of the track is, and the worker has the processor.
 * 3. Else (Firefox): a `<video>` element plays the track, and every picture that it shows becomes a frame.
 *
 * Whoever switches the track off (`enabled`) or stops it does so for others: what is copied or played here follows within a
 * quarter of a second. No event tells of either.
 */

import type { OpenSource } from "./publication.js";

/** A reader that is late gets the newest frame, not all that it missed. */
const BUFFERED_FRAMES = 1;

const WATCH_MS = 250;

/** Window → worker, over the port that goes with a copy of a track: what became of the original. */
export type TrackCommand =
  | { readonly type: "enabled"; readonly enabled: boolean }
  /** Last. */
  | { readonly type: "ended" };

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
    const { port1, port2 } = new MessageChannel();
    const tell = (command: TrackCommand) => port1.postMessage(command);
    const unwatch = watchTrack(track, {
      enabled: (enabled) => tell({ type: "enabled", enabled }),
      ended: () => tell({ type: "ended" }),
    });
    const source = { kind: "track", track: moved, control: port2 } as const;
    const close = () => {
      unwatch();
      port1.close();
    };
    return { source, transfer: [moved as unknown as Transferable, port2], close };
  }
  const player = new FramePlayer(track, framerate);
  return {
    source: { kind: "frames", frames: player.frames },
    transfer: [player.frames],
    close: () => player.close(),
  };
}

/** What is heard of a track that is watched. */
interface TrackListener {
  /** It is another than before, or not true from the beginning. */
  enabled(enabled: boolean): void;
  /** Once; nothing comes after it. */
  ended(): void;
}

/** Watches until the track has ended, or the function that is returned is called. */
function watchTrack(track: MediaStreamTrack, listener: TrackListener): () => void {
  let wasEnabled = true;
  const look = () => {
    if (track.readyState === "ended") {
      stop();
      listener.ended();
    } else if (track.enabled !== wasEnabled) {
      wasEnabled = track.enabled;
      listener.enabled(wasEnabled);
    }
  };
  const timer = setInterval(look, WATCH_MS);
  const stop = () => {
    clearInterval(timer);
    track.removeEventListener("ended", look);
  };
  track.addEventListener("ended", look);
  look();
  return stop;
}

/**
 * In the worker: the frames of a track that was transferred. The track is a copy that nobody else has, and ends with the stream.
 *
 * @param control tells what becomes of the original: `TrackCommand`
 */
export function framesOfTrack(track: MediaStreamTrack, control: MessagePort): ReadableStream<VideoFrame> {
  const processor = new MediaStreamTrackProcessor({
    track: track as MediaStreamVideoTrack,
    maxBufferSize: BUFFERED_FRAMES,
  });
  const reader = processor.readable.getReader();
  const end = () => {
    control.close();
    track.stop();
  };
  control.onmessage = ({ data }: MessageEvent<TrackCommand>) => {
    if (data.type === "enabled") {
      track.enabled = data.enabled;
      return;
    }
    end();
    // What is read then is the end.
    reader.cancel().catch(() => {});
  };
  return new ReadableStream<VideoFrame>(
    {
      async pull(controller) {
        const { value, done } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel(reason) {
        end();
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
  #unwatch: () => void = () => {};
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
    // A track that is switched off plays black. One that was stopped goes on showing its last picture.
    this.#unwatch = watchTrack(track, { enabled: () => {}, ended: () => this.close() });
    // Muted video plays without a gesture; where it does not, no frame comes, as from a camera that is covered.
    this.#video.play().catch(() => {});
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#visibilityChanged);
    this.#unwatch();
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
