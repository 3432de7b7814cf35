/**
 * Frames that wait to be decoded.
 *
 * A frame is decoded a little before it is due, not when it comes: decoded pictures are large, and some decoders have
 * only a few of them. A decoder that does not keep up is helped: first without discardable frames, then by going on
 * at a newer key frame, at last by throwing everything away until one comes.
 */

import type { EncodedFrame } from "./frames.js";

/** So long before it is due a frame is decoded. */
export const DECODE_LEAD_US = 80_000;
/** Discardable frames that wait longer than they should by this are dropped. */
const DROP_DISCARDABLE_US = 150_000;
/** A newer key frame is gone on with. */
const SKIP_US = 300_000;
/** A key frame is asked for. */
const ASK_US = 1_000_000;
/** Everything is dropped. */
const GIVE_UP_US = 3_000_000;
/** More bytes never wait. */
export const MAX_WAITING_BYTES = 16 * 1024 * 1024;

interface Waiting<T> {
  readonly item: T;
  readonly frame: EncodedFrame;
  readonly arrivedUs: number;
}

/** When a timestamp is due, local µs; undefined: at once. */
export type Due = (timestampUs: number) => number | undefined;

/** See the module's documentation. `T` goes with a frame. */
export class DecodeQueue<T extends { readonly frame: EncodedFrame }> {
  #waiting: Waiting<T>[] = [];
  #bytes = 0;
  #needsKeyFrame = false;
  #wantsKeyFrame = false;
  #dropped = 0;

  /** Frames that wait. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Frames that were not decoded, to keep up or because what they need was not. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether a key frame from the publisher would help. */
  get wantsKeyFrame(): boolean {
    return this.#needsKeyFrame || this.#wantsKeyFrame;
  }

  push(item: T, nowUs: number): void {
    const { frame } = item;
    if (this.#needsKeyFrame && !frame.key) {
      this.#dropped++;
      return;
    }
    if (frame.key) this.#wantsKeyFrame = false;
    this.#needsKeyFrame = false;
    this.#waiting.push({ item, frame, arrivedUs: nowUs });
    this.#bytes += frame.payload.length;
    if (this.#bytes > MAX_WAITING_BYTES) this.#giveUp();
  }

  /** The next frame to decode, if it is time. */
  next(nowUs: number, due: Due): T | undefined {
    for (;;) {
      const [head] = this.#waiting;
      if (!head) return undefined;
      const lateUs = nowUs - readyUs(head, due);
      if (lateUs < 0) return undefined;
      if (lateUs > SKIP_US) {
        const key = this.#newestReadyKeyFrame(nowUs, due);
        if (key > 0) {
          this.#drop(key);
          continue;
        }
      }
      if (lateUs > GIVE_UP_US) {
        this.#giveUp();
        return undefined;
      }
      if (lateUs > ASK_US) this.#wantsKeyFrame = true;
      this.#take(1);
      if (lateUs > DROP_DISCARDABLE_US && head.frame.discardable) {
        this.#dropped++;
        continue;
      }
      return head.item;
    }
  }

  /** When `next` will have one although nothing comes, local µs. */
  nextReadyUs(due: Due): number | undefined {
    const [head] = this.#waiting;
    return head && readyUs(head, due);
  }

  /** The decoder has lost what it knew: only a key frame helps, one that waits or the next one. */
  needKeyFrame(): void {
    const key = this.#waiting.findIndex(({ frame }) => frame.key);
    if (key < 0) this.#giveUp();
    else this.#drop(key);
  }

  #giveUp(): void {
    this.#drop(this.#waiting.length);
    this.#needsKeyFrame = true;
  }

  #newestReadyKeyFrame(nowUs: number, due: Due): number {
    return this.#waiting.findLastIndex((entry) => entry.frame.key && readyUs(entry, due) <= nowUs);
  }

  #drop(count: number): void {
    this.#dropped += count;
    this.#take(count);
  }

  #take(count: number): void {
    for (const { frame } of this.#waiting.splice(0, count)) this.#bytes -= frame.payload.length;
  }
}

function readyUs<T>({ frame, arrivedUs }: Waiting<T>, due: Due): number {
  const dueUs = due(frame.timestampUs);
  return dueUs === undefined ? arrivedUs : Math.max(arrivedUs, dueUs - DECODE_LEAD_US);
}
