/** What this participant sends: brings the publications of a meeting in step with camera, microphone and screen. */

import type { Publication, PublishOptions, StreamType } from "@darktower/client";

/** What of a publication is needed. */
export type Sent = Pick<Publication, "on" | "replaceTrack" | "setEnabled" | "stop">;

/** What of a meeting is needed. */
export interface Publisher {
  publish(track: MediaStreamTrack, options?: PublishOptions): Promise<Sent>;
}

/** One stream that can be sent. Wishes may change while earlier ones are being carried out. */
export class Sender {
  /** Called when the stream was ended by others (a host, or because it could not be encoded), with the reason. */
  onEnded: (reason: string) => void = () => undefined;

  readonly #publisher: Publisher;
  readonly #options: PublishOptions & { type: StreamType };
  readonly #stopWhenOff: boolean;
  #track: MediaStreamTrack | undefined;
  #on = false;
  #publication: Sent | undefined;
  #sent: MediaStreamTrack | undefined;
  #enabled = true;
  #running: Promise<void> = Promise.resolve();
  #busy = false;

  /** `stopWhenOff`: off means unpublished (screens), else paused. */
  constructor(publisher: Publisher, options: PublishOptions & { type: StreamType }, stopWhenOff: boolean) {
    this.#publisher = publisher;
    this.#options = options;
    this.#stopWhenOff = stopWhenOff;
  }

  /** Sends `track`, or nothing. Resolves when it is so; rejects if the server or the browser refuses. */
  set(track: MediaStreamTrack | undefined, on: boolean): Promise<void> {
    this.#track = track;
    this.#on = on && track !== undefined;
    if (!this.#busy) this.#running = this.#reconcile();
    return this.#running;
  }

  /** Works until everything is as it is wished. Not busy from the very moment on that it looks at no more wishes. */
  async #reconcile(): Promise<void> {
    this.#busy = true;
    try {
      for (;;) {
        const track = this.#track;
        const on = this.#on;
        try {
          const step = this.#step(track, on);
          if (!step) return;
          await step;
        } catch (error) {
          // What is not wished any more may fail.
          if (this.#track === track && this.#on === on) throw error;
        }
      }
    } finally {
      this.#busy = false;
    }
  }

  /** The next thing to do; undefined if there is none. What it changes counts once it is done. */
  #step(track: MediaStreamTrack | undefined, on: boolean): Promise<void> | undefined {
    const publication = this.#publication;
    if (!publication) return on && track ? this.#publish(track) : undefined;
    if (!on && this.#stopWhenOff) {
      this.#publication = undefined;
      return publication.stop();
    }
    if (on && track && this.#sent !== track) {
      return publication.replaceTrack(track).then(() => {
        this.#sent = track;
      });
    }
    if (on !== this.#enabled) {
      return publication.setEnabled(on).then(() => {
        this.#enabled = on;
      });
    }
    return undefined;
  }

  async #publish(track: MediaStreamTrack): Promise<void> {
    const begun = await this.#publisher.publish(track, this.#options);
    this.#publication = begun;
    this.#sent = track;
    this.#enabled = true;
    begun.on("ended", ({ reason }) => {
      if (this.#publication !== begun) return;
      this.#publication = undefined;
      this.#on = false;
      this.onEnded(reason);
    });
  }
}
