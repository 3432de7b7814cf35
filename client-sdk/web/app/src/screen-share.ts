/** The screen that this participant shares, with its sound. */

import { openScreen, type ParticipantState } from "@darktower/client";
import { signal } from "@preact/signals";
import { deviceErrorCode } from "./local-media.js";
import { type Publisher, Sender } from "./session-media.js";
import type { Telling } from "./telling.js";
import { text } from "./text.js";

const FRAMERATE = 15;

/** What it needs of the session. */
interface Host {
  readonly telling: Telling;
  maySend(type: "audio" | "screen"): boolean;
  /** Tells the others. */
  tell(change: Partial<ParticipantState>): Promise<void>;
}

export class ScreenShare {
  readonly on = signal(false);

  readonly #host: Host;
  readonly #picture: Sender;
  readonly #sound: Sender;
  #tracks: MediaStreamTrack[] = [];
  /** The browser's dialog is open, or what was chosen is being published. */
  #starting = false;
  #closed = false;

  constructor(publisher: Publisher, host: Host) {
    this.#host = host;
    this.#picture = new Sender(publisher, { type: "screen", framerate: FRAMERATE }, true);
    this.#sound = new Sender(publisher, { type: "audio" }, true);
    this.#picture.onEnded = (reason) => {
      host.telling.notice({ text: text.notices.sendingEnded("screen", reason), tone: "warning" });
      void this.stop();
    };
  }

  async toggle(): Promise<void> {
    if (this.on.peek()) return this.stop();
    if (this.#starting) return;
    this.#starting = true;
    try {
      await this.#start();
    } finally {
      this.#starting = false;
    }
  }

  async #start(): Promise<void> {
    const { telling } = this.#host;
    if (!this.#host.maySend("screen")) return telling.notice({ text: text.controls.notAllowed });
    let screen: Awaited<ReturnType<typeof openScreen>>;
    try {
      screen = await openScreen({ audio: true, framerate: FRAMERATE });
    } catch (error) {
      // Whoever closes the browser's own dialog gets NotAllowedError as well: nothing to explain then.
      if (deviceErrorCode(error) !== "NotAllowedError") {
        telling.notice({ text: text.devices.screenProblem, tone: "warning" });
      }
      return;
    }
    // Who may see what one shares is gone, or one may not share any more: nobody looks at the dialog of the browser.
    if (this.#closed || !this.#host.maySend("screen")) {
      screen.video.stop();
      screen.audio?.stop();
      return;
    }
    this.#tracks = [screen.video, ...(screen.audio ? [screen.audio] : [])];
    screen.video.addEventListener("ended", () => {
      if (this.#tracks.includes(screen.video)) void this.stop();
    });
    this.on.value = true;
    const published = await telling.attempt(this.#picture.set(screen.video, true), text.notices.screensFull);
    if (!published) return this.stop();
    if (screen.audio && this.#host.maySend("audio")) {
      const sound = await telling.attempt(this.#sound.set(screen.audio, true));
      // The server forwards no sound at all of who is muted (docs/protocol.md 5.8).
      if (sound && this.on.peek())
        telling.notice({ text: text.notices.soundNeedsMicrophone, lastsMs: 10_000 });
    }
    if (!this.on.peek()) return;
    telling.announcement.value = text.announced.sharing;
    await this.#host.tell({ screenSharing: true });
  }

  async stop(): Promise<void> {
    if (!this.on.peek()) return;
    const { telling } = this.#host;
    this.on.value = false;
    this.#release();
    telling.announcement.value = text.announced.sharingEnded;
    await telling.attempt(this.#picture.set(undefined, false));
    await telling.attempt(this.#sound.set(undefined, false));
    await this.#host.tell({ screenSharing: false });
  }

  /** Ends the capture; the meeting is over, so that nobody needs to be told. */
  close(): void {
    this.#closed = true;
    this.#release();
  }

  #release(): void {
    for (const track of this.#tracks) track.stop();
    this.#tracks = [];
  }
}
