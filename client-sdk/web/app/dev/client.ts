/**
 * A stand-in for `@darktower/client` with made-up people, for the gallery: the app cannot tell it from the SDK. What
 * happens is chosen by the address of the page, for example `/m/demo?people=9&screen&waiting=2`.
 */

import { MeetingError } from "../../sdk/src/error.js";
import { type Closed, Emitter, type MeetingEvents } from "../../sdk/src/events.js";
import type {
  AutoOptions,
  ChatMessage,
  MeetingState,
  NetworkGrade,
  Participant,
  ParticipantState,
  Rights,
  Statistics,
  StreamDescription,
  StreamStatistics,
  StreamType,
  SubscribeOptions,
} from "../../sdk/src/types.js";
import { animated, drawPerson, drawSlide } from "./pictures.js";

export { MeetingError } from "../../sdk/src/error.js";
export type { Closed, MeetingEvents } from "../../sdk/src/events.js";
export { allocate } from "../../sdk/src/media/allocation.js";
export type * from "../../sdk/src/types.js";

export interface JoinGrant {
  meeting_id: string;
  participant_id: string;
  join_token: string;
  meeting_controller_url: string;
  certificate_hashes: { algorithm: string; value: string }[];
  name?: string;
  role?: string;
}

export interface JoinOptions {
  name?: string;
  mobile?: boolean;
  timeoutMs?: number;
  reconnectForMs?: number;
  onWaiting?(meetingName: string): void;
  signal?: AbortSignal;
}

export interface PublishOptions {
  type?: StreamType;
  codec?: "VP8" | "VP9" | "AV1" | "H264";
  maxBitrateBps?: number;
  simulcast?: boolean;
  framerate?: number;
  streamId?: string;
}

export interface Publication {
  readonly stream: StreamDescription;
  replaceTrack(track: MediaStreamTrack): Promise<void>;
  setEnabled(enabled: boolean): Promise<void>;
  stop(): Promise<void>;
  on(name: "ended", listener: (event: { reason: string }) => void): () => void;
}

export interface SubscriptionEvents {
  firstFrame: Record<string, never>;
  resize: { width: number; height: number };
  layer: { layerId: string };
  ended: { reason: string };
}

export interface Subscription {
  readonly stream: StreamDescription;
  readonly element: HTMLCanvasElement | undefined;
  setOptions(options: SubscribeOptions): Promise<void>;
  unsubscribe(): Promise<void>;
  on<K extends keyof SubscriptionEvents>(
    name: K,
    listener: (event: SubscriptionEvents[K]) => void,
  ): () => void;
}

export interface AutoSubscriptions {
  readonly current: readonly Subscription[];
  on(name: "changed", listener: () => void): () => void;
  setOptions(options: AutoOptions): Promise<void>;
  stop(): Promise<void>;
}

const NAMES = [
  "Ada Lovelace",
  "Grace Hopper",
  "Katherine Johnson",
  "Alan Turing",
  "Radia Perlman",
  "Edsger Dijkstra",
  "Barbara Liskov",
  "Claude Shannon",
  "Hedy Lamarr",
  "Tim Berners-Lee",
  "Margaret Hamilton",
  "Vint Cerf",
  "李小龍",
  "Zoë Ångström",
  "Annie Easley",
  "Donald Knuth",
];

/** Names that layouts stumble over: as long as may be, without a space, from right to left, of pictures. */
const ODD_NAMES = [
  "Maximiliane-Friederike von und zu Hohenstein-Langenburg-Weikersheim",
  "محمد بن موسى الخوارزمي",
  "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbea",
  "עדה יונת",
  "👩🏽‍🚀🚀",
  "J",
].map((name) => [...name].slice(0, 64).join(""));

function parameters(): URLSearchParams {
  return new URLSearchParams(location.search);
}

function number(name: string, otherwise: number): number {
  const value = Number(parameters().get(name) ?? otherwise);
  return Number.isFinite(value) ? value : otherwise;
}

function stream(streamId: string, type: StreamType): StreamDescription {
  if (type === "audio") {
    return {
      streamId,
      type,
      codec: "Opus",
      maxBitrateBps: 32_000,
      audio: { sampleRate: 48_000, channels: 1 },
      layers: [{ layerId: "", wireStreamId: streamId, width: 0, height: 0, maxBitrateBps: 32_000 }],
    };
  }
  const layer = (layerId: string, width: number, height: number, maxBitrateBps: number) => ({
    layerId,
    wireStreamId: `${streamId}-${layerId}`,
    width,
    height,
    maxBitrateBps,
  });
  return {
    streamId,
    type,
    codec: "VP8",
    maxBitrateBps: 2_000_000,
    video: { width: 1280, height: 720, framerate: 30 },
    layers: [
      layer("low", 320, 180, 150_000),
      layer("mid", 640, 360, 500_000),
      layer("high", 1280, 720, 1_500_000),
    ],
  };
}

function person(index: number, joinedAtMs: number): Participant {
  const id = `person-${index}`;
  const names = parameters().has("odd") ? ODD_NAMES : NAMES;
  const round = Math.floor(index / names.length);
  const cameraOn = index % 4 !== 2;
  const grades: NetworkGrade[] = ["excellent", "good", "excellent", "fair", "excellent", "poor"];
  const streams = [stream(`${id}-audio`, "audio")];
  if (cameraOn) streams.push(stream(`${id}-camera`, "camera"));
  const shares = parameters().has("screen") && index === 1;
  if (shares) streams.push(stream(`${id}-screen`, "screen"));
  return {
    participantId: id,
    name: `${names[index % names.length]}${round > 0 ? ` ${round + 1}` : ""}`,
    role: index === 0 ? "host" : "participant",
    userId: "",
    joinedAtMs,
    streams,
    state: {
      audioMuted: index % 3 === 1,
      videoOn: cameraOn,
      screenSharing: shares,
      handRaised: index === 3 || index === 11,
    },
    onStage: false,
    reconnecting: index === 4 && parameters().has("trouble"),
    networkGrade: grades[index % grades.length] ?? "excellent",
  };
}

function rightsOf(host: boolean): Rights {
  return {
    preset: host ? "host" : "participant",
    audio: "allowed",
    camera: "allowed",
    screen: "allowed",
    chatPublic: true,
    chatPrivate: true,
    kick: host,
    muteAudio: host,
    disableCamera: host,
    disableScreen: host,
    admit: host,
    manageStage: host,
    spotlight: host,
    setPreset: host,
    renameSelf: true,
    participantList: true,
    runMeeting: host,
    maxVideoStreams: 25,
  };
}

const SAID: readonly (readonly [number, string])[] = [
  [0, "Good morning! The notes of last week are at https://wiki.example.org/standup?week=47"],
  [0, "I have put the open points at the top."],
  [2, "Thanks. Can we begin with the release?"],
  [-1, "Yes. I share the figures in a moment."],
  [5, "The picture is very clear today 👏"],
];

class FakeSubscription implements Subscription {
  readonly stream: StreamDescription;
  readonly element: HTMLCanvasElement | undefined;
  readonly #stop: () => void;

  constructor(description: StreamDescription, seed: number) {
    this.stream = description;
    const picture =
      description.type === "screen"
        ? animated(1280, 720, drawSlide)
        : animated(640, 360, (context, timeMs) => drawPerson(context, seed, timeMs));
    this.element = picture.canvas;
    this.#stop = picture.stop;
  }

  setOptions(): Promise<void> {
    return Promise.resolve();
  }

  unsubscribe(): Promise<void> {
    this.#stop();
    return Promise.resolve();
  }

  on<K extends keyof SubscriptionEvents>(
    name: K,
    listener: (event: SubscriptionEvents[K]) => void,
  ): () => void {
    if (name !== "firstFrame") return () => undefined;
    const timer = setTimeout(() => (listener as (event: Record<string, never>) => void)({}), 30);
    return () => clearTimeout(timer);
  }
}

export class Meeting {
  readonly #events = new Emitter<MeetingEvents>();
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  readonly #chat: ChatMessage[] = [];
  readonly #begunAtMs = Date.now();
  #state: MeetingState;
  audioContext = new AudioContext();
  audioOutput: AudioNode = this.audioContext.createGain();

  static async join(grant: JoinGrant, options: JoinOptions = {}): Promise<Meeting> {
    const how = parameters().get("join");
    if (how === "wait") {
      options.onWaiting?.("Team Standup");
      await new Promise((_, reject) => {
        options.signal?.addEventListener("abort", () => reject(options.signal?.reason));
      });
    }
    if (how !== null) {
      throw new MeetingError("refused", "Refused by the gallery", {
        code: how,
        details: { close_code: parameters().get("close") ?? "" },
      });
    }
    return new Meeting(grant, options.name ?? grant.name ?? "You");
  }

  private constructor(grant: JoinGrant, name: string) {
    const now = Date.now();
    const people = number("people", 5);
    const host = !parameters().has("guest");
    const self: Participant = {
      ...person(1000, now),
      participantId: grant.participant_id,
      name,
      role: host ? "host" : "participant",
      streams: [],
      state: { audioMuted: true, videoOn: false, screenSharing: false, handRaised: false },
      networkGrade: "excellent",
    };
    this.#state = {
      meetingId: grant.meeting_id,
      displayName: parameters().has("odd")
        ? `Planning of the ${"very ".repeat(12)}long week`
        : "Team Standup",
      connection: parameters().has("lost") ? "reconnecting" : "connected",
      self,
      participants: Array.from({ length: people }, (_, i) => person(i, now - 600_000 + i * 1000)),
      rights: rightsOf(host),
      locked: parameters().has("locked"),
      spotlight: parameters().has("spotlight") ? ["person-0"] : [],
      waiting: Array.from({ length: number("waiting", 0) }, (_, i) => ({
        participantId: `waiting-${i}`,
        name: ["Leslie Lamport", "Sophie Wilson", "Niklaus Wirth"][i % 3] ?? "",
      })),
      stage: {
        onStage: [],
        asking: parameters().has("stage") ? ["person-2"] : [],
        invited: parameters().has("invited"),
      },
      ...(people > 0 ? { activeSpeakerId: "person-0" } : {}),
      viewerCount: 0,
      participantCount: people + 1,
    };
    SAID.forEach(([index, text], i) => {
      const author = index === -1 ? self : this.#state.participants[index];
      if (!author) return;
      this.#chat.push({
        messageId: i + 1,
        participantId: author.participantId,
        name: author.name,
        text,
        sentAtMs: now - 400_000 + i * 40_000,
        pinned: i === 0,
        deleted: false,
      });
    });
    this.#timers.push(
      setInterval(() => {
        const quiet = Math.floor(Date.now() / 5000) % Math.max(1, Math.min(people, 4));
        const levels = new Map(
          this.#state.participants.map((p, i) => [p.participantId, i === quiet ? 24 : 100]),
        );
        this.#events.emit("audioLevels", levels);
        const speaker = this.#state.participants[quiet]?.participantId;
        if (speaker !== undefined && speaker !== this.#state.activeSpeakerId) {
          this.#change({ activeSpeakerId: speaker });
          this.#events.emit("activeSpeaker", { participantId: speaker });
        }
      }, 100),
      setInterval(() => this.#events.emit("statistics", this.#statistics()), 1000),
    );
    if (parameters().has("busy")) {
      setTimeout(() => this.#events.emit("broadcast", reaction("person-1", "👏")), 900);
      setTimeout(() => this.#events.emit("broadcast", reaction("person-2", "❤️")), 1200);
      setTimeout(() => this.#say("person-4", "Sounds good to me, let us do that on Monday"), 1000);
      setTimeout(() => this.#events.emit("participantJoined", { participant: person(7, Date.now()) }), 1100);
    }
    const close = parameters().get("close-after");
    if (close !== null) setTimeout(() => this.#close({ code: close, message: "" }), 500);
    if (parameters().has("muted-by-host")) {
      setTimeout(() => {
        this.#self({ audioMuted: true });
        this.#events.emit("selfUpdated", { participant: this.#state.self });
      }, 1500);
    }
  }

  get state(): MeetingState {
    return this.#state;
  }

  on<K extends keyof MeetingEvents>(name: K, listener: (event: MeetingEvents[K]) => void): () => void {
    return this.#events.on(name, listener);
  }

  once<K extends keyof MeetingEvents>(name: K, signal?: AbortSignal): Promise<MeetingEvents[K]> {
    return this.#events.once(name, signal);
  }

  async publish(_track: MediaStreamTrack, options: PublishOptions = {}): Promise<Publication> {
    const description = stream(crypto.randomUUID(), options.type ?? "camera");
    const set = (streams: readonly StreamDescription[]) =>
      this.#change({ self: { ...this.#state.self, streams } });
    set([...this.#state.self.streams, description]);
    return {
      stream: description,
      replaceTrack: () => Promise.resolve(),
      setEnabled: () => Promise.resolve(),
      stop: async () =>
        set(this.#state.self.streams.filter((other) => other.streamId !== description.streamId)),
      on: () => () => undefined,
    };
  }

  async subscribe(streamId: string, _options?: SubscribeOptions): Promise<Subscription> {
    for (const [seed, participant] of this.#state.participants.entries()) {
      const found = participant.streams.find((other) => other.streamId === streamId);
      if (found) return new FakeSubscription(found, seed);
    }
    throw new MeetingError("refused", "There is no such stream", { code: "NOT_FOUND" });
  }

  async subscribeAuto(_options?: AutoOptions): Promise<AutoSubscriptions> {
    return {
      current: [],
      on: () => () => undefined,
      setOptions: () => Promise.resolve(),
      stop: () => Promise.resolve(),
    };
  }

  async resumeAudio(): Promise<void> {
    this.#events.emit("audioBlocked", { blocked: false });
  }

  async setSpeaker(_deviceId: string): Promise<void> {}
  async setVolume(_participantId: string, _gain: number): Promise<void> {}

  async setState(change: Partial<ParticipantState>): Promise<void> {
    this.#self(change);
  }

  async raiseHand(raised: boolean): Promise<void> {
    this.#self({ handRaised: raised });
  }

  async rename(name: string): Promise<void> {
    this.#change({ self: { ...this.#state.self, name } });
  }

  async kick(participantId: string): Promise<void> {
    this.#change({ participants: this.#state.participants.filter((p) => p.participantId !== participantId) });
  }

  async kickEverybody(): Promise<void> {
    this.#change({ participants: [] });
  }

  async mute(participantId: string, type: StreamType): Promise<void> {
    this.#of(participantId, type === "audio" ? { audioMuted: true } : { videoOn: false });
  }

  async muteEverybody(_type: StreamType): Promise<void> {
    for (const { participantId } of this.#state.participants) this.#of(participantId, { audioMuted: true });
  }

  async lock(locked: boolean): Promise<void> {
    this.#change({ locked });
  }

  async endForAll(): Promise<void> {
    this.#close({ code: "MEETING_ENDED", message: "" });
  }

  async admit(participantId?: string): Promise<void> {
    this.#change({
      waiting: this.#state.waiting.filter(
        (w) => participantId !== undefined && w.participantId !== participantId,
      ),
    });
  }

  reject(participantId?: string): Promise<void> {
    return this.admit(participantId);
  }

  async setPreset(_participantId: string, _preset: string): Promise<void> {}

  async renameParticipant(participantId: string, name: string): Promise<void> {
    this.#change({
      participants: this.#state.participants.map((p) =>
        p.participantId === participantId ? { ...p, name } : p,
      ),
    });
  }

  async spotlight(participantId: string, on: boolean): Promise<void> {
    const others = this.#state.spotlight.filter((id) => id !== participantId);
    this.#change({ spotlight: on ? [...others, participantId] : others });
  }

  async lowerHand(participantId?: string): Promise<void> {
    for (const p of this.#state.participants) {
      if (participantId === undefined || p.participantId === participantId)
        this.#of(p.participantId, { handRaised: false });
    }
  }

  async askForStage(): Promise<void> {}
  async leaveStage(): Promise<void> {}
  async approveStage(_participantId: string): Promise<void> {}
  async denyStage(_participantId: string): Promise<void> {}
  async inviteToStage(_participantId: string): Promise<void> {}
  async removeFromStage(_participantId: string): Promise<void> {}

  async sendChat(text: string, to?: string): Promise<number> {
    return this.#say(this.#state.self.participantId, text, to);
  }

  async editChat(messageId: number, text: string): Promise<void> {
    this.#alter(messageId, { text, editedAtMs: Date.now() });
  }

  async deleteChat(messageId: number): Promise<void> {
    this.#alter(messageId, { text: "", deleted: true });
  }

  async pinChat(messageId: number, pinned: boolean): Promise<void> {
    this.#alter(messageId, { pinned });
  }

  async chatHistory(
    query: { before?: number; limit?: number; withParticipantId?: string; pinnedOnly?: boolean } = {},
  ): Promise<{ messages: ChatMessage[]; hasMore: boolean }> {
    return { messages: query.withParticipantId === undefined ? [...this.#chat] : [], hasMore: false };
  }

  async broadcast(_type: string, _payload: Uint8Array, _to?: string[]): Promise<void> {}

  async statistics(): Promise<Statistics> {
    return this.#statistics();
  }

  async leave(): Promise<void> {
    this.#close({ code: "NO_ERROR", message: "" });
  }

  #change(change: Partial<MeetingState>): void {
    this.#state = { ...this.#state, ...change };
    this.#events.emit("stateChanged", this.#state);
  }

  #self(change: Partial<ParticipantState>): void {
    this.#change({ self: { ...this.#state.self, state: { ...this.#state.self.state, ...change } } });
  }

  #of(participantId: string, change: Partial<ParticipantState>): void {
    this.#change({
      participants: this.#state.participants.map((p) =>
        p.participantId === participantId ? { ...p, state: { ...p.state, ...change } } : p,
      ),
    });
  }

  #say(participantId: string, text: string, to?: string): number {
    const author = [this.#state.self, ...this.#state.participants].find(
      (p) => p.participantId === participantId,
    );
    const message: ChatMessage = {
      messageId: this.#chat.length + 1,
      participantId,
      name: author?.name ?? "",
      text,
      sentAtMs: Date.now(),
      pinned: false,
      deleted: false,
      ...(to === undefined ? {} : { toParticipantId: to }),
    };
    this.#chat.push(message);
    this.#events.emit("chatMessage", { message });
    return message.messageId;
  }

  #alter(messageId: number, change: Partial<ChatMessage>): void {
    const index = this.#chat.findIndex((message) => message.messageId === messageId);
    const before = this.#chat[index];
    if (!before) return;
    const message = { ...before, ...change };
    this.#chat[index] = message;
    this.#events.emit("chatMessageUpdated", { message });
  }

  #close(closed: Closed): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#change({ connection: "closed" });
    this.#events.emit("closed", closed);
  }

  #statistics(): Statistics {
    const seconds = (Date.now() - this.#begunAtMs) / 1000;
    const wave = 1 + Math.sin(seconds / 3) * 0.08;
    const of = (
      p: Participant,
      s: StreamDescription,
      direction: StreamStatistics["direction"],
    ): StreamStatistics => ({
      streamId: s.streamId,
      type: s.type,
      direction,
      participantId: p.participantId,
      codec: s.codec,
      layerId: s.type === "audio" ? "" : "mid",
      bitrateBps: (s.type === "audio" ? 31_000 : 480_000) * wave,
      width: s.type === "audio" ? 0 : 640,
      height: s.type === "audio" ? 0 : 360,
      framesPerSecond: s.type === "audio" ? 50 : 29.7,
      frames: Math.round(seconds * 30),
      keyFrames: 3,
      framesDropped: 2,
      loss: 0.002,
      jitterMs: 3.1,
      bufferMs: 42,
      latencyP50Ms: 61,
      latencyP95Ms: 88,
      freezes: 0,
      freezeMs: 0,
      concealedMs: 20,
      underruns: 0,
      ...(s.type === "audio" ? {} : { skewMs: 6 }),
      paused: false,
    });
    return {
      joinMs: 214,
      rttMs: 12,
      downlinkBps: 11_400_000,
      downlinkLoss: 0.001,
      score: 4.3,
      sendBps: 1_240_000 * wave,
      receiveBps: 3_480_000 * wave,
      streams: [
        ...this.#state.self.streams.map((s) => of(this.#state.self, s, "outgoing")),
        ...this.#state.participants.flatMap((p) => p.streams.map((s) => of(p, s, "incoming"))),
      ],
    };
  }
}

function reaction(participantId: string, emoji: string): MeetingEvents["broadcast"] {
  return { participantId, type: "reaction", payload: new TextEncoder().encode(emoji) };
}

export interface Devices {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

function device(kind: MediaDeviceKind, deviceId: string, label: string): MediaDeviceInfo {
  return { kind, deviceId, label, groupId: "", toJSON: () => ({}) };
}

export async function listDevices(): Promise<Devices> {
  return {
    cameras: [device("videoinput", "a", "Built-in camera"), device("videoinput", "b", "Desk camera 4K")],
    microphones: [device("audioinput", "c", "Built-in microphone"), device("audioinput", "d", "Headset")],
    speakers: [device("audiooutput", "e", "Built-in speakers"), device("audiooutput", "f", "Headset")],
  };
}

export function onDevicesChanged(_listener: () => void): () => void {
  return () => undefined;
}

function refuse(kind: string): void {
  const code = parameters().get(kind);
  if (code) throw new MeetingError("device", "Refused by the gallery", { code });
}

function videoOf(canvas: HTMLCanvasElement): MediaStreamTrack {
  const [track] = canvas.captureStream(10).getVideoTracks();
  if (!track) throw new MeetingError("device", "No picture", { code: "NotFoundError" });
  return track;
}

export async function openCamera(
  _options: { deviceId?: string; width?: number; height?: number; framerate?: number } = {},
): Promise<MediaStreamTrack> {
  refuse("camera");
  return videoOf(animated(640, 360, (context, timeMs) => drawPerson(context, 21, timeMs)).canvas);
}

export async function openMicrophone(_options: { deviceId?: string } = {}): Promise<MediaStreamTrack> {
  refuse("microphone");
  const context = new AudioContext();
  const [track] = context.createMediaStreamDestination().stream.getAudioTracks();
  if (!track) throw new MeetingError("device", "No sound", { code: "NotFoundError" });
  return track;
}

export async function openScreen(
  _options: { audio?: boolean; framerate?: number } = {},
): Promise<{ video: MediaStreamTrack; audio?: MediaStreamTrack }> {
  return { video: videoOf(animated(1280, 720, drawSlide).canvas) };
}

export class LevelMeter {
  readonly #timers: ReturnType<typeof setInterval>[] = [];

  on(_name: "level", listener: (dBov: number) => void): () => void {
    const timer = setInterval(() => listener(30 + Math.abs(Math.sin(performance.now() / 260)) * 30), 100);
    this.#timers.push(timer);
    return () => clearInterval(timer);
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }
}

export async function playTestSound(_speakerDeviceId?: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 800));
}

export interface Support {
  supported: boolean;
  missing: string[];
  canShareScreen: boolean;
  canChooseSpeaker: boolean;
  videoCodecs: string[];
}

export async function checkSupport(): Promise<Support> {
  const old = parameters().has("old");
  return {
    supported: !old,
    missing: old ? ["WebTransport", "AudioEncoder"] : [],
    canShareScreen: true,
    canChooseSpeaker: true,
    videoCodecs: ["VP8", "H264"],
  };
}
