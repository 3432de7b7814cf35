/** A meeting in the worker: what the window asks for, what the server tells, and the media between them. */

import type { ClockSample } from "../audio.js";
import { framesOfTrack } from "../capture.js";
import { MeetingError } from "../error.js";
import type { MeetingEvent } from "../events.js";
import { ContextClock } from "../media/context-clock.js";
import { LevelTeller, SILENCE_DBOV } from "../media/levels.js";
import type { PlayoutReport } from "../media/playout-messages.js";
import type { PublisherFeedback } from "../protocol/gen/darktower/v1/media_pb.js";
import type {
  JoinResponse,
  Participant as ParticipantMessage,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { GroupKind, type GroupPreamble } from "../protocol/group.js";
import type { Unit } from "../protocol/unit.js";
import * as convert from "../session/convert.js";
import { type Change, Roster } from "../session/roster.js";
import type {
  AutoOptions,
  MeetingState,
  ParticipantState,
  Statistics,
  StreamDescription,
  SubscribeOptions,
} from "../types.js";
import { AudioPublisher } from "./audio-publisher.js";
import { AudioSubscriber } from "./audio-subscriber.js";
import {
  autoRequest,
  commandRequest,
  publishRequest,
  subscribeRequest,
  unpublishRequest,
  unsubscribeRequest,
} from "./commands.js";
import { Connections } from "./connections.js";
import { nowUs } from "./link.js";
import type {
  ChatHistory,
  ChatQuery,
  Command,
  FromWorker,
  Joined,
  JoinParameters,
  Source,
  SubscriptionEvent,
} from "./port.js";
import type { Ended, EnvelopeMessage } from "./signaling.js";
import { VideoPublisher } from "./video-publisher.js";
import { VideoSubscriber } from "./video-subscriber.js";

/** Of many participants events are told together: the state, which is copied to the window whole, comes before them. */
const STATE_DELAY_MS = 200;
const MANY_PARTICIPANTS = 100;
const STATISTICS_INTERVAL_MS = 1_000;
/** How often the server is told how a stream arrives, one after the other; what it is told counts for 15 s. */
const QUALITY_INTERVAL_MS = 500;

interface Publication {
  readonly stream: StreamDescription;
  readonly media: { readonly kind: "video"; readonly publisher: VideoPublisher } | AudioOut;
}

interface AudioOut {
  readonly kind: "audio";
  readonly publisher: AudioPublisher;
}

interface Subscription {
  readonly stream: StreamDescription;
  readonly participantId: string;
  options: SubscribeOptions;
  /** The server has chosen the stream, and takes it away again. */
  auto: boolean;
  readonly audio?: AudioSubscriber;
  /** Absent until there is something to draw on. */
  video?: VideoSubscriber;
  /** How much later than usual the pictures need the sound of the same participant. */
  minAudioDelayMs: number;
}

export class MeetingWorker {
  readonly #tell: (message: FromWorker) => void;
  readonly #captureClock = new ContextClock();
  readonly #playoutClock = new ContextClock();
  readonly #abort = new AbortController();
  readonly #publications = new Map<string, Publication>();
  readonly #subscriptions = new Map<string, Subscription>();
  /** Subscriptions by all that may arrive of them. */
  readonly #byWire = new Map<string, Subscription>();
  readonly #groups = new WeakMap<object, Subscription>();
  readonly #volumes = new Map<string, number>();
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #roster: Roster | undefined;
  #connections: Connections | undefined;
  #playout: MessagePort | undefined;
  #auto: AutoOptions | undefined;
  #joinMs = 0;
  /** Chosen by the server before events were missed, and not named since. */
  readonly #unconfirmed = new Set<Subscription>();
  /** The next word about this participant says all that it publishes. */
  #checksPublications = false;
  #rejoins = 0;
  #qualityTurn = 0;
  #downlink = { bps: 0, loss: 0 };
  #score = 0;
  #ownLevel = SILENCE_DBOV;
  #flushTimer: ReturnType<typeof setTimeout> | undefined;
  #untold: MeetingEvent[] = [];
  #toldState: MeetingState | undefined;

  constructor(tell: (message: FromWorker) => void) {
    this.#tell = tell;
  }

  async join(parameters: JoinParameters & { readonly playout: MessagePort }): Promise<Joined> {
    const startedMs = performance.now();
    if (this.#connections) throw new MeetingError("invalid", "the meeting is joined already");
    let waitedMs = 0;
    let waitsSinceMs: number | undefined;
    this.#playout = parameters.playout;
    this.#playout.onmessage = (message: MessageEvent<PlayoutReport>) => this.#heard(message.data);
    const plan = {
      signaling: { url: parameters.url, certificateHashes: parameters.certificateHashes },
      join: {
        meetingId: parameters.meetingId,
        joinToken: parameters.joinToken,
        participantName: parameters.name,
        capabilities: {
          videoCodecs: [...parameters.videoCodecs],
          audioCodecs: ["Opus"],
          supportsSimulcast: true,
          mobile: parameters.mobile,
        },
        protocolMin: 1,
        protocolMax: 1,
      },
      reconnectForMs: parameters.reconnectForMs,
    };
    const connections = new Connections(
      plan,
      {
        joined: (joined) => {
          this.#roster = new Roster(parameters.meetingId, parameters.shownName, joined);
        },
        event: (message) => this.#takeEvent(message),
        snapshot: (snapshot) => this.#replace(snapshot),
        rejoined: (joined) => this.#askAgain(joined),
        reconnecting: () => {
          this.#roster?.setConnection("reconnecting");
          this.#tellEvent({ name: "reconnecting", event: {} });
        },
        reconnected: (afterMs, rejoined) => {
          this.#roster?.setConnection("connected");
          this.#tellEvent({ name: "reconnected", event: { afterMs, rejoined } });
        },
        mediaChanged: () => this.#mediaChanged(),
        waiting: (meetingName) => {
          waitsSinceMs = performance.now();
          this.#tell({ type: "waiting", meetingName });
        },
        goAway: (deadlineMs) => this.#tellEvent({ name: "goAway", event: { deadlineMs } }),
        ended: (ended) => this.#ended(ended),
      },
      {
        groupBegan: (handle, preamble) => this.#groupBegan(handle, preamble),
        units: (handle, units) => this.#groupUnits(handle, units),
        groupEnded: (handle) => this.#groupEnded(handle),
        datagramUnits: (units) => this.#audioUnits(units),
        feedback: (feedback) => this.#feedback(feedback),
        refused: (streamId, message) =>
          this.#tellEvent({
            name: "mediaRefused",
            event: { ...(streamId === undefined ? {} : { streamId }), message },
          }),
      },
    );
    this.#connections = connections;
    await connections.join(parameters.timeoutMs, this.#abort.signal).finally(() => {
      if (waitsSinceMs !== undefined) waitedMs = performance.now() - waitsSinceMs;
    });
    this.#joinMs = performance.now() - startedMs - waitedMs;
    this.#timers.push(setInterval(() => this.#tellStatistics(), STATISTICS_INTERVAL_MS));
    this.#timers.push(setInterval(() => this.#tellQuality(), QUALITY_INTERVAL_MS));
    return { state: this.#joined().roster.state(), joinMs: this.#joinMs };
  }

  /** Gives up what `join` waits for. */
  abort(): void {
    this.#abort.abort(new MeetingError("interrupted", "joining was given up"));
  }

  async leave(): Promise<void> {
    await this.#connections?.leave();
  }

  setClock({ capture, playout }: ClockSample): void {
    this.#captureClock.update(capture.contextTimeS, capture.localUs);
    this.#playoutClock.update(playout.contextTimeS, playout.localUs);
  }

  hurry(): void {
    this.#connections?.hurry();
  }

  async command(command: Command): Promise<{ readonly messageId: number }> {
    const { roster, connections } = this.#joined();
    if (command.do === "setState") {
      // Before the server is asked: what it tells meanwhile must not be overwritten.
      const undo = roster.changeOwnState(command.change);
      this.#stateChanged();
      try {
        // What is wished by the time that it is asked for.
        return await connections.insist(() => {
          const keys = Object.keys(command.change) as (keyof ParticipantState)[];
          const change = Object.fromEntries(keys.map((key) => [key, roster.ownState[key]]));
          return commandRequest({ do: "setState", change }, roster.ownState);
        });
      } catch (error) {
        undo();
        this.#stateChanged();
        throw error;
      }
    }
    const answer = await connections.command(commandRequest(command, roster.ownState));
    if (command.do === "rename" && command.participantId === "") {
      roster.setOwnName(command.name.trim());
      this.#stateChanged();
    }
    return answer;
  }

  async chatHistory(query: ChatQuery): Promise<ChatHistory> {
    const answer = await this.#joined().connections.request({
      case: "fetchChatHistory",
      value: {
        beforeMessageId: BigInt(query.before ?? 0),
        limit: query.limit ?? 0,
        withParticipantId: query.withParticipantId ?? "",
        pinnedOnly: query.pinnedOnly ?? false,
      },
    });
    if (answer.case !== "chatHistory") {
      throw new MeetingError("protocol", "the answer to FetchChatHistory is of another kind");
    }
    return { messages: answer.value.messages.map(convert.chatMessage), hasMore: answer.value.hasMore };
  }

  async publish(stream: StreamDescription, source: Source): Promise<void> {
    const { connections } = this.#joined();
    if (this.#publications.has(stream.streamId)) {
      discard(source);
      throw new MeetingError("invalid", `stream ${stream.streamId} is published already`);
    }
    const publication = this.#makePublication(stream, connections);
    // The server may end the stream as soon as it has taken it.
    this.#publications.set(stream.streamId, publication);
    try {
      await this.#announce(stream, connections);
      if (this.#publications.get(stream.streamId) !== publication) {
        throw new MeetingError("interrupted", "the stream was ended while it was published");
      }
      this.#setSource(publication, source);
    } catch (error) {
      this.#publications.delete(stream.streamId);
      void publication.media.publisher.stop();
      discard(source);
      throw error;
    }
    this.#ownStreamsChanged();
  }

  replaceSource(streamId: string, source: Source): void {
    try {
      this.#setSource(this.#publication(streamId), source);
    } catch (error) {
      discard(source);
      throw error;
    }
  }

  setEnabled(streamId: string, enabled: boolean): void {
    this.#publication(streamId).media.publisher.setEnabled(enabled);
  }

  async unpublish(streamId: string): Promise<void> {
    const publication = this.#publications.get(streamId);
    if (!publication) return;
    this.#publications.delete(streamId);
    this.#ownStreamsChanged();
    await publication.media.publisher.stop();
    await this.#joined()
      .connections.insist(() => unpublishRequest(streamId))
      .catch(ignoreNotFound);
  }

  async subscribe(streamId: string, options: SubscribeOptions, canvas?: OffscreenCanvas): Promise<void> {
    const { roster, connections } = this.#joined();
    const known = roster.stream(streamId);
    if (!known) throw new MeetingError("invalid", `nobody publishes stream ${streamId}`);
    const subscription = this.#begin(known.stream, known.participant.participantId, options, false);
    try {
      if (canvas) this.#draw(subscription, canvas, connections);
      await connections.insist(() => subscribeRequest(streamId, subscription.options));
    } catch (error) {
      this.#forget(subscription);
      throw error;
    }
  }

  async setOptions(streamId: string, options: SubscribeOptions): Promise<void> {
    const subscription = this.#subscriptions.get(streamId);
    if (!subscription) throw new MeetingError("invalid", `stream ${streamId} is not subscribed to`);
    const { options: before, auto } = subscription;
    subscription.options = options;
    // Before the server is asked: it names the stream as not its own any more.
    subscription.auto = false;
    try {
      await this.#joined().connections.insist(() => subscribeRequest(streamId, subscription.options));
    } catch (error) {
      if (subscription.options === options) Object.assign(subscription, { options: before, auto });
      throw error;
    }
    if (auto) this.#tellAuto();
  }

  async unsubscribe(streamId: string): Promise<void> {
    const subscription = this.#subscriptions.get(streamId);
    if (!subscription) return;
    this.#forget(subscription);
    if (subscription.auto) this.#tellAuto();
    await this.#joined()
      .connections.insist(() => unsubscribeRequest(streamId))
      .catch(ignoreNotFound);
  }

  async subscribeAuto(options: AutoOptions | undefined): Promise<void> {
    const { connections } = this.#joined();
    const before = this.#auto;
    this.#auto = options;
    try {
      await connections.insist(() => autoRequest(this.#auto));
    } catch (error) {
      this.#auto = before;
      throw error;
    }
    if (options) return;
    for (const subscription of [...this.#subscriptions.values()]) {
      if (subscription.auto) this.#end(subscription);
    }
    this.#tellAuto();
  }

  attach(streamId: string, canvas: OffscreenCanvas): void {
    const subscription = this.#subscriptions.get(streamId);
    // It may have ended meanwhile, which the window is told; begun anew, it has another canvas, and the last one counts.
    if (subscription) this.#draw(subscription, canvas, this.#joined().connections);
  }

  setVolume(participantId: string, gain: number): void {
    this.#volumes.set(participantId, gain);
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.participantId === participantId) subscription.audio?.setGain(gain);
    }
  }

  statistics(): Statistics {
    const nowMs = performance.now();
    // What arrives is measured by the clock that capture times are compared with.
    const arrivalMs = nowUs() / 1000;
    const ownId = this.#roster?.ownId ?? "";
    const streams = [...this.#publications.values()]
      .flatMap(({ media }) => media.publisher.statistics(nowMs))
      .map((stream) => ({ ...stream, participantId: ownId }));
    for (const { audio, video, participantId } of this.#subscriptions.values()) {
      if (audio) streams.push(audio.statistics(arrivalMs));
      if (video) streams.push({ ...video.statistics(arrivalMs), participantId });
    }
    const total = (direction: string) =>
      streams.reduce((sum, stream) => sum + (stream.direction === direction ? stream.bitrateBps : 0), 0);
    return {
      joinMs: this.#joinMs,
      rttMs: this.#connections?.clock.rttMs ?? 0,
      downlinkBps: this.#downlink.bps,
      downlinkLoss: this.#downlink.loss,
      score: this.#score,
      sendBps: total("outgoing"),
      receiveBps: total("incoming"),
      streams,
    };
  }

  #joined(): { roster: Roster; connections: Connections } {
    const [roster, connections] = [this.#roster, this.#connections];
    if (!roster || !connections) throw new MeetingError("invalid", "the meeting is not joined");
    return { roster, connections };
  }

  #publication(streamId: string): Publication {
    const publication = this.#publications.get(streamId);
    if (!publication) throw new MeetingError("invalid", `stream ${streamId} is not published`);
    return publication;
  }

  /** To the server. What it has taken already, when an answer was lost, it calls a conflict. */
  async #announce(stream: StreamDescription, connections: Connections): Promise<void> {
    await connections
      .insist(() => publishRequest(stream))
      .catch((error: unknown) => {
        const taken = error instanceof MeetingError && error.code === "CONFLICT";
        if (!taken || this.#roster?.stream(stream.streamId)) throw error;
      });
  }

  #makePublication(stream: StreamDescription, connections: Connections): Publication {
    const onFailed = (error: MeetingError) => this.#publicationEnded(stream.streamId, error.message, true);
    if (stream.type === "audio") {
      const teller = new LevelTeller();
      const publisher = new AudioPublisher({
        stream,
        link: connections,
        onLevel: (dBov: number) => this.#measured(stream.streamId, teller, dBov),
        onFailed,
      });
      return { stream, media: { kind: "audio", publisher } };
    }
    const publisher = new VideoPublisher({
      stream,
      codec: stream.codec,
      framerate: stream.video?.framerate || 30,
      link: connections,
      onFailed,
    });
    return { stream, media: { kind: "video", publisher } };
  }

  #setSource({ media }: Publication, source: Source): void {
    if (media.kind === "audio") {
      if (source.kind !== "audio") throw new MeetingError("invalid", "an audio stream needs sound");
      media.publisher.setPort(source.port, this.#captureClock);
      return;
    }
    switch (source.kind) {
      case "frames":
        media.publisher.setSource(source.frames);
        break;
      case "track":
        media.publisher.setSource(framesOfTrack(source.track, source.control));
        break;
      case "audio":
        throw new MeetingError("invalid", "a video stream needs pictures");
    }
  }

  /** Of one's own sound. */
  #measured(streamId: string, teller: LevelTeller, dBov: number): void {
    this.#ownLevel = dBov;
    const level = teller.update(dBov, performance.now());
    if (level === undefined) return;
    const muted = this.#roster?.ownState.audioMuted === true;
    if (!muted) {
      this.#connections?.sendAndForget({
        case: "audioLevels",
        value: { levels: [{ streamId, level: Math.round(level) }] },
      });
    }
  }

  #publicationEnded(streamId: string, reason: string, tellsServer: boolean): void {
    const publication = this.#publications.get(streamId);
    if (!publication) return;
    this.#publications.delete(streamId);
    void publication.media.publisher.stop();
    this.#ownLevel = SILENCE_DBOV;
    if (tellsServer) this.#connections?.sendAndForget(unpublishRequest(streamId));
    this.#ownStreamsChanged();
    this.#flush();
    this.#tell({ type: "publicationEnded", streamId, reason });
  }

  #ownStreamsChanged(): void {
    this.#roster?.setOwnStreams([...this.#publications.values()].map(({ stream }) => stream));
    this.#stateChanged();
  }

  #begin(
    stream: StreamDescription,
    participantId: string,
    options: SubscribeOptions,
    auto: boolean,
  ): Subscription {
    const known = this.#subscriptions.get(stream.streamId);
    if (known) {
      known.options = options;
      known.auto = known.auto && auto;
      return known;
    }
    const playout = this.#playout;
    const audio =
      stream.type === "audio" && playout ? new AudioSubscriber(stream, participantId, playout) : undefined;
    const subscription: Subscription = {
      stream,
      participantId,
      options,
      auto,
      minAudioDelayMs: 0,
      ...(audio ? { audio } : {}),
    };
    const volume = this.#volumes.get(participantId);
    if (volume !== undefined) audio?.setGain(volume);
    this.#subscriptions.set(stream.streamId, subscription);
    for (const layer of stream.layers) this.#byWire.set(layer.wireStreamId, subscription);
    return subscription;
  }

  /** Throws `unsupported` if the codec is not known here. */
  #draw(subscription: Subscription, canvas: OffscreenCanvas, connections: Connections): void {
    const { stream } = subscription;
    const told = (event: SubscriptionEvent) =>
      this.#tell({ type: "subscription", streamId: stream.streamId, event });
    subscription.video?.close();
    subscription.video = new VideoSubscriber({
      stream,
      link: connections,
      canvas,
      events: {
        firstFrame: () => told({ name: "firstFrame" }),
        resize: (width, height) => told({ name: "resize", width, height }),
        layer: (layerId) => told({ name: "layer", layerId }),
        minAudioDelayMs: (ms) => {
          subscription.minAudioDelayMs = ms;
          this.#delayAudio(subscription.participantId);
        },
      },
    });
  }

  /** As much as the latest of a participant's pictures needs. */
  #delayAudio(participantId: string): void {
    const theirs = [...this.#subscriptions.values()].filter((other) => other.participantId === participantId);
    const ms = Math.max(0, ...theirs.map((other) => other.minAudioDelayMs));
    for (const other of theirs) other.audio?.setMinimumDelay(ms);
  }

  /** Ends what is here of it, and does not tell the window. */
  #forget(subscription: Subscription): void {
    this.#subscriptions.delete(subscription.stream.streamId);
    for (const layer of subscription.stream.layers) this.#byWire.delete(layer.wireStreamId);
    subscription.audio?.close();
    subscription.video?.close();
    if (subscription.minAudioDelayMs > 0) this.#delayAudio(subscription.participantId);
  }

  /** Nothing will come of it any more. */
  #end(subscription: Subscription): void {
    this.#forget(subscription);
    const { streamId } = subscription.stream;
    this.#tell({ type: "subscription", streamId, event: { name: "ended" } });
  }

  #takeEvent(message: EnvelopeMessage): void {
    const roster = this.#roster;
    if (!roster) return;
    switch (message.case) {
      case "autoSubscriptionsChanged": {
        const { subscribed, unsubscribedStreamIds, endedStreamIds } = message.value;
        for (const id of unsubscribedStreamIds) {
          const subscription = this.#subscriptions.get(id.toLowerCase());
          if (subscription?.auto) this.#end(subscription);
        }
        for (const id of endedStreamIds) {
          const subscription = this.#subscriptions.get(id.toLowerCase());
          if (subscription) this.#end(subscription);
        }
        for (const { streamId } of subscribed) this.#beginAuto(streamId.toLowerCase());
        const named = new Set(subscribed.map(({ streamId }) => streamId.toLowerCase()));
        for (const subscription of this.#unconfirmed) {
          const current = this.#subscriptions.get(subscription.stream.streamId) === subscription;
          if (current && subscription.auto && !named.has(subscription.stream.streamId))
            this.#end(subscription);
        }
        this.#unconfirmed.clear();
        this.#tellAuto();
        break;
      }
      case "streamQualityUpdate":
        if (message.value.streamId === "") {
          this.#downlink = { bps: message.value.availableBitrate, loss: message.value.packetLoss };
        }
        break;
      default:
        this.#carryOut(roster.apply(message));
        if (message.case === "participantUpdated") this.#checkPublications(message.value.participant);
    }
  }

  /** After events were missed: one's own streams that the server has ended meanwhile. */
  #checkPublications(own: ParticipantMessage | undefined): void {
    if (!this.#checksPublications || own?.participantId.toLowerCase() !== this.#roster?.ownId) return;
    this.#checksPublications = false;
    const known = new Set(own?.streams.map(({ streamId }) => streamId.toLowerCase()));
    for (const streamId of [...this.#publications.keys()]) {
      if (!known.has(streamId)) this.#publicationEnded(streamId, "a host has ended it", false);
    }
  }

  #beginAuto(streamId: string): void {
    const known = this.#roster?.stream(streamId);
    if (known) this.#begin(known.stream, known.participant.participantId, this.#auto?.cameras ?? {}, true);
  }

  #carryOut(change: Change): void {
    let auto = false;
    for (const streamId of change.endedStreams) {
      const subscription = this.#subscriptions.get(streamId);
      if (!subscription) continue;
      auto ||= subscription.auto;
      this.#end(subscription);
    }
    if (auto) this.#tellAuto();
    if (change.endedPublication !== undefined) {
      this.#publicationEnded(change.endedPublication, "a host has ended it", false);
    }
    for (const event of change.events) {
      if (event.name === "networkQuality" && event.event.score !== undefined) this.#score = event.event.score;
      this.#tellEvent(event);
    }
    this.#stateChanged();
  }

  #replace(snapshot: JoinResponse): void {
    if (!this.#roster) return;
    // The server tells its whole list anew; and first of all what it knows of this participant.
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.auto) this.#unconfirmed.add(subscription);
    }
    this.#checksPublications = true;
    this.#carryOut(this.#roster.replace(snapshot));
  }

  /** The place was gone: the server knows nothing of what was asked for. What it refuses now ends. */
  #askAgain(joined: JoinResponse): void {
    const { roster, connections } = this.#joined();
    const name = roster.state().self.name;
    this.#replace(joined);
    // It publishes nothing yet in its new place.
    this.#checksPublications = false;
    this.#rejoins += 1;
    const current = this.#rejoins;
    const ask = async () => {
      const steps = [
        () => this.command({ do: "setState", change: roster.ownState }),
        ...(roster.state().rights.renameSelf
          ? [
              () =>
                connections.command(
                  commandRequest({ do: "rename", participantId: "", name }, roster.ownState),
                ),
            ]
          : []),
        ...[...this.#publications.values()].map(
          ({ stream }) =>
            () =>
              this.#publishAgain(stream, connections),
        ),
        ...(this.#auto ? [() => connections.insist(() => autoRequest(this.#auto))] : []),
        ...[...this.#subscriptions.values()]
          .filter(({ auto }) => !auto)
          .map((subscription) => () => this.#subscribeAgain(subscription, connections)),
      ];
      for (const step of steps) {
        // The session may be over, or begun anew once more; else the server has refused this one.
        if (current !== this.#rejoins) return;
        await step().catch(() => {});
      }
    };
    void ask();
  }

  async #publishAgain(stream: StreamDescription, connections: Connections): Promise<void> {
    const isOver = () => !this.#publications.has(stream.streamId);
    // Stopped while others were published again.
    if (isOver()) return;
    try {
      await this.#announce(stream, connections);
      if (isOver()) await connections.insist(() => unpublishRequest(stream.streamId)).catch(() => {});
    } catch (error) {
      this.#publicationEnded(stream.streamId, error instanceof Error ? error.message : String(error), false);
    }
  }

  async #subscribeAgain(subscription: Subscription, connections: Connections): Promise<void> {
    const { streamId } = subscription.stream;
    try {
      await connections.insist(() => subscribeRequest(streamId, subscription.options));
    } catch {
      this.#end(subscription);
    }
  }

  #mediaChanged(): void {
    for (const { media } of this.#publications.values()) media.publisher.connectionChanged();
    for (const { video } of this.#subscriptions.values()) video?.connectionChanged();
  }

  #feedback(feedback: PublisherFeedback): void {
    const wireStreamId = feedback.streamId.toLowerCase();
    for (const { stream, media } of this.#publications.values()) {
      if (media.kind !== "video") continue;
      if (!stream.layers.some((layer) => layer.wireStreamId === wireStreamId)) continue;
      media.publisher.feedback(wireStreamId, {
        keyFrameRequested: feedback.keyFrameRequested,
        ...(feedback.paused === undefined ? {} : { paused: feedback.paused }),
        targetBitrateBps: feedback.targetBitrate,
      });
    }
  }

  #groupBegan(handle: object, preamble: GroupPreamble): void {
    const subscription = this.#byWire.get(preamble.streamId);
    if (!subscription) return;
    this.#groups.set(handle, subscription);
    if (preamble.kind === GroupKind.Video) subscription.video?.groupBegan(handle, preamble, nowUs());
  }

  #groupUnits(handle: object, units: readonly Unit[]): void {
    // Of what the server has chosen media may come before the word that it has: then a key frame is asked for.
    const subscription = this.#groups.get(handle) ?? this.#byWire.get(units[0]?.streamId ?? "");
    if (!subscription) return;
    const us = nowUs();
    if (subscription.audio) subscription.audio.take(units, us);
    else for (const unit of units) subscription.video?.unit(handle, unit, us);
  }

  #groupEnded(handle: object): void {
    this.#groups.get(handle)?.video?.groupEnded(handle, nowUs());
  }

  #audioUnits(units: readonly Unit[]): void {
    const us = nowUs();
    for (const unit of units) this.#byWire.get(unit.streamId)?.audio?.take([unit], us);
  }

  /** What the worklet says of all that it plays. */
  #heard(report: PlayoutReport): void {
    const connections = this.#connections;
    if (!connections) return;
    const atUs = this.#playoutClock.toLocalUs(report.contextTimeS);
    const nowMs = nowUs() / 1000;
    const levels = new Map<string, number>();
    /** By participant, what of its sound is heard; undefined: nothing. */
    const playing = new Map<string, number | undefined>();
    for (const stream of report.streams) {
      const subscription = this.#subscriptions.get(stream.streamId);
      if (!subscription?.audio) continue;
      const { participantId } = subscription;
      levels.set(participantId, Math.min(stream.levelDbov, levels.get(participantId) ?? SILENCE_DBOV));
      const { playingTimestampUs } = stream;
      playing.set(participantId, playing.get(participantId) ?? playingTimestampUs);
      const latencyMs =
        playingTimestampUs === undefined
          ? undefined
          : (connections.toWireUs(atUs) - playingTimestampUs) / 1000;
      subscription.audio.heard(stream, latencyMs, nowMs);
    }
    for (const { participantId, video } of this.#subscriptions.values()) {
      if (!video || !playing.has(participantId)) continue;
      const timestampUs = playing.get(participantId);
      if (timestampUs === undefined) video.audioSilent();
      else video.audioHeard(timestampUs, atUs);
    }
    if (this.#roster && this.#publications.size > 0) levels.set(this.#roster.ownId, this.#ownLevel);
    this.#tell({ type: "event", event: { name: "audioLevels", event: levels } });
  }

  /** Of one stream at a time: at most two a second may be told. */
  #tellQuality(): void {
    const incoming = this.statistics().streams.filter(
      (stream) => stream.direction === "incoming" && stream.bitrateBps > 0,
    );
    const stream = incoming[this.#qualityTurn % Math.max(incoming.length, 1)];
    this.#qualityTurn += 1;
    if (!stream) return;
    const rttMs = Math.round(this.#connections?.clock.rttMs ?? 0);
    this.#connections?.sendAndForget({
      case: "streamQualityUpdate",
      value: { streamId: stream.streamId, packetLoss: stream.loss, rttMs },
    });
  }

  #tellStatistics(): void {
    this.#tell({ type: "event", event: { name: "statistics", event: this.statistics() } });
  }

  #tellAuto(): void {
    const streams = [...this.#subscriptions.values()].filter(({ auto }) => auto).map(({ stream }) => stream);
    this.#flush();
    this.#tell({ type: "auto", streams });
  }

  /** Whoever hears of an event finds it in the state. */
  #tellEvent(event: MeetingEvent): void {
    this.#untold.push(event);
    this.#stateChanged();
    if (!this.#hasMany()) this.#flush();
  }

  /** What was asked for is answered after the state that it has changed. */
  flush(): void {
    this.#flush();
  }

  /** Tells the window soon, of all that changes until then at once. */
  #stateChanged(): void {
    this.#flushTimer ??= setTimeout(() => this.#flush(), this.#hasMany() ? STATE_DELAY_MS : 0);
  }

  #hasMany(): boolean {
    return (this.#roster?.state().participants.length ?? 0) > MANY_PARTICIPANTS;
  }

  #flush(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    const state = this.#roster?.state();
    if (state && state !== this.#toldState) {
      this.#toldState = state;
      this.#tell({ type: "state", state });
    }
    const events = this.#untold;
    this.#untold = [];
    for (const event of events) this.#tell({ type: "event", event });
  }

  #ended({ error, closeCode }: Ended): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const { media } of this.#publications.values()) void media.publisher.stop();
    this.#publications.clear();
    for (const subscription of [...this.#subscriptions.values()]) this.#end(subscription);
    if (!this.#roster) return;
    this.#roster.setConnection("closed");
    const code = closeCode ?? (error.code || "INTERNAL");
    this.#tellEvent({ name: "closed", event: { code, message: error.message } });
    this.#flush();
  }
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof MeetingError) || error.code !== "NOT_FOUND") throw error;
}

/** Nobody will take what comes from it. */
function discard(source: Source): void {
  switch (source.kind) {
    case "frames":
      source.frames.cancel().catch(() => {});
      break;
    case "track":
      source.track.stop();
      source.control.close();
      break;
    case "audio":
      source.port.close();
      break;
  }
}
