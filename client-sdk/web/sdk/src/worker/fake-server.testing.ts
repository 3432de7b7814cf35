/** A server in memory, for tests of connections: `WebTransport` and the two control streams, without a network. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EnvelopeSchema } from "../protocol/gen/darktower/v1/signaling_pb.js";
import {
  decodeEnvelope,
  decodeMediaClientMessage,
  encodeEnvelope,
  encodeMediaServerMessage,
  encodeMessage,
  MessageDecoder,
} from "../protocol/message.js";

type EnvelopeInit = MessageInitShape<typeof EnvelopeSchema>;
export type Answer = NonNullable<EnvelopeInit["message"]>;
export type Asked = ReturnType<typeof decodeEnvelope>["message"];

/** One connection as the server sees it. */
export class FakeConnection {
  readonly path: string;
  readonly asked: Asked[] = [];
  /** The client cannot be heard, nor does it hear; nobody is told. */
  dark = false;
  closedByClient = false;
  readonly ready: Promise<void>;
  readonly closed: Promise<WebTransportCloseInfo>;
  readonly datagrams = {
    readable: new ReadableStream<Uint8Array>(),
    writable: new WritableStream<Uint8Array>(),
    maxDatagramSize: 1200,
    incomingHighWaterMark: 1,
    outgoingMaxAge: 0,
  };
  readonly incomingUnidirectionalStreams = new ReadableStream();
  readonly #server: FakeServer;
  readonly #toClient = new TransformStream<Uint8Array, Uint8Array>();
  readonly #writer = this.#toClient.writable.getWriter();
  #endClosed: (info: WebTransportCloseInfo) => void = () => {};
  #loseClosed: (error: Error) => void = () => {};

  constructor(url: string, server: FakeServer) {
    this.path = new URL(url).pathname;
    this.#server = server;
    this.closed = new Promise((resolve, reject) => {
      this.#endClosed = resolve;
      this.#loseClosed = reject;
    });
    this.closed.catch(() => {});
    this.ready = server.isDark ? new Promise(() => {}) : Promise.resolve();
    if (!server.isDark) server.connections.push(this);
  }

  async createBidirectionalStream(): Promise<unknown> {
    const decoder = new MessageDecoder();
    const writable = new WritableStream<Uint8Array>({
      write: (chunk) => {
        for (const message of decoder.push(chunk)) this.#receive(message);
      },
    });
    return { readable: this.#toClient.readable, writable };
  }

  /** By the client. */
  close(): void {
    if (this.closedByClient) return;
    this.closedByClient = true;
    this.#endClosed({ closeCode: 0, reason: "" });
    this.#writer.abort().catch(() => {});
  }

  /** The server says something on signaling. */
  tell(message: Answer, requestId = 0n, eventSequence = 0n): void {
    this.#write(encodeEnvelope({ version: 1, requestId, eventSequence, message }));
  }

  /** The server closes it, having said what it wanted to. */
  async end(): Promise<void> {
    await this.#writer.close().catch(() => {});
    this.#endClosed({ closeCode: 0, reason: "" });
  }

  /** The server has said its last word, and leaves it to the client to close the connection. */
  async endStream(): Promise<void> {
    await this.#writer.close().catch(() => {});
  }

  /** The connection breaks without a word. */
  lose(): void {
    this.#loseClosed(new Error("Connection lost."));
    this.#writer.abort(new Error("Connection lost.")).catch(() => {});
  }

  #write(message: Uint8Array): void {
    if (!this.dark) this.#writer.write(encodeMessage(message)).catch(() => {});
  }

  #receive(bytes: Uint8Array): void {
    if (this.dark) return;
    if (this.path === "/v1/media") {
      const { message } = decodeMediaClientMessage(bytes);
      if (message.case === "hello") {
        this.#server.welcome(() => {
          const value = { sessionId: "s", features: message.value.features, protocolVersion: 1 };
          this.#write(encodeMediaServerMessage({ message: { case: "welcome", value } }));
        });
      } else if (message.case === "ping") {
        this.#write(encodeMediaServerMessage({ message: { case: "pong", value: { id: message.value.id } } }));
      }
      return;
    }
    const { requestId, message } = decodeEnvelope(bytes);
    this.asked.push(message);
    const answer = this.#server.answer(this, message);
    if (answer) this.tell(answer, requestId);
  }
}

export class FakeServer {
  /** In the order in which they were made. */
  readonly connections: FakeConnection[] = [];
  /** New connections hear nothing. */
  isDark = false;
  /** What it says to a request on signaling; undefined: nothing. */
  answer: (connection: FakeConnection, asked: Asked) => Answer | undefined;
  /** When a media session is welcomed. */
  welcome: (send: () => void) => void = (send) => send();

  constructor(answer: FakeServer["answer"]) {
    this.answer = answer;
    const server = this;
    globalThis.WebTransport = class extends FakeConnection {
      constructor(url: string) {
        super(url, server);
      }
    } as unknown as typeof WebTransport;
  }

  /** The latest connection to this path. */
  latest(path: "/v1/signal" | "/v1/media"): FakeConnection {
    const found = this.connections.findLast((connection) => connection.path === path);
    if (!found) throw new Error(`nobody has connected to ${path}`);
    return found;
  }

  /** The path to it is dark from now on, for what there is and for what is new. */
  goDark(): void {
    this.isDark = true;
    for (const connection of this.connections) connection.dark = true;
  }

  /** New connections reach it; what was cut off stays so. */
  comeBack(): void {
    this.isDark = false;
  }
}
