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
  /** Called when the stream was ended by others (a host, or because it could not be encoded). */
  onEnded: () => void = () => undefined;

  readonly #publisher: Publisher;
  readonly #options: PublishOptions & { type: StreamType };
  readonly #stopWhenOff: boolean;
  #track: MediaStreamTrack | undefined;
  #on = false;
  #publication: Sent | undefined;
  #sent: MediaStreamTrack | undefined;
  #enabled = true;
  #running: Promise<void> | undefined;

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
    this.#running ??= this.#reconcile().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #reconcile(): Promise<void> {
    for (;;) {
      const track = this.#track;
      const publication = this.#publication;
      if (!publication) {
        if (!this.#on || !track) return;
        const begun = await this.#publisher.publish(track, this.#options);
        this.#publication = begun;
        this.#sent = track;
        this.#enabled = true;
        begun.on("ended", () => {
          if (this.#publication !== begun) return;
          this.#publication = undefined;
          this.#on = false;
          this.onEnded();
        });
      } else if (!this.#on && this.#stopWhenOff) {
        this.#publication = undefined;
        await publication.stop();
      } else if (this.#on !== this.#enabled && !(this.#on && this.#sent !== track)) {
        this.#enabled = this.#on;
        await publication.setEnabled(this.#on);
      } else if (this.#on && track && this.#sent !== track) {
        this.#sent = track;
        await publication.replaceTrack(track);
      } else {
        return;
      }
    }
  }
}
