/**
 * The QUIC stream of a group while it is written: what is handed over while it opens waits, and how long anything waits can be
 * asked. Nothing here blocks the caller.
 */

import type { Code } from "../protocol/codes.js";
import type { MediaLink } from "./link.js";

export class GroupWriter {
  readonly #writer: Promise<WritableStreamDefaultWriter<Uint8Array>>;
  /** When what waits was handed over, in this order. */
  readonly #waitingSinceMs: number[] = [];
  #state: "open" | "ending" | "over" = "open";
  readonly #ended: Promise<void>;
  #end: () => void = () => {};

  /** `onLost`: the QUIC stream cannot be opened, or the other side or the connection ended it. Once, and not after `abort`. */
  constructor(
    link: MediaLink,
    private readonly onLost: () => void,
  ) {
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#writer = link.openGroup();
    // `closed` tells of a reset also when nothing is being written.
    this.#writer
      .then((writer) => writer.closed)
      .then(
        () => this.#over(),
        () => this.#lost(),
      );
  }

  /** Whether something can still be written. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Settles when the other side has everything, or the stream was given up. Never rejects. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** How long the oldest bytes wait that the connection has not taken; 0 if there are none. */
  backlogMs(nowMs: number): number {
    const [sinceMs] = this.#waitingSinceMs;
    return sinceMs === undefined ? 0 : Math.max(nowMs - sinceMs, 0);
  }

  write(bytes: Uint8Array, nowMs: number): void {
    if (this.#state !== "open") return;
    this.#waitingSinceMs.push(nowMs);
    this.#writer
      .then((writer) => writer.write(bytes))
      .then(
        () => this.#waitingSinceMs.shift(),
        () => this.#lost(),
      );
  }

  /** FIN, after everything that was written. */
  finish(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    // It settles when the other side has acknowledged; whoever wants to wait for that has `ended`.
    this.#writer.then((writer) => writer.close()).catch(() => {});
  }

  /** Reset; what waits is thrown away. */
  abort(code: Code, message: string): void {
    if (this.#state === "over") return;
    this.#over();
    this.#writer.then((writer) => writer.abort(streamError(code, message))).catch(() => {});
  }

  #lost(): void {
    if (this.#state === "over") return;
    this.#over();
    this.onLost();
  }

  #over(): void {
    this.#state = "over";
    this.#waitingSinceMs.length = 0;
    this.#end();
  }
}

/** The constructor as browsers had it before the specification gave it two arguments; Chromium 156 still has only this. */
type OlderConstructor = new (init: { message: string; streamErrorCode: number }) => WebTransportError;

/** What to abort or cancel a QUIC stream with, so that the other side sees the code (docs/protocol.md 7). */
export function streamError(code: Code, message: string): WebTransportError {
  try {
    return new WebTransportError(message, { source: "stream", streamErrorCode: code });
  } catch {
    return new (WebTransportError as unknown as OlderConstructor)({ message, streamErrorCode: code });
  }
}
