/** WebTransport connections: dialing, and the control stream that every session of the protocol begins with. */

import { MeetingError } from "../error.js";
import { Code } from "../protocol/codes.js";
import { MAX_MESSAGE_BYTES } from "../protocol/limits.js";
import { encodeMessage, MessageDecoder } from "../protocol/message.js";

/** Where a server is, and how it is known. */
export interface Endpoint {
  readonly url: string;
  /** SHA-256 of certificates to accept although no authority signed them; none: those of the browser's authorities. */
  readonly certificateHashes: readonly Uint8Array<ArrayBuffer>[];
}

/** Of incoming datagrams, those that may wait to be read; the browser's default of one loses almost all of a burst. */
const INCOMING_DATAGRAMS = 256;
/** Outgoing datagrams leave at once or not at all; audio older than this is of no use. */
const OUTGOING_MAX_AGE_MS = 150;

/** Connects; `signal` gives up. */
export async function dial(endpoint: Endpoint, signal: AbortSignal): Promise<WebTransport> {
  let transport: WebTransport;
  try {
    transport = new WebTransport(endpoint.url, {
      ...(endpoint.certificateHashes.length > 0
        ? {
            serverCertificateHashes: endpoint.certificateHashes.map((value) => ({
              algorithm: "sha-256",
              value,
            })),
          }
        : {}),
    });
  } catch (cause) {
    throw new MeetingError("invalid", `cannot connect to ${endpoint.url}: ${text(cause)}`, { cause });
  }
  // Whoever cares looks at `ready`; this one rejects, too.
  transport.closed.catch(() => {});
  try {
    await unlessAborted(transport.ready, signal);
  } catch (cause) {
    // If it is `ready` that failed, it is closed already.
    transport.ready.catch(() => {});
    close(transport, Code.NO_ERROR, "");
    if (signal.aborted) throw signal.reason;
    throw new MeetingError("unreachable", `the server at ${endpoint.url} cannot be reached: ${text(cause)}`, {
      cause,
    });
  }
  transport.datagrams.incomingHighWaterMark = INCOMING_DATAGRAMS;
  transport.datagrams.outgoingMaxAge = OUTGOING_MAX_AGE_MS;
  return transport;
}

/** What `promise` brings, or the reason with which `signal` is aborted before. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Closes a connection that may be closed already. */
export function close(transport: WebTransport, closeCode: number, reason: string): void {
  try {
    transport.close({ closeCode, reason });
  } catch {
    // It was not open yet: then there is nothing to say to anybody.
  }
}

/** One control stream: length-delimited messages both ways (docs/protocol.md 5.1). */
export class ControlStream {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new MessageDecoder(MAX_MESSAGE_BYTES);

  private constructor(stream: WebTransportBidirectionalStream) {
    this.#writer = stream.writable.getWriter();
    this.#reader = stream.readable.getReader();
    this.#writer.closed.catch(() => {});
    this.#reader.closed.catch(() => {});
  }

  /** Closes the connection if it cannot be opened. */
  static async open(transport: WebTransport): Promise<ControlStream> {
    try {
      return new ControlStream(await transport.createBidirectionalStream());
    } catch (cause) {
      close(transport, Code.NO_ERROR, "");
      throw new MeetingError("interrupted", `the connection to the server was lost: ${text(cause)}`, {
        cause,
      });
    }
  }

  /** Queues a message. What cannot be sent is lost: whoever reads learns that the connection has ended. */
  send(message: Uint8Array): void {
    this.#writer.write(encodeMessage(message)).catch(() => {});
  }

  /**
   * Calls `take` with each message, until the peer ends the stream or the connection is lost; returns the error if there is
   * one. An error that `take` throws ends it, too.
   */
  async read(take: (message: Uint8Array) => void): Promise<unknown> {
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (done) {
          this.#decoder.finish();
          return undefined;
        }
        for (const message of this.#decoder.push(value)) take(message);
      }
    } catch (error) {
      return error;
    }
  }
}

/** What an exception says. */
export function text(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
