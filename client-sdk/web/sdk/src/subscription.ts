/** What this participant gets: one stream of somebody else. */

import { Emitter } from "./events.js";
import type { WorkerPort } from "./port-client.js";
import type { AutoOptions, StreamDescription, SubscribeOptions } from "./types.js";
import type { SubscriptionEvent } from "./worker/port.js";

/** What happens to a subscription. */
export interface SubscriptionEvents {
  /** The first picture is drawn. */
  firstFrame: Record<string, never>;
  /** Pixels of what is drawn. */
  resize: { readonly width: number; readonly height: number };
  /** Another simulcast layer arrives. */
  layer: { readonly layerId: string };
  /** Nothing comes any more: unpublished, unsubscribed, or the meeting is over. */
  ended: Record<string, never>;
}

export class Subscription {
  readonly stream: StreamDescription;
  /**
   * Where the pictures are drawn, as they come: a canvas to be put where you like, and moved freely. `object-fit` works.
   * Undefined for audio, which plays by itself.
   */
  readonly element: HTMLCanvasElement | undefined;
  readonly #port: WorkerPort;
  readonly #onEnded: (subscription: Subscription) => void;
  readonly #emitter = new Emitter<SubscriptionEvents>();

  /** @internal Made by `Meeting.subscribe` and `Meeting.subscribeAuto`. */
  constructor(
    stream: StreamDescription,
    element: HTMLCanvasElement | undefined,
    port: WorkerPort,
    onEnded: (subscription: Subscription) => void,
  ) {
    this.stream = stream;
    this.element = element;
    this.#port = port;
    this.#onEnded = onEnded;
  }

  on<K extends keyof SubscriptionEvents>(
    name: K,
    listener: (event: SubscriptionEvents[K]) => void,
  ): () => void {
    return this.#emitter.on(name, listener);
  }

  once<K extends keyof SubscriptionEvents>(name: K, signal?: AbortSignal): Promise<SubscriptionEvents[K]> {
    return this.#emitter.once(name, signal);
  }

  /** Replaces the wishes: another layer, another limit. */
  async setOptions(options: SubscribeOptions): Promise<void> {
    await this.#port.call("setOptions", { streamId: this.stream.streamId, options });
  }

  async unsubscribe(): Promise<void> {
    this.emit({ name: "ended" });
    await this.#port.call("unsubscribe", { streamId: this.stream.streamId });
  }

  /** @internal */
  emit(event: SubscriptionEvent): void {
    const { name, ...values } = event;
    if (name === "ended") this.#onEnded(this);
    this.#emitter.emit(name, values as never);
  }
}

interface AutoEvents {
  /** `current` is another. */
  changed: Record<string, never>;
}

/** What the server subscribes to for this participant (docs/protocol.md 5.12). */
export class AutoSubscriptions {
  readonly #port: WorkerPort;
  readonly #emitter = new Emitter<AutoEvents>();
  readonly #onStop: () => void;
  #current: readonly Subscription[] = [];

  /** @internal Made by `Meeting.subscribeAuto`. */
  constructor(port: WorkerPort, onStop: () => void) {
    this.#port = port;
    this.#onStop = onStop;
  }

  get current(): readonly Subscription[] {
    return this.#current;
  }

  on<K extends keyof AutoEvents>(name: K, listener: (event: AutoEvents[K]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  async setOptions(options: AutoOptions): Promise<void> {
    await this.#port.call("subscribeAuto", options);
  }

  async stop(): Promise<void> {
    this.#onStop();
    this.replace([]);
    await this.#port.call("subscribeAuto", undefined);
  }

  /** @internal */
  replace(current: readonly Subscription[]): void {
    this.#current = current;
    this.#emitter.emit("changed", {});
  }
}
