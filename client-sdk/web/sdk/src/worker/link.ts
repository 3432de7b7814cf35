/** The media session as publishers and subscribers see it. */

/** Outlives connections: when one is lost, the next takes its place behind the same link. */
export interface MediaLink {
  /**
   * +1 with every new connection; 0 = none yet. Group streams of an earlier one are dead, and the first frame of a video
   * layer in a new one must be a key frame (docs/protocol.md 6.1).
   */
  readonly generation: number;
  readonly connected: boolean;
  /** Opens a unidirectional QUIC stream for a group; rejects while not connected. */
  openGroup(): Promise<WritableStreamDefaultWriter<Uint8Array>>;
  /**
   * Sends one datagram. False if it is larger than `maxDatagramBytes` or there is no connection; one that the connection
   * does not take at once is lost, as datagrams may be.
   */
  sendDatagram(bytes: Uint8Array): boolean;
  readonly maxDatagramBytes: number;
  /** What the server agreed to (docs/protocol.md 8). */
  readonly features: { readonly groups: boolean; readonly audioDatagrams: boolean };
  /** Local time (`nowUs`) as unit headers carry it: by the server's clock. The difference is fixed once it is known. */
  toWireUs(localUs: number): number;
  fromWireUs(wireUs: number): number;
  /** Asks the publisher of this wire stream for a key frame. The caller limits itself to one per 500 ms. */
  requestKeyFrame(wireStreamId: string): void;
}

/** Microseconds since the Unix epoch by this machine's clock; the same in window and worker, and never going back. */
export function nowUs(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}
