/**
 * Which of the wire streams of one stream (its layers, docs/protocol.md 4.3) is decoded.
 *
 * The server sends one layer at a time and begins another with a key frame (6.4), but the QUIC streams of both arrive
 * in any order. So:
 *
 * - A key frame of another layer that is newer than all that was taken switches to it. What still comes of the old
 *   layer is late and dropped.
 * - A key frame that is older (the server had it in its cache) is kept with what follows it, until something newer
 *   than all that was taken is among them, or nothing has come of the current layer for a while. Then all of it is
 *   taken, the old part only to be decoded, not to be shown.
 * - What is not newer than the newest taken is not shown, so that time does not go back. Unless this lasts: then the
 *   publisher has set its clock back.
 * - A layer that comes alone, but without its key frame, needs one: the publisher has to be asked.
 */

import type { EncodedFrame } from "./frames.js";

/** Bytes that a group of another layer may wait with. */
export const MAX_CANDIDATE_BYTES = 8 * 1024 * 1024;
/** A current layer of which nothing comes for so long is left for one of which something does. */
export const SILENT_LAYER_MS = 500;
/** So long nothing new arrives, then time begins anew. */
export const STALE_TIMESTAMPS_MS = 1500;

/** A frame to decode. */
export interface TakenFrame<L> {
  readonly layer: L;
  readonly frame: EncodedFrame;
  /** It is there to decode later ones; something newer has been shown. */
  readonly hidden: boolean;
  /** Timestamps have begun anew: they cannot be compared with earlier ones. */
  readonly restarted: boolean;
}

interface Candidate<L> {
  readonly layer: L;
  readonly frames: EncodedFrame[];
  bytes: number;
}

/** See the module's documentation. `L` names a layer. */
export class LayerSelector<L> {
  #current: L | undefined;
  #currentMs = 0;
  #newestUs: number | undefined;
  /** Since when all that was taken is not newer than `#newestUs`. */
  #staleSinceMs: number | undefined;
  #candidate: Candidate<L> | undefined;
  #lateFrames = 0;
  #needsKeyFrame = false;

  /** The layer that is decoded. */
  get current(): L | undefined {
    return this.#current;
  }

  /** Frames that were dropped because their layer is not the one that is decoded. */
  get lateFrames(): number {
    return this.#lateFrames;
  }

  /** The frame before was of a layer that takes over as soon as it has a key frame: nothing comes of the one that is decoded. */
  get needsKeyFrame(): boolean {
    return this.#needsKeyFrame;
  }

  /** Takes the next decodable frame of a layer; what to decode now, in order. */
  take(layer: L, frame: EncodedFrame, nowMs: number): TakenFrame<L>[] {
    this.#needsKeyFrame = false;
    if (this.#current === undefined || layer === this.#current) {
      this.#current = layer;
      this.#currentMs = nowMs;
      return [this.#taken(layer, frame, nowMs)];
    }
    return this.#takeOther(layer, frame, nowMs);
  }

  #takeOther(layer: L, frame: EncodedFrame, nowMs: number): TakenFrame<L>[] {
    if (frame.key) {
      this.#dropCandidate();
      this.#candidate = { layer, frames: [], bytes: 0 };
    }
    const candidate = this.#candidate;
    if (candidate?.layer !== layer) {
      this.#lateFrames++;
      this.#needsKeyFrame = nowMs - this.#currentMs >= SILENT_LAYER_MS;
      return [];
    }
    candidate.frames.push(frame);
    candidate.bytes += frame.payload.length;
    const newer = this.#newestUs === undefined || frame.timestampUs > this.#newestUs;
    if (!newer && nowMs - this.#currentMs < SILENT_LAYER_MS) {
      if (candidate.bytes > MAX_CANDIDATE_BYTES) this.#dropCandidate();
      return [];
    }
    this.#candidate = undefined;
    this.#current = layer;
    this.#currentMs = nowMs;
    return candidate.frames.map((waiting) => this.#taken(layer, waiting, nowMs));
  }

  #dropCandidate(): void {
    this.#lateFrames += this.#candidate?.frames.length ?? 0;
    this.#candidate = undefined;
  }

  #taken(layer: L, frame: EncodedFrame, nowMs: number): TakenFrame<L> {
    const { timestampUs } = frame;
    if (this.#newestUs === undefined || timestampUs > this.#newestUs) {
      this.#newestUs = timestampUs;
      this.#staleSinceMs = undefined;
      return { layer, frame, hidden: false, restarted: false };
    }
    this.#staleSinceMs ??= nowMs;
    const restarted = nowMs - this.#staleSinceMs >= STALE_TIMESTAMPS_MS;
    if (restarted) {
      this.#newestUs = timestampUs;
      this.#staleSinceMs = undefined;
    }
    return { layer, frame, hidden: !restarted, restarted };
  }
}
