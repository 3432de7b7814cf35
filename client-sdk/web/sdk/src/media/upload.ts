/**
 * What a publisher of one video layer does with the next frame: encodes it, leaves it out, makes it a key frame, lowers the bit
 * rate, or gives up the group and begins anew.
 *
 * Browsers do not say how fast a connection takes bytes. What can be seen is how long bytes wait that were handed to a QUIC stream
 * (backlog: the age of the oldest of them). The steps are those of the server's delivery (docs/protocol.md 6.6).
 */

/** Backlog from which on frames that no other needs are not sent. */
const DROP_DISCARDABLE_MS = 80;
/** Backlog from which on the bit rate is lowered, by what factor, and how soon again: the encoder needs a moment to follow. */
const LOWER_BITRATE_MS = 150;
const LOWER_FACTOR = 0.7;
const LOWER_EVERY_MS = 500;
/** Backlog that is not worth sending any more: the group is given up. */
const ABORT_GROUP_MS = 300;
/** The first group after one that was given up comes at once; after another one within this time only after a pause that doubles. */
const ABORT_MEMORY_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 2_000;
/** What had to be given up was far too much: browsers hide some 64 KiB of backlog before any can be seen. */
const ABORT_FACTOR = 0.5;
/** No raising for so long after that; twice as long each time that it happens again within a minute. */
const FIRST_HOLD_MS = 5_000;
const MAX_HOLD_MS = 60_000;
const HOLD_MEMORY_MS = 60_000;
/** Up again: with no more backlog than this for so long, by so much, so often. Slow, because trying means queueing. */
const CLEAR_MS = 50;
const RAISE_AFTER_MS = 2_000;
const RAISE_EVERY_MS = 1_000;
const RAISE_FACTOR = 1.08;
/** Frames that wait in front of the encoder; more means that the processor does not keep up. */
const MAX_ENCODE_QUEUE = 2;
/** Everybody who asks for a key frame within this time gets the same one, and the server asks no more often (6.5). */
const KEY_FRAME_SPACING_MS = 500;
/** Nobody needs key frames who does not ask. This often one repairs what a decoder has silently wrong. */
const KEY_FRAME_EVERY_MS = 10_000;
/** The encoder is told of a bit rate that differs by this share, and not more often than this. */
const APPLY_SHARE = 0.05;
const APPLY_EVERY_MS = 500;
const MIN_BITRATE_BPS = 50_000;

/** What can be seen when a frame comes. */
export interface UploadSight {
  readonly nowMs: number;
  /** Age of the oldest bytes that were handed over for sending and are not taken yet; 0 if there are none. */
  readonly backlogMs: number;
  /** `VideoEncoder.encodeQueueSize`. */
  readonly encodeQueueSize: number;
}

/** What to do with a frame. */
export interface UploadStep {
  /** False: leave the frame out. */
  readonly encode: boolean;
  readonly keyFrame: boolean;
  /** Reset the group's QUIC stream first, and send nothing that is still being encoded: what follows begins with a key frame. */
  readonly abortGroup: boolean;
}

const LEAVE_OUT: UploadStep = { encode: false, keyFrame: false, abortGroup: false };

export class UploadPolicy {
  readonly #maxBitrateBps: number;
  readonly #minBitrateBps: number;
  /** What this side thinks the connection carries. */
  #ownBps: number;
  /** What the server advises; 0 = nothing. */
  #targetBps = 0;
  #appliedBps: number;
  #appliedMs = Number.NEGATIVE_INFINITY;
  #loweredMs = Number.NEGATIVE_INFINITY;
  #raisedMs = Number.NEGATIVE_INFINITY;
  #clearSinceMs: number | undefined;
  #paused = false;
  /** Nothing but a key frame makes sense next. */
  #mustBeKey = true;
  #keyFrameWanted = false;
  #keyFrameMs = Number.NEGATIVE_INFINITY;
  #abortedMs = Number.NEGATIVE_INFINITY;
  #pauseMs = 0;
  #resumeMs = Number.NEGATIVE_INFINITY;
  #congestedMs = Number.NEGATIVE_INFINITY;
  #holdMs = 0;

  constructor(options: { readonly maxBitrateBps: number }) {
    this.#maxBitrateBps = options.maxBitrateBps;
    this.#minBitrateBps = Math.min(
      Math.max(MIN_BITRATE_BPS, options.maxBitrateBps / 10),
      options.maxBitrateBps,
    );
    this.#ownBps = options.maxBitrateBps;
    this.#appliedBps = options.maxBitrateBps;
  }

  /** Nobody watches this layer, as far as the server has said. */
  get paused(): boolean {
    return this.#paused;
  }

  /** bit/s that the encoder should be set to. */
  get bitrateBps(): number {
    const limits = [this.#ownBps, this.#maxBitrateBps];
    if (this.#targetBps > 0) limits.push(this.#targetBps);
    return Math.round(Math.max(Math.min(...limits), this.#minBitrateBps));
  }

  /** What the server said about this layer (docs/protocol.md 6.5). */
  feedback(said: {
    keyFrameRequested: boolean;
    paused?: boolean | undefined;
    targetBitrateBps: number;
  }): void {
    if (said.paused !== undefined) {
      // What was begun before the pause has gone stale in between.
      if (this.#paused && !said.paused) this.#mustBeKey = true;
      this.#paused = said.paused;
    }
    if (said.keyFrameRequested) this.#keyFrameWanted = true;
    if (said.targetBitrateBps > 0) this.#targetBps = said.targetBitrateBps;
  }

  /** Another connection: what the server said counts no more, and the groups of the old one are lost. */
  connectionBegan(): void {
    this.#paused = false;
    this.#targetBps = 0;
    this.#mustBeKey = true;
    this.#clearSinceMs = undefined;
    this.#pauseMs = 0;
    this.#abortedMs = Number.NEGATIVE_INFINITY;
    this.#resumeMs = Number.NEGATIVE_INFINITY;
    this.#holdMs = 0;
  }

  /** The next frame must be a key frame: another picture size, another encoder, a gap. */
  begin(): void {
    this.#mustBeKey = true;
  }

  /** The group was lost, or the server did not want it: the next comes as after one that was given up. */
  groupLost(nowMs: number): void {
    this.#abort(nowMs);
  }

  /** Whether a key frame is due that was asked for: a source that stands still has to repeat its last frame. */
  keyFrameDue(nowMs: number): boolean {
    if (this.#paused || nowMs < this.#resumeMs) return false;
    return this.#mustBeKey || (this.#keyFrameWanted && nowMs - this.#keyFrameMs >= KEY_FRAME_SPACING_MS);
  }

  /** A frame has come. If `encode` is the answer, it has to be encoded. */
  frame(sight: UploadSight): UploadStep {
    const { nowMs, backlogMs } = sight;
    if (this.#paused) return LEAVE_OUT;
    this.#adapt(nowMs, backlogMs);
    if (backlogMs > ABORT_GROUP_MS) {
      this.#congested(nowMs);
      this.#abort(nowMs);
      if (nowMs < this.#resumeMs) return { encode: false, keyFrame: false, abortGroup: true };
      return { encode: true, keyFrame: this.#takeKeyFrame(nowMs), abortGroup: true };
    }
    if (nowMs < this.#resumeMs || sight.encodeQueueSize > MAX_ENCODE_QUEUE) return LEAVE_OUT;
    const isDue = this.keyFrameDue(nowMs) || nowMs - this.#keyFrameMs >= KEY_FRAME_EVERY_MS;
    return { encode: true, keyFrame: isDue && this.#takeKeyFrame(nowMs), abortGroup: false };
  }

  /** Whether an encoded frame that no other needs is worth sending. */
  sendsDiscardable(backlogMs: number): boolean {
    return backlogMs <= DROP_DISCARDABLE_MS;
  }

  /** The bit rate that the encoder has to be told now, if any. */
  takeBitrate(nowMs: number): number | undefined {
    const { bitrateBps } = this;
    const differs = Math.abs(bitrateBps - this.#appliedBps) >= this.#appliedBps * APPLY_SHARE;
    // The last step to the top may be smaller.
    const isTop = bitrateBps === this.#maxBitrateBps && this.#appliedBps !== bitrateBps;
    if ((!differs && !isTop) || nowMs - this.#appliedMs < APPLY_EVERY_MS) return undefined;
    this.#appliedMs = nowMs;
    this.#appliedBps = bitrateBps;
    return bitrateBps;
  }

  #takeKeyFrame(nowMs: number): true {
    this.#mustBeKey = false;
    this.#keyFrameWanted = false;
    this.#keyFrameMs = nowMs;
    return true;
  }

  #abort(nowMs: number): void {
    const isRepeated = nowMs - this.#abortedMs < ABORT_MEMORY_MS;
    this.#pauseMs = isRepeated ? Math.min(Math.max(this.#pauseMs * 2, FIRST_PAUSE_MS), MAX_PAUSE_MS) : 0;
    this.#abortedMs = nowMs;
    this.#resumeMs = nowMs + this.#pauseMs;
    this.#mustBeKey = true;
  }

  #congested(nowMs: number): void {
    const isRepeated = nowMs - this.#congestedMs < HOLD_MEMORY_MS;
    this.#holdMs = isRepeated ? Math.min(this.#holdMs * 2, MAX_HOLD_MS) : FIRST_HOLD_MS;
    this.#congestedMs = nowMs;
    this.#ownBps = Math.max(this.bitrateBps * ABORT_FACTOR, this.#minBitrateBps);
    this.#loweredMs = nowMs;
    // The encoder has to know before the key frame that comes next.
    this.#appliedMs = Number.NEGATIVE_INFINITY;
  }

  #adapt(nowMs: number, backlogMs: number): void {
    // That nothing waits while nothing is sent says nothing.
    if (backlogMs > CLEAR_MS || nowMs < this.#resumeMs) this.#clearSinceMs = undefined;
    else this.#clearSinceMs ??= nowMs;
    if (backlogMs > ABORT_GROUP_MS) return;
    if (backlogMs > LOWER_BITRATE_MS && nowMs - this.#loweredMs >= LOWER_EVERY_MS) {
      // What the encoder is set to now is too much, however high the own estimate was.
      this.#ownBps = Math.max(this.bitrateBps * LOWER_FACTOR, this.#minBitrateBps);
      this.#loweredMs = nowMs;
      return;
    }
    const isClear = this.#clearSinceMs !== undefined && nowMs - this.#clearSinceMs >= RAISE_AFTER_MS;
    const isHeld = nowMs - this.#congestedMs < this.#holdMs;
    if (
      isClear &&
      !isHeld &&
      this.#ownBps < this.#maxBitrateBps &&
      nowMs - this.#raisedMs >= RAISE_EVERY_MS
    ) {
      this.#ownBps = Math.min(this.#ownBps * RAISE_FACTOR, this.#maxBitrateBps);
      this.#raisedMs = nowMs;
    }
  }
}
