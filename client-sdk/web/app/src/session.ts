/** The meeting one is in, as signals: what the screens show, and what they can do. */

import type {
  ChatMessage,
  Closed,
  Meeting,
  MeetingState,
  Participant,
  ParticipantState,
  Statistics,
  StreamType,
} from "@darktower/client";
import {
  batch,
  computed,
  effect,
  type ReadonlySignal,
  type Signal,
  signal,
  untracked,
} from "@preact/signals";
import { hasAudience, type MeetingLink } from "./api.js";
import { type ConversationId, EVERYONE } from "./chat.js";
import type { DeviceKind, LocalMedia } from "./local-media.js";
import type { NewNotice } from "./notices.js";
import { type Own, OwnState, ownOf } from "./own-state.js";
import { preferences, remember } from "./preferences.js";
import { ScreenShare } from "./screen-share.js";
import { SessionChat } from "./session-chat.js";
import { Sender } from "./session-media.js";
import { Speaking } from "./stage/speaking.js";
import { Subscriptions } from "./stage/subscriptions.js";
import { type ViewMode, withSpeaker } from "./stage/who-is-shown.js";
import { isOver, Telling } from "./telling.js";
import { text } from "./text.js";

export type Panel = "chat" | "people";

/** An emoji that floats over a tile for a while. */
export interface Reaction {
  readonly id: number;
  readonly participantId: string;
  readonly name: string;
  readonly emoji: string;
  /** Where over the tile, 0 to 1, so that several do not hide each other. */
  readonly offset: number;
}

export const REACTIONS = ["👍", "👏", "❤️", "😂", "🎉", "😮", "🤔", "👋"] as const;

const REACTION_LASTS_MS = 3500;
/** Bytes of a reaction that everybody may send (docs/protocol.md 5.10). */
const REACTION_BYTES = 64;
/** With more people than this, nobody wants to know of each one who comes and goes. */
const CROWD = 30;

export class Session {
  readonly meeting: Meeting;
  readonly link: MeetingLink;
  readonly media: LocalMedia;

  readonly state: Signal<MeetingState>;
  readonly self: ReadonlySignal<Participant>;
  readonly rights: ReadonlySignal<MeetingState["rights"]>;
  readonly closed = signal<Closed | undefined>(undefined);
  readonly telling = new Telling();
  readonly chat: SessionChat;
  readonly reactions = signal<readonly Reaction[]>([]);
  readonly statistics = signal<Statistics | undefined>(undefined);
  /** Ids of the video streams of which pictures come right now. */
  readonly #flowing = signal<ReadonlySet<string>>(new Set());
  readonly speaking = signal<ReadonlySet<string>>(new Set());
  /** The latest first. */
  readonly recentSpeakers = signal<readonly string[]>([]);
  readonly audioBlocked = signal(false);
  readonly screen: ScreenShare;
  /** Held Space: heard for as long. */
  readonly talking = signal(false);
  readonly askedForStage = signal(false);

  readonly panel = signal<Panel | undefined>(undefined);
  readonly view: Signal<ViewMode>;
  /** Keys of pinned tiles. */
  readonly pins = signal<readonly string[]>([]);
  readonly page = signal(0);
  readonly volumes = signal<ReadonlyMap<string, number>>(new Map());

  readonly subscriptions: Subscriptions;

  readonly #senders: Readonly<Record<DeviceKind, Sender>>;
  /** What is to be sent of each device now; undefined: nothing. Computed, so that it is news only when it changes. */
  readonly #toSend: Readonly<Record<DeviceKind, ReadonlySignal<MediaStreamTrack | undefined>>>;
  readonly #own: OwnState;
  /** Who has ever said that its camera is on, and so can be believed when it says that it is off. */
  readonly #tellsOfCamera = new Set<string>();
  readonly #speaking = new Speaking();
  readonly #off: (() => void)[] = [];
  #nextReaction = 1;

  constructor(meeting: Meeting, link: MeetingLink, media: LocalMedia) {
    this.meeting = meeting;
    this.link = link;
    this.media = media;
    this.state = signal(meeting.state);
    this.self = computed(() => this.state.value.self);
    this.rights = computed(() => this.state.value.rights);
    this.view = signal(preferences.peek().view);
    this.chat = new SessionChat(meeting, this.telling, () => this.self.peek().participantId);
    this.subscriptions = new Subscriptions(meeting);
    this.#own = new OwnState(ownOf(meeting.state.self));
    this.#senders = {
      camera: new Sender(meeting, { type: "camera" }, false),
      microphone: new Sender(meeting, { type: "audio" }, false),
    };
    const toSend = (kind: DeviceKind, type: StreamType) =>
      computed(() => {
        const { on, track } = media[kind];
        return on.value && this.maySend(type) ? track.value : undefined;
      });
    this.#toSend = { camera: toSend("camera", "camera"), microphone: toSend("microphone", "audio") };
    this.screen = new ScreenShare(meeting, {
      telling: this.telling,
      maySend: (type) => this.maySend(type),
      tell: (change) => this.#tell(change),
    });
    this.#noteCameras(meeting.state);
    this.#listen();
    this.#send();
    void this.telling.attempt(meeting.subscribeAuto({ types: ["audio"] }));
    const { speakerId } = preferences.peek();
    // The speaker that was chosen before may be gone: then the default plays.
    if (speakerId !== "") void meeting.setSpeaker(speakerId).catch(() => undefined);
    void this.chat.load(EVERYONE);
  }

  /** Whether most people only watch, and some are on a stage. */
  get hasAudience(): boolean {
    return hasAudience(this.link);
  }

  // Telling the user

  notice(notice: NewNotice): void {
    this.telling.notice(notice);
  }

  // Sound and pictures

  /** Follows camera and microphone for as long as the meeting lasts. */
  #send(): void {
    const { camera, microphone } = this.media;
    // Rights are told again and again: only that they change matters.
    const maySpeak = computed(() => this.maySend("audio"));
    const mayShow = computed(() => this.maySend("camera"));
    this.#off.push(
      // Who may not send needs no camera that runs, and is not on the air by surprise when that changes.
      effect(() => {
        if (!maySpeak.value) void untracked(() => this.media.set("microphone", false));
      }),
      effect(() => {
        if (!mayShow.value) void untracked(() => this.media.set("camera", false));
      }),
      this.#toSend.microphone.subscribe((track) => void this.#sendDevice("microphone", track)),
      this.#toSend.camera.subscribe((track) => void this.#sendDevice("camera", track)),
    );
    const lost = (kind: "camera" | "microphone") => () => {
      if (kind === "microphone") this.talking.value = false;
      this.notice({ text: text.devices.unplugged(kind), tone: "warning" });
    };
    camera.onLost = lost("camera");
    microphone.onLost = lost("microphone");
    const ended = (kind: DeviceKind) => (reason: string) => {
      // A device that was unplugged is off by now, and that was told.
      if (!this.media[kind].on.peek() || this.closed.peek()) return;
      if (kind === "microphone") this.talking.value = false;
      this.notice({ text: text.notices.sendingEnded(kind, reason), tone: "warning" });
      void this.media.set(kind, false);
    };
    this.#senders.camera.onEnded = ended("camera");
    this.#senders.microphone.onEnded = ended("microphone");
  }

  /** Sends it, or nothing. A device of which nothing can be sent is turned off: nobody is to believe that it is on. */
  async #sendDevice(kind: DeviceKind, track: MediaStreamTrack | undefined): Promise<void> {
    try {
      await this.#senders[kind].set(track, track !== undefined);
    } catch (error) {
      if (isOver(error)) return;
      this.telling.failed(error);
      if (kind === "microphone") this.talking.value = false;
      await this.media.set(kind, false);
    }
    // What is wished by now: others may have turned it off meanwhile.
    await this.#tell(this.#deviceState(kind));
  }

  #deviceState(kind: DeviceKind): Partial<ParticipantState> {
    const on = this.#toSend[kind].peek() !== undefined;
    return kind === "camera" ? { videoOn: on } : { audioMuted: !on };
  }

  /** Tells the others, if it is news. */
  async #tell(change: Partial<ParticipantState>): Promise<void> {
    if (this.closed.peek() || !this.#own.isNews(change)) return;
    await this.#change(change, this.meeting.setState(change));
  }

  /** Waits for a change of one's own, and sees to what others have changed meanwhile. True if it was made. */
  async #change(change: Partial<Own>, request: Promise<unknown>): Promise<boolean> {
    this.#own.begin(change);
    const done = await this.telling.attempt(request);
    this.#othersDid(this.#own.settle(change, done, ownOf(this.meeting.state.self)));
    return done;
  }

  /** Whether a kind of media may be sent now. */
  maySend(type: StreamType): boolean {
    const produce = this.rights.value[type];
    if (produce === "allowed") return true;
    const { self, stage } = this.state.value;
    return produce === "canRequest" && (self.onStage || stage.onStage.includes(self.participantId));
  }

  async toggleMicrophone(): Promise<void> {
    if (!this.maySend("audio")) return this.notice({ text: text.controls.notAllowed });
    const { microphone } = this.media;
    const on = !microphone.on.peek();
    this.talking.value = false;
    remember({ microphoneOn: on });
    await this.media.set("microphone", on);
    const problem = microphone.problem.peek();
    if (problem !== undefined) this.#deviceNotice("microphone", problem);
    else
      this.telling.announcement.value = microphone.on.peek()
        ? text.announced.microphoneOn
        : text.announced.muted;
  }

  /** From a notice, which may be older than what was done since. */
  #unmute(): void {
    if (!this.media.microphone.on.peek()) void this.toggleMicrophone();
  }

  async toggleCamera(): Promise<void> {
    if (!this.maySend("camera")) return this.notice({ text: text.controls.notAllowed });
    const { camera } = this.media;
    const on = !camera.on.peek();
    remember({ cameraOn: on });
    await this.media.set("camera", on);
    const problem = camera.problem.peek();
    if (problem !== undefined) this.#deviceNotice("camera", problem);
    else
      this.telling.announcement.value = camera.on.peek() ? text.announced.cameraOn : text.announced.cameraOff;
  }

  #deviceNotice(kind: "camera" | "microphone", code: string): void {
    const problem = text.devices.problem(kind, code);
    this.notice({ text: `${problem.title}. ${problem.text}`, tone: "warning", lastsMs: 12_000 });
  }

  /** Space is held, or let go. */
  async talk(held: boolean): Promise<void> {
    const { microphone } = this.media;
    if (held && microphone.on.peek()) return;
    if (held && !this.maySend("audio")) return;
    if (held) {
      this.talking.value = true;
      await this.media.set("microphone", true);
      const problem = microphone.problem.peek();
      if (!microphone.on.peek()) this.talking.value = false;
      if (problem !== undefined) this.#deviceNotice("microphone", problem);
      // Let go while the microphone was being opened.
      else if (!this.talking.peek()) await this.media.set("microphone", false);
    } else if (this.talking.peek()) {
      this.talking.value = false;
      await this.media.set("microphone", false);
    }
  }

  async chooseSpeaker(deviceId: string): Promise<void> {
    if (await this.telling.attempt(this.meeting.setSpeaker(deviceId))) remember({ speakerId: deviceId });
  }

  setVolume(participantId: string, gain: number): void {
    this.volumes.value = new Map(this.volumes.peek()).set(participantId, gain);
    void this.telling.attempt(this.meeting.setVolume(participantId, gain));
  }

  resumeAudio(): Promise<boolean> {
    return this.telling.attempt(this.meeting.resumeAudio());
  }

  #noteCameras(state: MeetingState): void {
    for (const { participantId, state: own } of state.participants) {
      if (own.videoOn) this.#tellsOfCamera.add(participantId);
    }
  }

  /** Whether a camera stream is worth asking for: simple clients publish one and say nothing of it. */
  mayHavePicture(person: Participant): boolean {
    return person.state.videoOn || !this.#tellsOfCamera.has(person.participantId);
  }

  /** Whether there is a picture to be shown, or will be at once. */
  hasPicture(person: Participant, streamId: string): boolean {
    if (person.state.videoOn) return true;
    return this.mayHavePicture(person) && this.#flowing.value.has(streamId);
  }

  // What is shown

  setView(view: ViewMode): void {
    batch(() => {
      this.view.value = view;
      this.page.value = 0;
      this.pins.value = [];
    });
    remember({ view });
  }

  togglePin(key: string): void {
    const pins = this.pins.peek();
    this.pins.value = pins.includes(key) ? pins.filter((other) => other !== key) : [...pins, key];
  }

  togglePanel(panel: Panel): void {
    this.#showPanel(this.panel.peek() === panel ? undefined : panel);
  }

  closePanel(): void {
    this.#showPanel(undefined);
  }

  #showPanel(panel: Panel | undefined): void {
    batch(() => {
      this.panel.value = panel;
      this.chat.show(panel === "chat" ? (this.chat.state.peek().open ?? EVERYONE) : undefined);
    });
  }

  // Oneself and others

  async toggleHand(): Promise<void> {
    const raised = !this.self.peek().state.handRaised;
    if (await this.#change({ handRaised: raised }, this.meeting.raiseHand(raised))) {
      this.telling.announcement.value = raised ? text.announced.handRaised : text.announced.handLowered;
    }
  }

  async react(emoji: string): Promise<void> {
    this.#showReaction(this.self.peek().participantId, emoji);
    await this.telling.attempt(this.meeting.broadcast("reaction", new TextEncoder().encode(emoji)));
  }

  async rename(name: string): Promise<boolean> {
    const renamed = await this.#change({ name }, this.meeting.rename(name));
    if (renamed) remember({ name });
    return renamed;
  }

  /** Any other request: refusals are told to the user. */
  request(ask: (meeting: Meeting) => Promise<unknown>): Promise<boolean> {
    return this.telling.attempt(ask(this.meeting));
  }

  async askForStage(): Promise<void> {
    if (await this.telling.attempt(this.meeting.askForStage())) this.askedForStage.value = true;
  }

  nameOf(participantId: string): string {
    const { self, participants } = this.state.value;
    if (participantId === self.participantId) return self.name;
    return participants.find((p) => p.participantId === participantId)?.name ?? "";
  }

  // Chat

  openConversation(id: ConversationId): void {
    batch(() => {
      this.panel.value = "chat";
      this.chat.show(id);
    });
  }

  // Leaving

  async leave(): Promise<void> {
    try {
      await this.meeting.leave();
    } catch {
      // The connection is gone: for the others this participant leaves when its time is over.
    }
    this.#close({ code: "NO_ERROR", message: "" });
  }

  endForAll(): Promise<boolean> {
    return this.telling.attempt(this.meeting.endForAll());
  }

  #close(closed: Closed): void {
    if (this.closed.peek()) return;
    this.closed.value = closed;
    for (const off of this.#off) off();
    this.telling.close();
    this.screen.close();
    void this.subscriptions.close();
  }

  // Events

  #listen(): void {
    const { meeting } = this;
    const on: Meeting["on"] = (name, listener) => {
      const off = meeting.on(name, listener);
      this.#off.push(off);
      return off;
    };
    on("stateChanged", (state) => {
      this.#noteCameras(state);
      this.state.value = state;
    });
    on("closed", (closed) => this.#close(closed));
    on("audioLevels", (levels) => {
      this.speaking.value = this.#speaking.update(levels, performance.now());
    });
    on("activeSpeaker", ({ participantId }) => {
      this.recentSpeakers.value = withSpeaker(this.recentSpeakers.peek(), participantId);
    });
    on("statistics", (statistics) => {
      this.statistics.value = statistics;
      const now = flowingOf(statistics);
      const before = this.#flowing.peek();
      if (now.size !== before.size || [...now].some((id) => !before.has(id))) this.#flowing.value = now;
    });
    on("audioBlocked", ({ blocked }) => {
      this.audioBlocked.value = blocked;
    });
    on("participantJoined", ({ participant }) => {
      if (meeting.state.participants.length > CROWD) return;
      this.telling.person("joined", participant.name, text.notices.joined);
    });
    on("participantLeft", ({ participant, reason }) => {
      if (reason === "duplicate" || reason === "moved" || meeting.state.participants.length > CROWD) return;
      this.telling.person("left", participant.name, text.notices.left);
    });
    on("streamPublished", ({ participant, stream }) => {
      if (stream.type === "screen" && participant.participantId !== this.self.peek().participantId) {
        this.telling.announcement.value = text.notices.shares(participant.name);
      }
    });
    on("chatMessage", ({ message }) => this.#chatMessage(message));
    on("chatMessageUpdated", ({ message }) => this.chat.updated(message));
    on("broadcast", ({ participantId, type, payload }) => {
      if (type !== "reaction" || payload.byteLength > REACTION_BYTES) return;
      const emoji = new TextDecoder().decode(payload).trim();
      // One picture, not a sentence.
      const [first] = new Intl.Segmenter().segment(emoji);
      if (first && /\p{Extended_Pictographic}/u.test(first.segment))
        this.#showReaction(participantId, first.segment);
    });
    on("reconnected", ({ rejoined }) => {
      this.notice({ text: text.notices.reconnected, tone: "good", lastsMs: 3000 });
      void this.subscriptions.again();
      void this.chat.catchUp();
      if (!rejoined) return;
      // In the new place nobody has been asked.
      this.askedForStage.value = false;
      void this.#tell(this.#wishedState());
    });
    // Who is denied the stage is told so by an event that looks like any other of the stage: asking again does no harm.
    on("stageChanged", () => {
      this.askedForStage.value = false;
    });
    on("goAway", () => this.notice({ text: text.notices.goAway, tone: "warning", lastsMs: 10_000 }));
    on("mediaRefused", ({ message }) =>
      this.notice({ text: message || text.notices.mediaRefused, tone: "warning" }),
    );
    this.#watch();
  }

  #wishedState(): Partial<ParticipantState> {
    return {
      ...this.#deviceState("microphone"),
      ...this.#deviceState("camera"),
      screenSharing: this.screen.on.peek(),
    };
  }

  /** Compares each state with the one before: what others did, and what is worth a notice. */
  #watch(): void {
    let before = this.meeting.state;
    const off = this.meeting.on("stateChanged", (state) => {
      const was = before;
      before = state;
      this.#othersDid(this.#own.heard(ownOf(state.self)));
      if (was.locked !== state.locked) {
        this.notice({ text: state.locked ? text.notices.locked : text.notices.unlocked });
      }
      const hands = new Set(was.participants.filter((p) => p.state.handRaised).map((p) => p.participantId));
      for (const p of state.participants) {
        if (p.state.handRaised && !hands.has(p.participantId)) {
          this.telling.person("hand", p.name, text.notices.handRaised);
        }
      }
      const onStage = (s: MeetingState) => s.stage.onStage.includes(s.self.participantId);
      if (onStage(was) !== onStage(state)) {
        this.askedForStage.value = false;
        this.notice(
          onStage(state)
            ? {
                text: text.notices.onStage,
                lastsMs: 10_000,
                action: { label: text.notices.unmute, run: () => this.#unmute() },
              }
            : { text: text.notices.offStage },
        );
      }
      if (!was.rights.runMeeting && state.rights.runMeeting) this.notice({ text: text.notices.hostNow });
      const waited = new Set(was.waiting.map((w) => w.participantId));
      const fresh = state.waiting.filter((w) => !waited.has(w.participantId)).map((w) => w.name);
      if (fresh.length > 0) this.telling.announcement.value = text.notices.waiting(fresh);
    });
    this.#off.push(off);
  }

  #othersDid(change: Partial<Own>): void {
    if (this.closed.peek()) return;
    const { microphone, camera } = this.media;
    if (change.audioMuted === true && microphone.on.peek()) {
      this.talking.value = false;
      void this.media.set("microphone", false);
      this.notice({
        text: text.notices.mutedByHost,
        tone: "warning",
        lastsMs: 8000,
        action: { label: text.notices.unmute, run: () => this.#unmute() },
      });
    }
    if (change.videoOn === false && camera.on.peek()) {
      void this.media.set("camera", false);
      this.notice({ text: text.notices.cameraStoppedByHost, tone: "warning", lastsMs: 8000 });
    }
    if (change.handRaised === false) this.notice({ text: text.notices.handLowered });
    if (change.name !== undefined) this.notice({ text: text.notices.renamed(change.name) });
  }

  #chatMessage(message: ChatMessage): void {
    const id = this.chat.received(message);
    if (id === undefined) return;
    const say = id === EVERYONE ? text.notices.message : text.notices.privateMessage;
    const short = message.text.length > 90 ? `${message.text.slice(0, 88)}…` : message.text;
    this.notice({
      text: say(message.name, short),
      action: { label: text.notices.open, run: () => this.openConversation(id) },
    });
  }

  #showReaction(participantId: string, emoji: string): void {
    const id = this.#nextReaction++;
    const reaction: Reaction = {
      id,
      participantId,
      name: this.nameOf(participantId),
      emoji,
      offset: ((id * 7) % 10) / 10,
    };
    // A storm of them is cut: the newest are seen.
    this.reactions.value = [...this.reactions.peek(), reaction].slice(-30);
    setTimeout(() => {
      this.reactions.value = this.reactions.peek().filter((other) => other.id !== id);
    }, REACTION_LASTS_MS);
  }
}

/** Streams of which pictures were drawn in the last seconds. */
function flowingOf(statistics: Statistics): ReadonlySet<string> {
  return new Set(
    statistics.streams
      .filter(
        (stream) => stream.direction === "incoming" && stream.type !== "audio" && stream.framesPerSecond > 0,
      )
      .map((stream) => stream.streamId),
  );
}
