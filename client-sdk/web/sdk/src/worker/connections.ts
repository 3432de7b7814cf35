/**
 * The two connections of a participant, signaling and media, followed until the session ends: when one is lost it is made
 * anew, as the Rust SDK does (docs/decisions/0013-reconnect.md). Nobody else knows that there is more than one.
 */

import { MeetingError } from "../error.js";
import { Code } from "../protocol/codes.js";
import type {
  JoinResponse,
  MediaServerInfo,
  ResumeResponse,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { Pace } from "../session/pace.js";
import { ServerClock } from "../session/server-clock.js";
import { close, dial, type Endpoint, unlessAborted } from "./connection.js";
import { Dialer } from "./dialer.js";
import type { MediaLink } from "./link.js";
import { MediaSession, type MediaSink } from "./media-session.js";
import { type Ended, type EnvelopeMessage, type Request, SignalingSession } from "./signaling.js";

/** How often to look whether something is heard. */
const LOOK_INTERVAL_MS = 250;
/** How long a server may take to know that this participant leaves. */
const LEAVE_TIMEOUT_MS = 1_000;
/** How long a server that was reached may take to go on with a session there: so much at least, and so many round trips. */
const GO_ON_MS = 2_000;
const GO_ON_ROUND_TRIPS = 6;
/** How long after the media session the signaling session may end, if one reason ends both. */
const SIGNALING_FOLLOWS_MS = 500;
/**
 * A media connection that is heard again must be heard for so long before it is taken for one that carries, if no new one
 * has come meanwhile: what it had sent into the dark may hold it up for seconds.
 */
const WAKES_UP_AFTER_MS = 1_000;
/** Connection tokens work for 60 s; an older one is not tried. */
const TOKEN_LIFE_MS = 40_000;
/** How a session may end that can be begun again: the server has a fault, or this side was too slow. */
const MAY_COME_BACK = ["TOO_SLOW", "INTERNAL"];
/** What is told better by signaling, when media ends so. */
const TOLD_BY_SIGNALING = ["NO_ERROR", "GOING_AWAY", "KICKED", "MEETING_ENDED", "DUPLICATE"];
/** Media that is refused so will not be had later either. */
const MEDIA_IS_FINAL = ["UNSUPPORTED_VERSION", "PROTOCOL_VIOLATION"];

/** What the meeting does with what comes. */
export interface ConnectionsEvents {
  /** The server has let this participant in; events follow, also before media is there. */
  joined(joined: JoinResponse): void;
  /** In order, each once, over all connections. */
  event(message: EnvelopeMessage): void;
  /** Events were missed: this is everything now. */
  snapshot(snapshot: JoinResponse): void;
  /** The place was gone, and there is another, of which the server knows nothing: everything has to be asked for again. */
  rejoined(joined: JoinResponse): void;
  reconnecting(): void;
  reconnected(afterMs: number, rejoined: boolean): void;
  /** `link.generation` or `link.connected` is another. */
  mediaChanged(): void;
  waiting(meetingName: string): void;
  goAway(deadlineMs: number): void;
  /** Once; nothing follows. */
  ended(ended: Ended): void;
}

export interface Plan {
  readonly signaling: Endpoint;
  readonly join: Extract<Request, { case: "joinRequest" }>["value"];
  /** How long to try to come back; 0 = not at all. */
  readonly reconnectForMs: number;
}

interface Recovery {
  readonly sinceMs: number;
  rejoined: boolean;
  readonly giveUp: ReturnType<typeof setTimeout>;
}

/** One of the two lines while it is lost. */
interface Lost {
  readonly dialer: Dialer;
  readonly stop: AbortController;
  /** The server has been asked to go on in a new connection: the old one is of no use any more. */
  asked: boolean;
  /** Since when the old connection is heard again. */
  heardSinceMs: number | undefined;
}

type MediaEvents = Omit<MediaSink, "ended" | "goAway">;

export class Connections implements MediaLink {
  readonly clock = new ServerClock();
  readonly #plan: Plan;
  readonly #events: ConnectionsEvents;
  readonly #mediaEvents: MediaEvents;
  readonly #hashes: Endpoint["certificateHashes"];
  #signaling: SignalingSession | undefined;
  #media: MediaSession | undefined;
  #mediaUrl = "";
  #token: { readonly token: string; readonly sinceMs: number } | undefined;
  #ticket: Uint8Array = new Uint8Array();
  #lastEvent = 0;
  #generation = 0;
  #lostSignaling: Lost | undefined;
  #lostMedia: Lost | undefined;
  #recovery: Recovery | undefined;
  #goingAway = false;
  #over: Ended | undefined;
  #look: ReturnType<typeof setInterval> | undefined;
  /** Called when signaling is open again, or everything is over. */
  #whenOpen: (() => void)[] = [];

  constructor(plan: Plan, events: ConnectionsEvents, mediaEvents: MediaEvents) {
    this.#plan = plan;
    this.#events = events;
    this.#mediaEvents = mediaEvents;
    this.#hashes = plan.signaling.certificateHashes;
  }

  /** Joins and opens the media session; `limitMs` is for everything but the waiting room. */
  async join(limitMs: number, signal: AbortSignal): Promise<void> {
    let leftMs = limitMs;
    const within = async <T>(step: Promise<T>): Promise<T> => {
      const begunMs = performance.now();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new MeetingError("unreachable", "joining took too long")), leftMs);
      });
      try {
        return await unlessAborted(Promise.race([step, late]), signal);
      } finally {
        clearTimeout(timer);
        leftMs -= performance.now() - begunMs;
      }
    };
    let isIn = false;
    try {
      const transport = await within(dial(this.#plan.signaling, signal));
      const early: [number, EnvelopeMessage][] = [];
      let take = (sequence: number, message: EnvelopeMessage) => {
        early.push([sequence, message]);
      };
      let opened: SignalingSession | undefined;
      const session = await within(
        SignalingSession.open(transport, {
          event: (sequence, message) => take(sequence, message),
          ended: (ended) => this.#signalingEnded(opened, ended),
        }),
      );
      opened = session;
      this.#signaling = session;
      const joined = await this.#joinIn(session, within, signal);
      isIn = true;
      this.#takeJoined(joined);
      this.#events.joined(joined);
      take = (sequence, message) => this.#takeEvent(sequence, message);
      for (const [sequence, message] of early) this.#takeEvent(sequence, message);
      this.#installMedia(await within(this.#openMedia(signal)));
      if (session.endedWith) throw session.endedWith.error;
      this.#look = setInterval(() => this.#lookAtBoth(), LOOK_INTERVAL_MS);
    } catch (cause) {
      // A meeting that is over by now refuses media: why, signaling has said.
      const error = (isIn && this.#signaling?.endedWith?.error) || cause;
      this.#over ??= { error: asError(error) };
      this.#media?.close();
      // The server may have let it in before its answer was here.
      if (this.#signaling?.isOpen) await this.#signaling.leave(SIGNALING_FOLLOWS_MS);
      throw error;
    }
  }

  /** The time in the waiting room does not count. */
  async #joinIn(
    session: SignalingSession,
    within: <T>(step: Promise<T>) => Promise<T>,
    signal: AbortSignal,
  ): Promise<JoinResponse> {
    let waits: (() => void) | undefined;
    const waiting = new Promise<"waiting">((resolve) => {
      waits = () => resolve("waiting");
    });
    const joining = session.join(this.#plan.join, (meetingName) => {
      this.#events.waiting(meetingName);
      waits?.();
    });
    const first = await within(Promise.race([joining, waiting]));
    if (first !== "waiting") return first;
    return unlessAborted(joining, signal);
  }

  /** A request, which waits until the server is reached; rejects with `interrupted` if the connection is lost meanwhile. */
  async request(request: Request): Promise<EnvelopeMessage> {
    return (await this.#openSignaling()).request(request);
  }

  async command(request: Request): Promise<{ readonly messageId: number }> {
    const ack = await (await this.#openSignaling()).command(request);
    return { messageId: Number(ack.messageId) };
  }

  /**
   * A command that may be carried out twice: it is repeated until it was answered. It is made anew each time, as what is
   * wished may be another by then.
   */
  async insist(request: () => Request): Promise<{ readonly messageId: number }> {
    for (;;) {
      try {
        return await this.command(request());
      } catch (error) {
        if (!(error instanceof MeetingError)) throw error;
        // The server did not answer, or closed a session that can be begun again.
        const comesBack = ["unreachable", "closed"].includes(error.kind) && this.#lostSignaling !== undefined;
        if (error.kind !== "interrupted" && !comesBack) throw error;
      }
    }
  }

  /** Something whose answer, or loss, does not matter. */
  sendAndForget(request: Request): void {
    if (!this.#lostSignaling) this.#signaling?.sendAndForget(request);
  }

  /** Leaves; the session is over when this resolves. */
  async leave(): Promise<void> {
    const error = new MeetingError("closed", "this participant has left", { code: "NO_ERROR" });
    await this.#end({ error, closeCode: "NO_ERROR" }, LEAVE_TIMEOUT_MS);
  }

  /** The browser says that the network is there again. */
  hurry(): void {
    this.#lostSignaling?.dialer.hurry();
    this.#lostMedia?.dialer.hurry();
  }

  get generation(): number {
    return this.#generation;
  }

  get connected(): boolean {
    return this.#media?.isOpen === true && this.#lostMedia === undefined;
  }

  get features(): { readonly groups: boolean; readonly audioDatagrams: boolean } {
    return this.#media?.features ?? { groups: true, audioDatagrams: true };
  }

  get maxDatagramBytes(): number {
    return this.#media?.maxDatagramBytes ?? 0;
  }

  async openGroup(): Promise<WritableStreamDefaultWriter<Uint8Array>> {
    if (!this.#media || !this.connected)
      throw new MeetingError("interrupted", "there is no media connection");
    return this.#media.openGroup();
  }

  sendDatagram(bytes: Uint8Array): boolean {
    return this.connected && this.#media?.sendDatagram(bytes) === true;
  }

  toWireUs(localUs: number): number {
    return localUs + this.clock.fixedOffsetUs;
  }

  fromWireUs(wireUs: number): number {
    return wireUs - this.clock.fixedOffsetUs;
  }

  requestKeyFrame(wireStreamId: string): void {
    if (this.connected) this.#media?.requestKeyFrame(wireStreamId);
  }

  async #openSignaling(): Promise<SignalingSession> {
    while (!this.#over && (this.#lostSignaling || !this.#signaling)) {
      await new Promise<void>((resolve) => this.#whenOpen.push(resolve));
    }
    if (this.#over || !this.#signaling) {
      throw this.#over?.error ?? new MeetingError("invalid", "the meeting is not joined");
    }
    return this.#signaling;
  }

  #tellOpen(): void {
    const waiting = this.#whenOpen;
    this.#whenOpen = [];
    for (const resolve of waiting) resolve();
  }

  #takeEvent(sequence: number, message: EnvelopeMessage): void {
    if (this.#over) return;
    if (sequence !== 0) {
      // It had come by an older connection.
      if (sequence <= this.#lastEvent) return;
      this.#lastEvent = sequence;
    }
    if (message.case === "goAway") {
      // Media tells it, too.
      if (!this.#goingAway) this.#events.goAway(message.value.deadlineMs);
      this.#goingAway = true;
      return;
    }
    this.#events.event(message);
  }

  #takeJoined(joined: JoinResponse): void {
    this.#ticket = joined.resumeTicket;
    this.#lastEvent = 0;
    this.#takeMediaServer(joined.mediaServer);
  }

  #takeMediaServer(server: MediaServerInfo | undefined): void {
    if (!server) return;
    this.#mediaUrl = server.mediaHandlerUrl;
    this.#token = { token: server.connectionToken, sinceMs: performance.now() };
  }

  #lookAtBoth(): void {
    const rttMs = this.clock.rttMs;
    const silent = this.#signaling?.isSilent(rttMs) === true;
    if (!this.#lostSignaling) {
      if (silent) this.#loseSignaling();
    } else if (!this.#lostSignaling.asked && !silent && this.#signaling?.isOpen) {
      this.#lostSignaling.stop.abort(new Error("the connection is heard again"));
      this.#lostSignaling = undefined;
      this.#tellOpen();
      this.#settle();
    }
    const mediaSilent = this.#media?.isSilent() === true;
    if (!this.#lostMedia) {
      if (mediaSilent) this.#loseMedia();
    } else if (!this.#lostMedia.asked && !mediaSilent && this.#media?.isOpen) {
      const nowMs = performance.now();
      this.#lostMedia.heardSinceMs ??= nowMs;
      if (nowMs - this.#lostMedia.heardSinceMs >= WAKES_UP_AFTER_MS) {
        this.#lostMedia.stop.abort(new Error("the connection is heard again"));
        this.#lostMedia = undefined;
        this.#events.mediaChanged();
        this.#settle();
      }
    } else {
      this.#lostMedia.heardSinceMs = undefined;
    }
  }

  #beginRecovery(): void {
    if (this.#recovery) return;
    const giveUp = setTimeout(() => {
      const error = new MeetingError("closed", "the server could not be reached again", {
        code: "TIMED_OUT",
      });
      this.#end({ error, closeCode: "TIMED_OUT" });
    }, this.#plan.reconnectForMs);
    this.#recovery = { sinceMs: performance.now(), rejoined: false, giveUp };
    this.#events.reconnecting();
  }

  /** Whether everything is found again. */
  #settle(): void {
    if (this.#over || !this.#recovery || this.#lostSignaling || this.#lostMedia) return;
    const { sinceMs, rejoined, giveUp } = this.#recovery;
    clearTimeout(giveUp);
    this.#recovery = undefined;
    this.#events.reconnected(performance.now() - sinceMs, rejoined);
  }

  #goesOn(): boolean {
    return !this.#over && !this.#goingAway && this.#plan.reconnectForMs > 0;
  }

  #lost(endpoint: () => Endpoint): Lost {
    const stop = new AbortController();
    const pace = new Pace(performance.now(), this.clock.rttMs, Math.random);
    return { dialer: new Dialer(endpoint, pace, stop.signal), stop, asked: false, heardSinceMs: undefined };
  }

  #signalingEnded(session: SignalingSession | undefined, ended: Ended): void {
    if (this.#over || session === undefined || session !== this.#signaling) return;
    if (this.#lostSignaling?.asked) return;
    const final = ended.closeCode !== undefined && !MAY_COME_BACK.includes(ended.closeCode);
    // Before everything is joined, whoever joins learns of it from the request.
    if (this.#look === undefined) return;
    if (final || !this.#goesOn()) void this.#end(ended);
    else if (!this.#lostSignaling) this.#loseSignaling();
  }

  #loseSignaling(): void {
    if (!this.#goesOn() || this.#lostSignaling) return;
    this.#beginRecovery();
    const lost = this.#lost(() => this.#plan.signaling);
    this.#lostSignaling = lost;
    void this.#recoverSignaling(lost);
  }

  async #recoverSignaling(lost: Lost): Promise<void> {
    let joinsAnew = false;
    while (this.#lostSignaling === lost && !this.#over) {
      let session: SignalingSession | undefined;
      try {
        const transport = await lost.dialer.next();
        const early: [number, EnvelopeMessage][] = [];
        let take = (sequence: number, message: EnvelopeMessage) => {
          early.push([sequence, message]);
        };
        lost.asked = true;
        const opened = await SignalingSession.open(transport, {
          event: (sequence, message) => take(sequence, message),
          ended: (ended) => this.#signalingEnded(session, ended),
        });
        session = opened;
        const answer = joinsAnew
          ? { joined: await opened.join(this.#plan.join, (name) => this.#waitsAgain(name)) }
          : { resumed: await this.#goOn(opened) };
        if (this.#over) {
          void opened.leave(SIGNALING_FOLLOWS_MS);
          return;
        }
        this.#signaling?.close(
          new MeetingError("interrupted", "the connection was lost before the answer came"),
        );
        this.#signaling = opened;
        this.#lostSignaling = undefined;
        if (answer.joined) this.#takePlace(answer.joined);
        else this.#takeResumed(answer.resumed);
        take = (sequence, message) => this.#takeEvent(sequence, message);
        for (const [sequence, message] of early) this.#takeEvent(sequence, message);
        // Its end may have come together with the answer.
        if (opened.endedWith) this.#signalingEnded(opened, opened.endedWith);
        this.#tellOpen();
        this.#settle();
      } catch (error) {
        session?.close();
        if (this.#lostSignaling !== lost || this.#over) return;
        const verdict = judge(error);
        if (verdict === "final" || (verdict === "joinAnew" && joinsAnew)) void this.#end(asEnd(error));
        else if (verdict === "joinAnew") joinsAnew = true;
        else lost.dialer.putOff();
      }
    }
  }

  /** A path that goes dark again after the handshake is found by another attempt. */
  async #goOn(session: SignalingSession): Promise<ResumeResponse> {
    const limitMs = Math.max(GO_ON_MS, GO_ON_ROUND_TRIPS * this.clock.rttMs);
    const timer = setTimeout(
      () => session.close(new MeetingError("interrupted", "the server did not go on in time")),
      limitMs,
    );
    try {
      return await session.resume({
        resumeTicket: this.#ticket,
        lastEventSequence: BigInt(this.#lastEvent),
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** The place is gone, and the meeting lets this participant wait for another: that may take its time. */
  #waitsAgain(meetingName: string): void {
    if (this.#recovery) clearTimeout(this.#recovery.giveUp);
    this.#events.waiting(meetingName);
  }

  #takeResumed(resumed: ResumeResponse): void {
    this.#ticket = resumed.resumeTicket;
    this.#takeMediaServer(resumed.mediaServer);
    if (resumed.snapshot) {
      this.#lastEvent = 0;
      this.#events.snapshot(resumed.snapshot);
    }
  }

  #takePlace(joined: JoinResponse): void {
    this.#takeJoined(joined);
    if (this.#recovery) this.#recovery.rejoined = true;
    // The server has ended, or ends, the media session of the place that is gone.
    const media = this.#media;
    if (!this.#lostMedia) this.#loseMedia();
    media?.close();
    this.#events.rejoined(joined);
  }

  async #openMedia(signal: AbortSignal): Promise<MediaSession> {
    return this.#beginMedia(await dial(this.#mediaEndpoint(), signal));
  }

  #mediaEndpoint(): Endpoint {
    return { url: this.#mediaUrl, certificateHashes: this.#hashes };
  }

  async #beginMedia(transport: WebTransport): Promise<MediaSession> {
    let token: string;
    try {
      token = await this.#connectionToken();
    } catch (error) {
      close(transport, Code.NO_ERROR, "");
      throw error;
    }
    let session: MediaSession | undefined;
    let endedEarly = false;
    session = await MediaSession.open(
      transport,
      token,
      {
        ...this.#mediaEvents,
        goAway: (deadlineMs) => {
          if (!this.#goingAway) this.#events.goAway(deadlineMs);
          this.#goingAway = true;
        },
        ended: (ended) => {
          if (session) this.#mediaEnded(session, ended);
          else endedEarly = true;
        },
      },
      this.clock,
    );
    if (endedEarly) throw new MeetingError("interrupted", "the media connection was lost");
    return session;
  }

  /** The one at hand, or another. Each works once. */
  async #connectionToken(): Promise<string> {
    const token = this.#token;
    this.#token = undefined;
    if (token && performance.now() - token.sinceMs < TOKEN_LIFE_MS) return token.token;
    const answer = await this.request({ case: "refreshConnectionToken", value: {} });
    const server = answer.case === "connectionTokenRefreshed" ? answer.value.mediaServer : undefined;
    if (!server) throw new MeetingError("interrupted", "the server gave no connection token");
    this.#mediaUrl = server.mediaHandlerUrl;
    return server.connectionToken;
  }

  #installMedia(media: MediaSession): void {
    const older = this.#media;
    this.#media = media;
    this.#generation += 1;
    this.#lostMedia = undefined;
    older?.close();
    this.#events.mediaChanged();
    // Its end may have come before it was here.
    if (!media.isOpen) this.#loseMedia();
  }

  #mediaEnded(session: MediaSession, ended: Ended): void {
    if (this.#over || session !== this.#media || this.#lostMedia || this.#look === undefined) return;
    const { closeCode } = ended;
    const isToldBySignaling =
      closeCode === undefined ? !this.#goesOn() : TOLD_BY_SIGNALING.includes(closeCode);
    if (isToldBySignaling) {
      // A server that removes somebody, or stops, closes both, and says why on signaling.
      setTimeout(() => {
        if (this.#over || session !== this.#media) return;
        if (this.#lostSignaling && this.#goesOn()) this.#loseMedia();
        else void this.#end(ended);
      }, SIGNALING_FOLLOWS_MS);
      return;
    }
    const final = closeCode !== undefined && !MAY_COME_BACK.includes(closeCode);
    if (final || !this.#goesOn()) void this.#end(ended);
    else this.#loseMedia();
  }

  #loseMedia(): void {
    if (!this.#goesOn() || this.#lostMedia) return;
    this.#beginRecovery();
    const lost = this.#lost(() => this.#mediaEndpoint());
    this.#lostMedia = lost;
    this.#events.mediaChanged();
    void this.#recoverMedia(lost);
  }

  async #recoverMedia(lost: Lost): Promise<void> {
    while (this.#lostMedia === lost && !this.#over) {
      try {
        // Without signaling there is no token; and every attempt that fails makes the browser slower to make the next.
        await this.#openSignaling();
        const transport = await lost.dialer.next();
        await this.#openSignaling();
        if (this.#lostMedia !== lost || this.#over) {
          close(transport, Code.NO_ERROR, "");
          return;
        }
        lost.asked = true;
        const media = await this.#beginMedia(transport);
        if (this.#over) {
          media.close();
          return;
        }
        this.#installMedia(media);
        this.#settle();
      } catch (error) {
        if (this.#lostMedia !== lost || this.#over) return;
        const end = asEnd(error);
        if (end.closeCode !== undefined && MEDIA_IS_FINAL.includes(end.closeCode)) void this.#end(end);
        else lost.dialer.putOff();
      }
    }
  }

  /** The session is over. A participant with half a session would only seem to be there: it leaves before that is told. */
  async #end(ended: Ended, leaveMs = SIGNALING_FOLLOWS_MS): Promise<void> {
    if (this.#over) return;
    this.#over = ended;
    clearInterval(this.#look);
    if (this.#recovery) clearTimeout(this.#recovery.giveUp);
    const over = new Error("the session is over");
    const reachable = !this.#lostSignaling;
    this.#lostSignaling?.stop.abort(over);
    this.#lostMedia?.stop.abort(over);
    this.#tellOpen();
    this.#media?.close();
    if (reachable && this.#signaling?.isOpen) await this.#signaling.leave(leaveMs);
    this.#signaling?.close();
    this.#events.ended(ended);
  }
}

/** What the answer of a server means to somebody who wants to come back. */
function judge(error: unknown): "tryAgain" | "joinAnew" | "final" {
  if (!(error instanceof MeetingError)) return "tryAgain";
  const closeCode = error.kind === "closed" ? error.code : error.details.close_code;
  if (error.kind === "refused") {
    if (error.code === "INTERNAL_ERROR" || error.code === "RATE_LIMITED") return "tryAgain";
    if (error.code === "NOT_FOUND" && closeCode !== "MEETING_ENDED") return "joinAnew";
    return "final";
  }
  if (error.kind === "interrupted" || error.kind === "unreachable") return "tryAgain";
  return closeCode !== undefined && MAY_COME_BACK.includes(closeCode) ? "tryAgain" : "final";
}

function asError(error: unknown): MeetingError {
  return error instanceof MeetingError
    ? error
    : new MeetingError("interrupted", String(error), { cause: error });
}

/** The end of the session that a refusal is. */
function asEnd(error: unknown): Ended {
  const known = asError(error);
  const closeCode = known.kind === "closed" ? known.code : known.details.close_code;
  if (!closeCode) return { error: known };
  return {
    error: new MeetingError("closed", known.message, { code: closeCode, details: { ...known.details } }),
    closeCode,
  };
}
