/**
 * Brings the subscriptions of the meeting in step with what is visible: what is not seen is not received, and what is
 * small is received in a small layer. Streams that are no longer wanted end before new ones begin, so that there are
 * never more than the rights allow.
 */

import {
  allocate,
  MeetingError,
  type StreamDescription,
  type SubscribeOptions,
  type Subscription,
} from "@darktower/client";
import { signal } from "@preact/signals";

/** A stream that is visible. */
export interface Wanted {
  readonly stream: StreamDescription;
  /** Device pixels. */
  readonly widthPx: number;
  readonly heightPx: number;
  /** Larger comes first. */
  readonly priority: number;
}

/** What of a subscription is needed. */
export type Received = Pick<Subscription, "stream" | "element" | "on" | "setOptions" | "unsubscribe">;

/** What of a meeting is needed. */
export interface Source {
  subscribe(streamId: string, options?: SubscribeOptions): Promise<Received>;
}

/** What was refused because of a limit or a lost connection may be had a little later. */
const AGAIN_MS = 5000;

type Allocated = ReturnType<typeof allocate>;

/** The most important streams, as many as may be received. */
export function within(wanted: readonly Wanted[], maxStreams: number): Wanted[] {
  return [...wanted].sort((a, b) => b.priority - a.priority).slice(0, Math.max(0, maxStreams));
}

interface Entry {
  readonly subscription: Received;
  layerId: string;
}

export class Subscriptions {
  /** By stream id: what is received now. */
  readonly current = signal<ReadonlyMap<string, Received>>(new Map());

  readonly #source: Source;
  readonly #entries = new Map<string, Entry>();
  /** Refused: not asked for again before this time, while it stays wanted. Infinite: the stream is no more. */
  readonly #refused = new Map<string, number>();
  readonly #nowMs: () => number;
  #desired = new Map<string, string>();
  #allocated: Allocated = new Map();
  #running = false;
  #closed = false;

  /** `nowMs`: a clock. */
  constructor(source: Source, nowMs: () => number = () => performance.now()) {
    this.#source = source;
    this.#nowMs = nowMs;
  }

  /** What is visible now, told again and again. `availableBps`: of the downlink, 0 = not known. Resolves when everything is asked for. */
  want(wanted: readonly Wanted[], maxStreams: number, availableBps: number): Promise<void> {
    const shown = within(wanted, maxStreams);
    this.#allocated = allocate(
      shown.map(({ stream, ...size }) => ({
        ...size,
        streamId: stream.streamId,
        layers: [...stream.layers],
      })),
      availableBps,
      this.#allocated,
    );
    this.#desired = new Map();
    for (const { stream } of shown) {
      const choice = this.#allocated.get(stream.streamId);
      if (choice !== undefined && choice !== "none") this.#desired.set(stream.streamId, choice.layerId);
    }
    for (const streamId of this.#refused.keys()) {
      if (!this.#desired.has(streamId)) this.#refused.delete(streamId);
    }
    return this.#reconcile();
  }

  /** The connection is new: what was refused may be asked for again. */
  again(): Promise<void> {
    this.#refused.clear();
    return this.#reconcile();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#desired.clear();
    const all = [...this.#entries.keys()];
    await Promise.all(all.map((streamId) => this.#end(streamId)));
  }

  async #reconcile(): Promise<void> {
    if (this.#running || this.#closed) return;
    this.#running = true;
    try {
      while (!this.#closed) {
        const over = [...this.#entries.keys()].filter((streamId) => !this.#desired.has(streamId));
        if (over.length > 0) {
          await Promise.all(over.map((streamId) => this.#end(streamId)));
          continue;
        }
        const nowMs = this.#nowMs();
        const missing = [...this.#desired].filter(
          ([id]) => !this.#entries.has(id) && nowMs >= (this.#refused.get(id) ?? 0),
        );
        if (missing.length > 0) {
          await Promise.all(missing.map(([streamId, layerId]) => this.#begin(streamId, layerId)));
          continue;
        }
        const changed = [...this.#entries].filter(([id, entry]) => entry.layerId !== this.#desired.get(id));
        if (changed.length === 0) break;
        await Promise.all(changed.map(([streamId, entry]) => this.#switch(streamId, entry)));
      }
    } finally {
      this.#running = false;
    }
  }

  async #begin(streamId: string, layerId: string): Promise<void> {
    try {
      const subscription = await this.#source.subscribe(streamId, optionsOf(layerId));
      const entry: Entry = { subscription, layerId };
      this.#entries.set(streamId, entry);
      subscription.on("ended", () => {
        if (this.#entries.get(streamId) !== entry) return;
        this.#entries.delete(streamId);
        // A stream that is no more is not wanted for long; one that the rights have no room for any more may be had later.
        this.#refused.set(streamId, this.#nowMs() + AGAIN_MS);
        this.#publish();
      });
      if (this.#closed) await this.#end(streamId);
      else this.#publish();
    } catch (error) {
      // The publisher has just left, or a limit is reached: the tile shows no picture.
      this.#refused.set(streamId, isGone(error) ? Number.POSITIVE_INFINITY : this.#nowMs() + AGAIN_MS);
    }
  }

  async #switch(streamId: string, entry: Entry): Promise<void> {
    const layerId = this.#desired.get(streamId) ?? "";
    entry.layerId = layerId;
    try {
      await entry.subscription.setOptions(optionsOf(layerId));
    } catch {
      // It goes on as it is; that it ends, if it does, is told by its event.
    }
  }

  async #end(streamId: string): Promise<void> {
    const entry = this.#entries.get(streamId);
    if (!entry) return;
    this.#entries.delete(streamId);
    this.#publish();
    try {
      await entry.subscription.unsubscribe();
    } catch {
      // It has ended already, or the connection has.
    }
  }

  #publish(): void {
    this.current.value = new Map([...this.#entries].map(([id, entry]) => [id, entry.subscription]));
  }
}

function isGone(error: unknown): boolean {
  return error instanceof MeetingError && error.code === "NOT_FOUND";
}

function optionsOf(layerId: string): SubscribeOptions {
  return layerId === "" ? {} : { preferredLayer: layerId };
}
