/** A media session: control stream, group streams, datagrams (docs/protocol.md 6). One connection; the link outlives it. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { MeetingError } from "../error.js";
import { Code } from "../protocol/codes.js";
import { decodeDatagram } from "../protocol/datagram.js";
import { WireError } from "../protocol/errors.js";
import { ErrorCode } from "../protocol/gen/darktower/v1/common_pb.js";
import type {
  MediaClientMessageSchema,
  MediaServerMessage,
  PublisherFeedback,
} from "../protocol/gen/darktower/v1/media_pb.js";
import { GroupDecoder, type GroupPreamble } from "../protocol/group.js";
import { agreedLimits, type UnitLimits } from "../protocol/limits.js";
import { decodeMediaServerMessage, encodeMediaClientMessage } from "../protocol/message.js";
import type { Unit } from "../protocol/unit.js";
import type { ServerClock } from "../session/server-clock.js";
import { ASK_INTERVAL_MS, Silence } from "../session/silence.js";
import { ControlStream, close, text } from "./connection.js";
import { streamError } from "./group-writer.js";
import { nowUs } from "./link.js";
import { type Ended, farewell } from "./signaling.js";

const WELCOME_TIMEOUT_MS = 5_000;
/** Pings that may wait for their answers; older ones are forgotten. */
const MAX_OPEN_PINGS = 16;
const FEATURES = ["groups", "audio-datagrams"];

/** Where what arrives goes. */
export interface MediaSink {
  /** A group stream has begun; `handle` names it from here on. */
  groupBegan(handle: object, preamble: GroupPreamble): void;
  units(handle: object, units: readonly Unit[]): void;
  /** It ended, or was reset. */
  groupEnded(handle: object): void;
  /** Audio. */
  datagramUnits(units: readonly Unit[]): void;
  feedback(feedback: PublisherFeedback): void;
  /** The server did not take a QUIC stream of a publisher; the session goes on. */
  refused(streamId: string | undefined, message: string): void;
  goAway(deadlineMs: number): void;
  /** Once; nothing follows. */
  ended(ended: Ended): void;
}

export class MediaSession {
  readonly #transport: WebTransport;
  readonly #control: ControlStream;
  readonly #sink: MediaSink;
  readonly #clock: ServerClock;
  readonly #silence = new Silence();
  readonly #pings = new Map<bigint, number>();
  readonly #datagrams: WritableStreamDefaultWriter<Uint8Array>;
  #limits: UnitLimits | undefined;
  #features = { groups: false, audioDatagrams: false };
  #welcomed: (() => void) | undefined;
  #lastPing = 0n;
  #pinging: ReturnType<typeof setInterval> | undefined;
  #lastWord: Ended | undefined;
  #ended: Ended | undefined;
  /** Of the datagram that is being sent; the next one waits for nothing, and is lost instead. */
  #sending = 0;

  private constructor(transport: WebTransport, control: ControlStream, sink: MediaSink, clock: ServerClock) {
    this.#transport = transport;
    this.#control = control;
    this.#sink = sink;
    this.#clock = clock;
    this.#datagrams = datagramWriter(transport);
    this.#datagrams.closed.catch(() => {});
  }

  /** The handshake on a new connection: hello, welcome. */
  static async open(
    transport: WebTransport,
    connectionToken: string,
    sink: MediaSink,
    clock: ServerClock,
  ): Promise<MediaSession> {
    const control = await ControlStream.open(transport);
    const session = new MediaSession(transport, control, sink, clock);
    const welcome = new Promise<void>((resolve) => {
      session.#welcomed = resolve;
    });
    const sentUs = nowUs();
    session.#send({
      case: "hello",
      value: { connectionToken, protocolMin: 1, protocolMax: 1, features: FEATURES },
    });
    const reading = session.#read(sentUs);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new MeetingError("unreachable", "the media server did not answer in time")),
        WELCOME_TIMEOUT_MS,
      );
    });
    const refused = reading.then(() => {
      throw session.#ended?.error ?? new MeetingError("interrupted", "the media connection was lost");
    });
    refused.catch(() => {});
    try {
      await Promise.race([welcome, refused, late]);
    } catch (error) {
      close(transport, Code.NO_ERROR, "");
      throw error;
    } finally {
      clearTimeout(timer);
    }
    session.#begin();
    return session;
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  get features(): { readonly groups: boolean; readonly audioDatagrams: boolean } {
    return this.#features;
  }

  get maxDatagramBytes(): number {
    return this.#transport.datagrams.maxDatagramSize;
  }

  isSilent(): boolean {
    return this.isOpen && this.#silence.isSilent(performance.now(), this.#clock.rttMs);
  }

  async openGroup(): Promise<WritableStreamDefaultWriter<Uint8Array>> {
    return (await this.#transport.createUnidirectionalStream()).getWriter();
  }

  sendDatagram(bytes: Uint8Array): boolean {
    if (!this.isOpen || bytes.length > this.maxDatagramBytes) return false;
    // A connection that takes nothing must not gather what is late already.
    if (this.#sending >= 4) return true;
    this.#sending += 1;
    this.#datagrams
      .write(bytes)
      .catch(() => {})
      .finally(() => {
        this.#sending -= 1;
      });
    return true;
  }

  requestKeyFrame(wireStreamId: string): void {
    this.#send({
      case: "subscriberFeedback",
      value: { streamId: wireStreamId, keyFrameRequested: true },
    });
  }

  close(): void {
    this.#end({
      error: new MeetingError("closed", "closed by this side", { code: "NO_ERROR" }),
      closeCode: "NO_ERROR",
    });
    close(this.#transport, Code.NO_ERROR, "");
  }

  #send(message: NonNullable<MessageInitShape<typeof MediaClientMessageSchema>["message"]>): void {
    this.#control.send(encodeMediaClientMessage({ message }));
  }

  #begin(): void {
    this.#pinging = setInterval(() => this.#ping(), ASK_INTERVAL_MS);
    this.#ping();
    void this.#acceptGroups();
    void this.#readDatagrams();
  }

  #ping(): void {
    this.#lastPing += 1n;
    this.#pings.set(this.#lastPing, nowUs());
    for (const id of this.#pings.keys()) {
      if (id + BigInt(MAX_OPEN_PINGS) <= this.#lastPing) this.#pings.delete(id);
    }
    this.#silence.asked(performance.now());
    this.#send({ case: "ping", value: { id: this.#lastPing } });
  }

  async #read(helloUs: number): Promise<void> {
    const error = await this.#control.read((bytes) => this.#take(decodeMediaServerMessage(bytes), helloUs));
    if (error instanceof WireError) {
      close(this.#transport, error.code, error.message);
      this.#end({ error: new MeetingError("protocol", error.message), closeCode: error.codeName });
    }
    const reason =
      error === undefined ? "the media connection was lost" : `the media connection was lost: ${text(error)}`;
    this.#end(this.#lastWord ?? { error: new MeetingError("interrupted", reason) });
    close(this.#transport, Code.NO_ERROR, "");
  }

  #take({ message }: MediaServerMessage, helloUs: number): void {
    this.#silence.heard();
    switch (message.case) {
      case "welcome":
        this.#limits = agreedLimits({
          maxAudioPayload: message.value.limits?.maxAudioPayload ?? 0,
          maxVideoPayload: message.value.limits?.maxVideoPayload ?? 0,
        });
        this.#features = {
          groups: message.value.features.includes("groups"),
          audioDatagrams: message.value.features.includes("audio-datagrams"),
        };
        this.#clock.measured(helloUs, nowUs(), Number(message.value.serverTime));
        this.#welcomed?.();
        break;
      case "pong": {
        const sentUs = this.#pings.get(message.value.id);
        if (sentUs === undefined) break;
        this.#pings.delete(message.value.id);
        if (message.value.serverTime > 0n) {
          this.#clock.measured(sentUs, nowUs(), Number(message.value.serverTime));
        }
        break;
      }
      case "publisherFeedback":
        this.#sink.feedback(message.value);
        break;
      case "error":
        if (message.value.code === ErrorCode.STREAM_ERROR) {
          this.#sink.refused(message.value.details.stream_id, message.value.message);
        } else {
          this.#lastWord = farewell(message.value);
        }
        break;
      case "goAway":
        this.#sink.goAway(message.value.deadlineMs);
        break;
      default:
      // Of a later version.
    }
  }

  async #acceptGroups(): Promise<void> {
    const streams = this.#transport.incomingUnidirectionalStreams.getReader();
    try {
      for (;;) {
        const { value, done } = await streams.read();
        if (done) return;
        void this.#readGroup(value as ReadableStream<Uint8Array>);
      }
    } catch {
      // The connection is lost; the control stream tells.
    }
  }

  async #readGroup(stream: ReadableStream<Uint8Array>): Promise<void> {
    const handle = {};
    const decoder = new GroupDecoder(this.#limits);
    const reader = stream.getReader();
    let began = false;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) {
          decoder.finish();
          break;
        }
        this.#silence.heard();
        const units = decoder.push(value);
        if (!began && decoder.preamble) {
          began = true;
          this.#sink.groupBegan(handle, decoder.preamble);
        }
        if (units.length > 0) this.#sink.units(handle, units);
      }
    } catch (error) {
      // Reset by the server, as the protocol has it; or it breaks the protocol, and is of no use.
      if (error instanceof WireError) {
        reader.cancel(streamError(error.code, error.message)).catch(() => {});
      }
    }
    if (began) this.#sink.groupEnded(handle);
  }

  async #readDatagrams(): Promise<void> {
    const reader = this.#transport.datagrams.readable.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.#silence.heard();
        const { units } = decodeDatagram(value, this.#limits);
        if (units.length > 0) this.#sink.datagramUnits(units);
      }
    } catch {
      // The connection is lost; the control stream tells.
    }
  }

  #end(ended: Ended): void {
    if (this.#ended) return;
    this.#ended = ended;
    clearInterval(this.#pinging);
    this.#sink.ended(ended);
  }
}

/** Older browsers have the one, newer ones the other. */
function datagramWriter(transport: WebTransport): WritableStreamDefaultWriter<Uint8Array> {
  const datagrams = transport.datagrams as WebTransportDatagramDuplexStream & {
    createWritable?(): WritableStream<Uint8Array>;
  };
  const writable = datagrams.createWritable?.() ?? datagrams.writable;
  return writable.getWriter() as WritableStreamDefaultWriter<Uint8Array>;
}
