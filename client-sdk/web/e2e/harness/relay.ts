/**
 * A small UDP relay between clients and a server on loopback, to cut, delay and lose.
 *
 * Each client address is a flow with a socket of its own towards the server, as in a NAT. Loss is decided by a seeded
 * generator per relay, so the same packets in the same order have the same fate. A cut loses what arrives and what is
 * still delayed; nothing is told to anybody, as when a cable is pulled.
 */

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

const LOOPBACK = "127.0.0.1";
/** Kernel buffers: a burst of a key frame must not be lost by accident. */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

export interface RelayOptions {
  /** One way, in each direction. */
  readonly delayMs?: number;
  /** Share of packets that are lost, each direction, 0 to 1. */
  readonly loss?: number;
  readonly seed?: number;
}

/** One client address as the relay knows it. */
export interface Flow {
  readonly clientPort: number;
  /** Given by `label`; empty until then. */
  label: string;
  /** Packets that were forwarded, from the client and to it. */
  up: number;
  down: number;
  /** Packets that were lost on purpose, both ways. */
  lost: number;
}

export class Relay {
  readonly #front: Socket;
  readonly #flows = new Map<number, Flow & { readonly back: Socket }>();
  /** What is on its way, by the timer that will let it out. */
  readonly #delayed = new Map<NodeJS.Timeout, Flow>();
  #serverPort = 0;
  #delayMs: number;
  #loss: number;
  readonly #random: () => number;
  #isCut: (flow: Flow) => boolean = () => false;
  #closed = false;

  private constructor(front: Socket, options: RelayOptions) {
    this.#front = front;
    this.#delayMs = options.delayMs ?? 0;
    this.#loss = options.loss ?? 0;
    this.#random = seeded(options.seed ?? 1);
    front.on("message", (packet, from) => this.#fromClient(packet, from.port));
  }

  static async start(options: RelayOptions = {}): Promise<Relay> {
    return new Relay(await bind(), options);
  }

  /** Where clients send to, on 127.0.0.1. */
  get port(): number {
    return this.#front.address().port;
  }

  /** As the origin of QUIC sessions. */
  get url(): string {
    return `https://${LOOPBACK}:${this.port}`;
  }

  /** Where packets go; until it is called they are lost. */
  connect(serverPort: number): void {
    this.#serverPort = serverPort;
  }

  get flows(): readonly Readonly<Flow>[] {
    return [...this.#flows.values()];
  }

  /** Packets that are on their way. */
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Names the flows that have no name yet. */
  label(label: string): void {
    for (const flow of this.#flows.values()) flow.label ||= label;
  }

  /**
   * Lets nothing through any more, of all flows or of those (also later ones) that `which` picks, and loses what is
   * still delayed.
   */
  cut(which: (flow: Readonly<Flow>) => boolean = () => true): void {
    this.#isCut = which;
    for (const [timer, flow] of this.#delayed) {
      if (!which(flow)) continue;
      clearTimeout(timer);
      this.#delayed.delete(timer);
      flow.lost += 1;
    }
  }

  /** Ends the cut. Returns when that was: milliseconds since the epoch, with fractions. */
  restore(): number {
    this.#isCut = () => false;
    return performance.timeOrigin + performance.now();
  }

  setDelay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  setLoss(loss: number): void {
    this.#loss = loss;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#delayed.keys()) clearTimeout(timer);
    this.#delayed.clear();
    const sockets = [this.#front, ...[...this.#flows.values()].map((flow) => flow.back)];
    this.#flows.clear();
    await Promise.all(sockets.map((socket) => new Promise<void>((closed) => socket.close(() => closed()))));
  }

  #fromClient(packet: Buffer, clientPort: number): void {
    const flow = this.#flows.get(clientPort) ?? this.#open(clientPort);
    this.#pass(flow, () => {
      if (!this.#serverPort) return;
      flow.up += 1;
      flow.back.send(packet, this.#serverPort, LOOPBACK);
    });
  }

  #open(clientPort: number): Flow & { readonly back: Socket } {
    const back = createSocket("udp4");
    const flow = { clientPort, label: "", up: 0, down: 0, lost: 0, back };
    this.#flows.set(clientPort, flow);
    back.on("message", (packet) =>
      this.#pass(flow, () => {
        flow.down += 1;
        this.#front.send(packet, clientPort, LOOPBACK);
      }),
    );
    // A server that is gone makes ICMP errors; the network of a client would not tell it either.
    back.on("error", () => {});
    back.bind(0, LOOPBACK, () => grow(back));
    return flow;
  }

  /** What becomes of one packet. */
  #pass(flow: Flow, send: () => void): void {
    if (this.#isCut(flow) || (this.#loss > 0 && this.#random() < this.#loss)) {
      flow.lost += 1;
      return;
    }
    if (this.#delayMs === 0) {
      send();
      return;
    }
    const timer = setTimeout(() => {
      this.#delayed.delete(timer);
      send();
    }, this.#delayMs);
    this.#delayed.set(timer, flow);
  }
}

async function bind(): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  grow(socket);
  return socket;
}

function grow(socket: Socket): void {
  socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
  socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
}

/** Uniform in [0, 1), the same sequence for the same seed (a multiplicative congruential generator, Lehmer 1951). */
export function seeded(seed: number): () => number {
  const modulus = 2 ** 31 - 1;
  let state = (Math.trunc(Math.abs(seed)) % (modulus - 1)) + 1;
  return () => {
    // 48271 × (2^31 − 2) is below 2^53: exact.
    state = (state * 48_271) % modulus;
    return (state - 1) / (modulus - 1);
  };
}
