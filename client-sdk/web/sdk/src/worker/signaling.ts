/** A signaling session: requests, answers and events on one control stream (docs/protocol.md 5). */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { MeetingError } from "../error.js";
import { Code } from "../protocol/codes.js";
import { WireError } from "../protocol/errors.js";
import { ErrorCode, type ErrorMessage } from "../protocol/gen/darktower/v1/common_pb.js";
import type {
  Ack,
  Envelope,
  EnvelopeSchema,
  JoinRequestSchema,
  JoinResponse,
  ResumeRequestSchema,
  ResumeResponse,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { decodeEnvelope, encodeEnvelope } from "../protocol/message.js";
import { ASK_INTERVAL_MS, Silence } from "../session/silence.js";
import { ControlStream, close, text } from "./connection.js";

export type EnvelopeMessage = Envelope["message"];
/** A request as plain fields. */
export type Request = NonNullable<MessageInitShape<typeof EnvelopeSchema>["message"]>;

/** How long the answer to a request may take. */
const ANSWER_TIMEOUT_MS = 10_000;
/** How long the close of a connection may take to arrive after its stream has ended. */
const CLOSE_GRACE_MS = 1_000;

/** How a session ended: the server's last word, if it said one. */
export interface Ended {
  readonly error: MeetingError;
  /** Of the protocol's table; undefined if the connection was lost without a word. */
  readonly closeCode?: string;
}

export interface SignalingEvents {
  /** In order, with its number (0 = about this session alone). */
  event(sequence: number, message: EnvelopeMessage): void;
  /** Once; nothing follows. */
  ended(ended: Ended): void;
}

interface Waiter {
  readonly resolve: (message: EnvelopeMessage) => void;
  readonly reject: (error: MeetingError) => void;
  readonly waiting?: (meetingName: string) => void;
}

export class SignalingSession {
  readonly #transport: WebTransport;
  readonly #control: ControlStream;
  readonly #events: SignalingEvents;
  readonly #waiters = new Map<bigint, Waiter>();
  readonly #silence = new Silence();
  readonly #ping: ReturnType<typeof setInterval>;
  #lastId = 0n;
  #ended: Ended | undefined;
  /** What the server said before it closed the session. */
  #lastWord: Ended | undefined;
  #heardSinceMs = 0;
  #joined = false;

  private constructor(transport: WebTransport, control: ControlStream, events: SignalingEvents) {
    this.#transport = transport;
    this.#control = control;
    this.#events = events;
    this.#heardSinceMs = performance.now();
    this.#ping = setInterval(() => this.#ask(), ASK_INTERVAL_MS);
    void this.#read();
  }

  static async open(transport: WebTransport, events: SignalingEvents): Promise<SignalingSession> {
    return new SignalingSession(transport, await ControlStream.open(transport), events);
  }

  /** Joins; `onWaiting` is called if the meeting lets this participant wait, and then there is no time limit here. */
  async join(
    request: MessageInitShape<typeof JoinRequestSchema>,
    onWaiting: (meetingName: string) => void,
  ): Promise<JoinResponse> {
    const answer = await this.#request({ case: "joinRequest", value: request }, onWaiting);
    if (answer.case !== "joinResponse") throw notAnAnswer("JoinRequest");
    this.#joined = true;
    return answer.value;
  }

  async resume(request: MessageInitShape<typeof ResumeRequestSchema>): Promise<ResumeResponse> {
    const answer = await this.#request({ case: "resumeRequest", value: request });
    if (answer.case !== "resumeResponse") throw notAnAnswer("ResumeRequest");
    this.#joined = true;
    return answer.value;
  }

  /** Any request; rejects with `refused`, `interrupted` or `unreachable`. */
  request(request: Request): Promise<EnvelopeMessage> {
    return this.#request(request);
  }

  /** A request that is answered by `Ack`. */
  async command(request: Request): Promise<Ack> {
    const answer = await this.#request(request);
    if (answer.case !== "ack") throw notAnAnswer(request.case ?? "a request");
    return answer.value;
  }

  /** A request whose answer does not matter. */
  sendAndForget(request: Request): void {
    this.#request(request).catch(() => {});
  }

  /** Whether nothing is heard of the server. */
  isSilent(rttMs: number): boolean {
    return this.#ended === undefined && this.#silence.isSilent(performance.now(), rttMs);
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** Undefined while it is open. */
  get endedWith(): Ended | undefined {
    return this.#ended;
  }

  /** Leaves the meeting; the connection is closed in any case. */
  async leave(limitMs: number): Promise<void> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, limitMs));
    await Promise.race([this.command({ case: "leaveRequest", value: {} }).catch(() => {}), timeout]);
    this.close();
  }

  /** Closes the connection; what waits for an answer fails with `error`. */
  close(error = new MeetingError("closed", "closed by this side", { code: "NO_ERROR" })): void {
    this.#end({ error, ...(error.kind === "closed" ? { closeCode: error.code } : {}) });
    close(this.#transport, Code.NO_ERROR, "");
  }

  async #request(request: Request, onWaiting?: (meetingName: string) => void): Promise<EnvelopeMessage> {
    if (this.#ended) throw this.#ended.error;
    this.#lastId += 1n;
    const id = this.#lastId;
    const bytes = encodeEnvelope({ version: 1, requestId: id, message: request });
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<EnvelopeMessage>((resolve, reject) => {
        timer = setTimeout(() => {
          reject(new MeetingError("unreachable", "the server did not answer a request in time"));
        }, ANSWER_TIMEOUT_MS);
        const waiting = (meetingName: string) => {
          clearTimeout(timer);
          onWaiting?.(meetingName);
        };
        this.#waiters.set(id, { resolve, reject, ...(onWaiting ? { waiting } : {}) });
        this.#control.send(bytes);
        this.#silence.asked(performance.now());
      });
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(id);
    }
  }

  /** Something that is answered at once and tells nobody anything, while nothing else is heard. */
  #ask(): void {
    if (!this.#joined || this.#ended || performance.now() - this.#heardSinceMs < ASK_INTERVAL_MS) return;
    if (this.#waiters.size > 0) return;
    this.sendAndForget({ case: "audioLevels", value: { levels: [] } });
  }

  async #read(): Promise<void> {
    const error = await this.#control.read((bytes) => this.#take(decodeEnvelope(bytes)));
    if (error instanceof WireError) close(this.#transport, error.code, error.message);
    // Who has read the server's last word closes the session: the server waits for that, as a browser whose session is closed
    // under it throws away what it has not read.
    this.#end(this.#lastWord ?? (await this.#endWithoutWord(error)));
    close(this.#transport, Code.NO_ERROR, "");
  }

  async #endWithoutWord(error: unknown): Promise<Ended> {
    if (error instanceof WireError) {
      return { error: new MeetingError("protocol", error.message), closeCode: error.codeName };
    }
    const closed = await Promise.race([
      this.#transport.closed.catch(() => undefined),
      new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), CLOSE_GRACE_MS)),
    ]);
    const reason = closed?.reason || (error === undefined ? "" : text(error));
    return {
      error: new MeetingError(
        "interrupted",
        `the connection to the server was lost${reason && `: ${reason}`}`,
      ),
    };
  }

  #take(envelope: Envelope): void {
    // Another session may have taken its place, and told of the same.
    if (this.#ended) return;
    this.#silence.heard();
    this.#heardSinceMs = performance.now();
    const { requestId, eventSequence, message } = envelope;
    if (requestId === 0n) {
      if (message.case === "error") this.#lastWord = farewell(message.value);
      else if (message.case === "meetingEnded") this.#lastWord = meetingEnded(message.value.reason);
      else if (message.case !== undefined) this.#events.event(Number(eventSequence), message);
      return;
    }
    const waiter = this.#waiters.get(requestId);
    if (message.case === "joinWaiting") {
      waiter?.waiting?.(message.value.meetingDisplayName);
    } else if (message.case === "error") {
      // A refusal of the first request closes the session, and says how.
      if (message.value.details.close_code) this.#lastWord = farewell(message.value);
      waiter?.reject(refusal(message.value));
    } else {
      waiter?.resolve(message);
    }
  }

  #end(ended: Ended): void {
    if (this.#ended) return;
    this.#ended = ended;
    clearInterval(this.#ping);
    for (const waiter of [...this.#waiters.values()]) waiter.reject(ended.error);
    this.#waiters.clear();
    this.#events.ended(ended);
  }
}

/** What the server said no with. */
export function refusal(message: ErrorMessage): MeetingError {
  const code = ErrorCode[message.code] ?? "UNKNOWN";
  return new MeetingError("refused", message.message || code, { code, details: { ...message.details } });
}

/** The server's last word before it closed a session. */
export function farewell(message: ErrorMessage): Ended {
  const closeCode = message.details.close_code;
  if (!closeCode) return { error: refusal(message) };
  const error = new MeetingError("closed", message.message, {
    code: closeCode,
    details: { ...message.details },
  });
  return { error, closeCode };
}

function meetingEnded(reason: string): Ended {
  const closeCode = "MEETING_ENDED";
  return { error: new MeetingError("closed", reason, { code: closeCode }), closeCode };
}

function notAnAnswer(request: string): MeetingError {
  return new MeetingError("protocol", `the answer to ${request} is of another kind`);
}
