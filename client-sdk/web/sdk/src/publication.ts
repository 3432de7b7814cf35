/** What this participant publishes: one stream. */

import { AudioCapture } from "./audio.js";
import { videoFrames } from "./capture.js";
import { MeetingError } from "./error.js";
import { Emitter } from "./events.js";
import type { WorkerPort } from "./port-client.js";
import type { StreamDescription } from "./types.js";
import type { Source } from "./worker/port.js";

export interface PublicationEvents {
  /** Nothing is sent any more: a host has ended it, the device is gone, or the encoder failed. */
  ended: { readonly reason: string };
}

/** A source for the worker, and what to do when another takes its place. */
export interface OpenSource {
  readonly source: Source;
  readonly transfer: Transferable[];
  readonly close: () => void;
}

/** What a track brings, on its way to the worker. */
export function openSource(
  track: MediaStreamTrack,
  stream: StreamDescription,
  context: AudioContext,
): OpenSource {
  if (track.readyState === "ended") throw new MeetingError("invalid", "the track has ended");
  if (stream.audio) {
    if (track.kind !== "audio") throw new MeetingError("invalid", "an audio stream needs an audio track");
    const capture = new AudioCapture(context, track, stream.audio.channels === 2 ? 2 : 1);
    const source: Source = { kind: "audio", port: capture.worker };
    return { source, transfer: [capture.worker], close: () => capture.close() };
  }
  if (track.kind !== "video") throw new MeetingError("invalid", "a video stream needs a video track");
  return videoFrames(track, stream.video?.framerate || 30);
}

export class Publication {
  readonly stream: StreamDescription;
  readonly #port: WorkerPort;
  readonly #context: AudioContext;
  readonly #emitter = new Emitter<PublicationEvents>();
  #track: MediaStreamTrack;
  #source: OpenSource;
  #ended = false;
  readonly #onEnded: (publication: Publication) => void;

  /** @internal Made by `Meeting.publish`. */
  constructor(
    stream: StreamDescription,
    track: MediaStreamTrack,
    source: OpenSource,
    port: WorkerPort,
    context: AudioContext,
    onEnded: (publication: Publication) => void,
  ) {
    this.#onEnded = onEnded;
    this.stream = stream;
    this.#track = track;
    this.#source = source;
    this.#port = port;
    this.#context = context;
    track.addEventListener("ended", this.#onTrackEnded);
  }

  on<K extends keyof PublicationEvents>(
    name: K,
    listener: (event: PublicationEvents[K]) => void,
  ): () => void {
    return this.#emitter.on(name, listener);
  }

  get track(): MediaStreamTrack {
    return this.#track;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Another camera or microphone, in the same stream. The track before stays the caller's. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    if (this.#ended) throw new MeetingError("invalid", "the publication has ended");
    const next = openSource(track, this.stream, this.#context);
    this.#source.close();
    this.#track.removeEventListener("ended", this.#onTrackEnded);
    this.#source = next;
    this.#track = track;
    track.addEventListener("ended", this.#onTrackEnded);
    const { streamId } = this.stream;
    await this.#port.call("replaceSource", { streamId, source: next.source }, next.transfer);
  }

  /** Whether anything is sent; the stream stays published. */
  async setEnabled(enabled: boolean): Promise<void> {
    await this.#port.call("setEnabled", { streamId: this.stream.streamId, enabled });
  }

  /** Unpublishes the stream. The track stays the caller's. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    await this.#port.call("unpublish", { streamId: this.stream.streamId });
  }

  /** @internal The worker says so. */
  ended(reason: string): void {
    if (this.#ended) return;
    this.#end();
    this.#emitter.emit("ended", { reason });
  }

  #end(): void {
    this.#ended = true;
    this.#onEnded(this);
    this.#track.removeEventListener("ended", this.#onTrackEnded);
    this.#source.close();
  }

  readonly #onTrackEnded = () => {
    const { streamId } = this.stream;
    // A worker that is gone has unpublished everything.
    this.#port.call("unpublish", { streamId }).catch(() => {});
    this.ended("the device was taken away, or sharing was stopped");
  };
}
