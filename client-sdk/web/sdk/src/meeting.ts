/** A meeting as a participant sees it. */

import { Sound } from "./audio.js";
import { MeetingError } from "./error.js";
import { type Closed, Emitter, type MeetingEvents } from "./events.js";
import { decodableCodecs, encodableCodecs } from "./media/codec.js";
import { SAMPLE_RATE } from "./media/sample-rate.js";
import { planLayers } from "./media/simulcast.js";
import type { JoinGrant, JoinOptions, PublishOptions } from "./options.js";
import { type Told, WorkerPort } from "./port-client.js";
import { layerStreamId, randomStreamId } from "./protocol/ids.js";
import { type OpenSource, openSource, Publication } from "./publication.js";
import { AutoSubscriptions, Subscription } from "./subscription.js";
import type {
  AutoOptions,
  MeetingState,
  ParticipantState,
  Statistics,
  StreamDescription,
  StreamType,
  SubscribeOptions,
} from "./types.js";
import type { ChatHistory, ChatQuery, Command, StageAction } from "./worker/port.js";

const JOIN_TIMEOUT_MS = 10_000;
const RECONNECT_FOR_MS = 60_000;
const CAMERA_FRAMERATE = 30;
const SCREEN_FRAMERATE = 15;
/** Opus at a rate that suits speech. */
const AUDIO_BITRATE_BPS = 32_000;

export class Meeting {
  readonly #port: WorkerPort;
  readonly #sound: Sound;
  readonly #emitter = new Emitter<MeetingEvents>();
  readonly #publications = new Map<string, Publication>();
  readonly #subscriptions = new Map<string, Subscription>();
  #auto: AutoSubscriptions | undefined;
  #state: MeetingState | undefined;
  #onWaiting: ((meetingName: string) => void) | undefined;
  #closed: Closed | undefined;

  private constructor(
    port: WorkerPort,
    sound: Sound,
    onWaiting: ((meetingName: string) => void) | undefined,
  ) {
    this.#port = port;
    this.#sound = sound;
    this.#onWaiting = onWaiting;
  }

  /**
   * Joins a meeting with what the API has granted.
   *
   * Rejects with a `MeetingError`: `refused` by the server (`details.close_code` says how: `KICKED`, `MEETING_ENDED` …),
   * `unreachable`, `unsupported` by this browser, `interrupted` when `options.signal` was aborted.
   */
  static async join(grant: JoinGrant, options: JoinOptions = {}): Promise<Meeting> {
    const certificateHashes = grant.certificate_hashes.map(({ value }) => fromHex(value));
    const link: { meeting?: Meeting } = {};
    const port = new WorkerPort(
      (told) => {
        if (link.meeting) link.meeting.#hear(told);
      },
      (error) => {
        if (link.meeting) link.meeting.#close({ code: "INTERNAL", message: error.message });
      },
    );
    const abort = () => port.tell({ type: "abort" });
    let sound: Sound | undefined;
    try {
      const [opened, videoCodecs] = await Promise.all([
        Sound.open((sample) => port.tell({ type: "clock", sample })),
        decodableCodecs(),
      ]);
      sound = opened.sound;
      const meeting = new Meeting(port, opened.sound, options.onWaiting);
      link.meeting = meeting;
      options.signal?.addEventListener("abort", abort, { once: true });
      if (options.signal?.aborted) abort();
      const joined = await port.call(
        "join",
        {
          meetingId: grant.meeting_id,
          url: grant.meeting_controller_url,
          certificateHashes,
          joinToken: grant.join_token,
          name: options.name ?? "",
          shownName: options.name || grant.name || "",
          mobile: options.mobile ?? isMobile(),
          videoCodecs,
          timeoutMs: options.timeoutMs ?? JOIN_TIMEOUT_MS,
          reconnectForMs: options.reconnectForMs ?? RECONNECT_FOR_MS,
          playout: opened.worker,
        },
        [opened.worker],
      );
      meeting.#begin(joined.state);
      return meeting;
    } catch (error) {
      port.close();
      sound?.close();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
  }

  /** Everything about the meeting that lasts; a new object whenever something in it has changed. */
  get state(): MeetingState {
    if (!this.#state) throw new MeetingError("invalid", "the meeting is not joined");
    return this.#state;
  }

  /** Undefined while the session goes on. */
  get closed(): Closed | undefined {
    return this.#closed;
  }

  on<K extends keyof MeetingEvents>(name: K, listener: (event: MeetingEvents[K]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  once<K extends keyof MeetingEvents>(name: K, signal?: AbortSignal): Promise<MeetingEvents[K]> {
    return this.#emitter.once(name, signal);
  }

  /**
   * Publishes what a track brings, encoded in the worker: cameras in several layers (docs/protocol.md 4.3). The track stays
   * the caller's, who stops it.
   */
  async publish(track: MediaStreamTrack, options: PublishOptions = {}): Promise<Publication> {
    const stream = await describe(track, options);
    const source = openSource(track, stream, this.#sound.context);
    try {
      await this.#port.call("publish", { stream, source: source.source }, source.transfer);
    } catch (error) {
      source.close();
      throw error;
    }
    return this.#keep(stream, track, source);
  }

  /**
   * Subscribes to a stream of somebody else. Sound plays by itself; pictures are drawn on the subscription's element. Of a
   * stream that is subscribed to already it changes the options.
   */
  async subscribe(streamId: string, options: SubscribeOptions = {}): Promise<Subscription> {
    const stream = this.state.participants
      .flatMap((participant) => participant.streams)
      .find((stream) => stream.streamId === streamId);
    if (!stream) throw new MeetingError("invalid", `nobody publishes stream ${streamId}`);
    const known = this.#subscriptions.get(streamId);
    if (known) {
      await known.setOptions(options);
      return known;
    }
    const { subscription, canvas } = this.#makeSubscription(stream);
    try {
      await this.#port.call(
        "subscribe",
        { streamId, options, ...(canvas ? { canvas } : {}) },
        canvas ? [canvas] : [],
      );
    } catch (error) {
      this.#subscriptions.delete(streamId);
      throw error;
    }
    return subscription;
  }

  /** Lets the server choose: all sound and screens, and the cameras that matter most (docs/protocol.md 5.12). */
  async subscribeAuto(options: AutoOptions = {}): Promise<AutoSubscriptions> {
    if (this.#auto) throw new MeetingError("invalid", "the server chooses already: change its options");
    const auto = new AutoSubscriptions(this.#port, () => {
      this.#auto = undefined;
    });
    this.#auto = auto;
    try {
      await this.#port.call("subscribeAuto", options);
    } catch (error) {
      this.#auto = undefined;
      throw error;
    }
    return auto;
  }

  /** Everything that is heard comes out here: for analysis, recording, effects. */
  get audioOutput(): AudioNode {
    return this.#sound.output;
  }

  get audioContext(): AudioContext {
    return this.#sound.context;
  }

  /** Lets sound play where the browser has blocked it; to be called from a click. */
  async resumeAudio(): Promise<void> {
    await this.#sound.resume();
  }

  /** Where sound plays; empty = where the system plays it. */
  async setSpeaker(deviceId: string): Promise<void> {
    await this.#sound.setSpeaker(deviceId);
  }

  /** How loud somebody is for this participant alone: 1 as it is sent, 0 not at all, at most 4. */
  async setVolume(participantId: string, gain: number): Promise<void> {
    await this.#port.call("setVolume", { participantId, gain });
  }

  /** Says something of oneself to all: muted, camera on, hand raised … Nothing is sent or not sent by it. */
  async setState(change: Partial<ParticipantState>): Promise<void> {
    await this.#do({ do: "setState", change });
  }

  async raiseHand(raised: boolean): Promise<void> {
    await this.setState({ handRaised: raised });
  }

  /** Needs the right `renameSelf`, or to be host. */
  async rename(name: string): Promise<void> {
    await this.#do({ do: "rename", participantId: "", name });
  }

  /** Removes somebody for good. Needs the right `kick`. */
  async kick(participantId: string): Promise<void> {
    await this.#do({ do: "kick", participantId });
  }

  /** Everybody but hosts. */
  async kickEverybody(): Promise<void> {
    await this.#do({ do: "kick", participantId: "" });
  }

  /** Mutes somebody, turns off a camera, or ends a shared screen. Needs the right for that kind. */
  async mute(participantId: string, type: StreamType): Promise<void> {
    await this.#do({ do: "mute", participantId, type });
  }

  /** Everybody but hosts and oneself. */
  async muteEverybody(type: StreamType): Promise<void> {
    await this.#do({ do: "mute", participantId: "", type });
  }

  /** Keeps everybody out but hosts and those who are there. Hosts only, as the next ones. */
  async lock(locked: boolean): Promise<void> {
    await this.#do({ do: "lock", locked });
  }

  async endForAll(): Promise<void> {
    try {
      await this.#do({ do: "end" });
    } catch (error) {
      // The end was faster than the answer.
      if (!(error instanceof MeetingError) || error.code !== "MEETING_ENDED") throw error;
    }
  }

  async renameParticipant(participantId: string, name: string): Promise<void> {
    await this.#do({ do: "rename", participantId, name });
  }

  /** Absent: everybody's. */
  async lowerHand(participantId = ""): Promise<void> {
    await this.#do({ do: "lowerHands", participantId });
  }

  /** Lets somebody in who waits; absent: all. Needs the right `admit`. */
  async admit(participantId = ""): Promise<void> {
    await this.#do({ do: "admit", participantId, admit: true });
  }

  async reject(participantId = ""): Promise<void> {
    await this.#do({ do: "admit", participantId, admit: false });
  }

  /** Needs the right `setPreset`. */
  async setPreset(participantId: string, preset: string): Promise<void> {
    await this.#do({ do: "setPreset", participantId, preset });
  }

  /** Shows somebody large to everybody. Needs the right `spotlight`. */
  async spotlight(participantId: string, on: boolean): Promise<void> {
    await this.#do({ do: "spotlight", participantId, on });
  }

  /** Asks for the stage, or takes an invitation. */
  async askForStage(): Promise<void> {
    await this.#stage("ask", "");
  }

  async leaveStage(): Promise<void> {
    await this.#stage("leave", "");
  }

  /** Needs the right `manageStage`, as the next ones. */
  async approveStage(participantId: string): Promise<void> {
    await this.#stage("approve", participantId);
  }

  async denyStage(participantId: string): Promise<void> {
    await this.#stage("deny", participantId);
  }

  async inviteToStage(participantId: string): Promise<void> {
    await this.#stage("invite", participantId);
  }

  async removeFromStage(participantId: string): Promise<void> {
    await this.#stage("remove", participantId);
  }

  /** Writes to everybody, or to one; returns the id of the message. At most 4,000 characters. */
  async sendChat(text: string, toParticipantId = ""): Promise<number> {
    return (await this.#do({ do: "sendChat", text, toParticipantId })).messageId;
  }

  async editChat(messageId: number, text: string): Promise<void> {
    await this.#do({ do: "editChat", messageId, text });
  }

  async deleteChat(messageId: number): Promise<void> {
    await this.#do({ do: "deleteChat", messageId });
  }

  async pinChat(messageId: number, pinned: boolean): Promise<void> {
    await this.#do({ do: "pinChat", messageId, pinned });
  }

  async chatHistory(query: ChatQuery = {}): Promise<ChatHistory> {
    return this.#port.call("chatHistory", query);
  }

  /**
   * Sends a message of the application to all others, or to some: reactions (type `reaction`), and what you make up. At most
   * 8 KiB; see docs/protocol.md 5.10 for who may.
   */
  async broadcast(
    type: string,
    payload: Uint8Array,
    toParticipantIds: readonly string[] = [],
  ): Promise<void> {
    await this.#do({ do: "broadcast", type, payload, toParticipantIds });
  }

  async statistics(): Promise<Statistics> {
    return this.#port.call("statistics", undefined);
  }

  /** Leaves; others see it at once. Does not reject: without an answer the server finds out by itself. */
  async leave(): Promise<void> {
    await this.#port.call("leave", undefined).catch(() => {});
    this.#close({ code: "NO_ERROR", message: "this participant has left" });
  }

  #begin(state: MeetingState): void {
    this.#state ??= state;
    // Who has to wait again, to come back, is reconnecting.
    this.#onWaiting = undefined;
    addEventListener("online", this.#onOnline);
    addEventListener("pagehide", this.#onPageHide);
    const { context } = this.#sound;
    let blocked = this.#sound.isBlocked;
    context.addEventListener("statechange", () => {
      if (this.#sound.isBlocked === blocked) return;
      blocked = this.#sound.isBlocked;
      this.#emitter.emit("audioBlocked", { blocked });
    });
    // After the caller has had time to listen.
    if (blocked)
      queueMicrotask(() =>
        setTimeout(() => this.#emitter.emit("audioBlocked", { blocked: this.#sound.isBlocked })),
      );
  }

  #do(command: Command): Promise<{ readonly messageId: number }> {
    return this.#port.call("command", command);
  }

  async #stage(action: StageAction, participantId: string): Promise<void> {
    await this.#do({ do: "stage", action, participantId });
  }

  #keep(stream: StreamDescription, track: MediaStreamTrack, source: OpenSource): Publication {
    const publication = new Publication(stream, track, source, this.#port, this.#sound.context, () => {
      this.#publications.delete(stream.streamId);
    });
    this.#publications.set(stream.streamId, publication);
    if (this.#closed) publication.ended(this.#closed.message);
    return publication;
  }

  #makeSubscription(stream: StreamDescription): { subscription: Subscription; canvas?: OffscreenCanvas } {
    let element: HTMLCanvasElement | undefined;
    if (stream.type !== "audio") {
      element = document.createElement("canvas");
      element.width = stream.video?.width || 640;
      element.height = stream.video?.height || 360;
    }
    const subscription = new Subscription(stream, element, this.#port, (ended) => {
      if (this.#subscriptions.get(stream.streamId) === ended) this.#subscriptions.delete(stream.streamId);
    });
    this.#subscriptions.set(stream.streamId, subscription);
    return { subscription, ...(element ? { canvas: element.transferControlToOffscreen() } : {}) };
  }

  #hear(told: Told): void {
    switch (told.type) {
      case "waiting":
        this.#onWaiting?.(told.meetingName);
        break;
      case "state":
        this.#state = told.state;
        this.#emitter.emit("stateChanged", told.state);
        break;
      case "event":
        if (told.event.name === "closed") this.#close(told.event.event);
        else this.#emitter.emit(told.event.name, told.event.event as never);
        break;
      case "publicationEnded":
        this.#publications.get(told.streamId)?.ended(told.reason);
        break;
      case "subscription":
        this.#subscriptions.get(told.streamId)?.emit(told.event);
        break;
      case "auto":
        this.#auto?.replace(told.streams.map((stream) => this.#chosen(stream)));
        break;
    }
  }

  /** The subscription to a stream that the server has chosen. */
  #chosen(stream: StreamDescription): Subscription {
    const known = this.#subscriptions.get(stream.streamId);
    if (known) return known;
    const { subscription, canvas } = this.#makeSubscription(stream);
    if (canvas) {
      // A session that is over tells by itself.
      this.#port.call("attach", { streamId: stream.streamId, canvas }, [canvas]).catch(() => {});
    }
    return subscription;
  }

  #close(closed: Closed): void {
    if (this.#closed) return;
    this.#closed = closed;
    removeEventListener("online", this.#onOnline);
    removeEventListener("pagehide", this.#onPageHide);
    if (this.#state) this.#state = { ...this.#state, connection: "closed" };
    for (const publication of [...this.#publications.values()]) publication.ended(closed.message);
    for (const subscription of [...this.#subscriptions.values()]) subscription.emit({ name: "ended" });
    this.#sound.close();
    this.#port.close();
    if (this.#state) this.#emitter.emit("stateChanged", this.#state);
    this.#emitter.emit("closed", closed);
  }

  readonly #onOnline = () => this.#port.tell({ type: "online" });

  /** A page that goes away leaves, instead of being missed for the grace period. */
  readonly #onPageHide = (event: PageTransitionEvent) => {
    if (!event.persisted) void this.leave();
  };
}

async function describe(track: MediaStreamTrack, options: PublishOptions): Promise<StreamDescription> {
  const type = options.type ?? (track.kind === "audio" ? "audio" : "camera");
  const streamId = options.streamId ?? randomStreamId();
  const settings = track.getSettings();
  if (type === "audio") {
    const channels = settings.channelCount === 2 ? 2 : 1;
    const maxBitrateBps = options.maxBitrateBps ?? AUDIO_BITRATE_BPS * channels;
    return {
      streamId,
      type,
      codec: "Opus",
      maxBitrateBps,
      audio: { sampleRate: SAMPLE_RATE, channels },
      layers: [{ layerId: "", wireStreamId: streamId, width: 0, height: 0, maxBitrateBps }],
    };
  }
  const codecs = await encodableCodecs();
  const codec = options.codec ?? codecs[0];
  if (!codec || !codecs.includes(codec)) {
    throw new MeetingError("unsupported", `this browser does not encode ${options.codec ?? "video"}`, {
      code: "VideoEncoder",
    });
  }
  const most = type === "screen" ? SCREEN_FRAMERATE : CAMERA_FRAMERATE;
  const framerate = options.framerate ?? Math.min(Math.round(settings.frameRate ?? most) || most, most);
  const plans = planLayers({
    type,
    codec,
    width: settings.width,
    height: settings.height,
    framerate,
    maxBitrateBps: options.maxBitrateBps,
    simulcast: options.simulcast,
  });
  const layers = plans.map((plan) => ({
    ...plan,
    wireStreamId: plan.layerId === "" ? streamId : layerStreamId(streamId, plan.layerId),
  }));
  const best = layers[layers.length - 1];
  if (!best) throw new MeetingError("invalid", "the track has no picture");
  return {
    streamId,
    type,
    codec,
    maxBitrateBps: layers.reduce((sum, layer) => sum + layer.maxBitrateBps, 0),
    video: { width: best.width, height: best.height, framerate },
    layers,
  };
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  if (!/^([0-9a-f]{2})+$/i.test(text))
    throw new MeetingError("invalid", "a certificate hash is not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

function isMobile(): boolean {
  return matchMedia("(pointer: coarse)").matches && Math.min(screen.width, screen.height) < 600;
}
