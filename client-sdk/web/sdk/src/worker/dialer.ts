/** Reaches a server over a path that may be dark: several attempts, the first that succeeds counts. */

import { Code } from "../protocol/codes.js";
import type { Pace } from "../session/pace.js";
import { close, dial, type Endpoint } from "./connection.js";

/** A lost path being looked for. */
export class Dialer {
  readonly #endpoint: () => Endpoint;
  readonly #pace: Pace;
  readonly #signal: AbortSignal;
  #wake: (() => void) | undefined;

  /** `endpoint` is asked at every attempt: the server may name another meanwhile. */
  constructor(endpoint: () => Endpoint, pace: Pace, signal: AbortSignal) {
    this.#endpoint = endpoint;
    this.#pace = pace;
    this.#signal = signal;
  }

  /** The browser says that the network is there again. */
  hurry(): void {
    this.#pace.hurry(performance.now());
    this.#wake?.();
  }

  /** The server was reached, and could not help. */
  putOff(): void {
    this.#pace.putOff(performance.now());
  }

  /** The next connection; rejects only when the signal is aborted. */
  async next(): Promise<WebTransport> {
    const attempts = new Set<AbortController>();
    let connected: WebTransport | undefined;
    try {
      while (!connected) {
        this.#signal.throwIfAborted();
        if (performance.now() >= this.#pace.nextMs) {
          const lifeMs = this.#pace.begin(performance.now());
          const attempt = new AbortController();
          attempts.add(attempt);
          const timer = setTimeout(
            () => attempt.abort(new Error("the server did not answer in time")),
            lifeMs,
          );
          dial(this.#endpoint(), AbortSignal.any([attempt.signal, this.#signal]))
            .then(
              (transport) => {
                if (connected || attempt.signal.aborted) close(transport, Code.NO_ERROR, "");
                else connected = transport;
              },
              () => {},
            )
            .finally(() => {
              clearTimeout(timer);
              attempts.delete(attempt);
              this.#wake?.();
            });
        }
        await this.#sleep();
      }
    } finally {
      // The others are of no use any more.
      for (const attempt of attempts) attempt.abort(new Error("another attempt was first"));
    }
    return connected;
  }

  /** Until the next attempt is due, or something happens. */
  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#signal.removeEventListener("abort", done);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, this.#pace.nextMs - performance.now()));
      this.#signal.addEventListener("abort", done, { once: true });
      this.#wake = done;
    });
  }
}
