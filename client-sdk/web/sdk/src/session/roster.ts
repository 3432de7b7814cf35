/**
 * Who is in the meeting, what they publish, and what this session may do: the server's word, applied event by event.
 * Pure: the same messages give the same state and the same events.
 */

import type { MeetingEvent, MeetingEvents } from "../events.js";
import type {
  Envelope,
  JoinResponse,
  Participant as ParticipantMessage,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { LeaveReason as LeaveReasonMessage } from "../protocol/gen/darktower/v1/signaling_pb.js";
import type {
  ConnectionState,
  LeaveReason,
  MeetingState,
  Participant,
  ParticipantState,
  Rights,
  Stage,
  StreamDescription,
  WaitingParticipant,
} from "../types.js";
import * as convert from "./convert.js";

/** What a message changed. */
export interface Change {
  readonly events: readonly MeetingEvent[];
  /** Of others: nothing will come of them any more. */
  readonly endedStreams: readonly string[];
  /** One's own stream that the server has ended. */
  readonly endedPublication?: string;
}

const NOTHING: Change = { events: [], endedStreams: [] };

function told<K extends keyof MeetingEvents>(name: K, event: MeetingEvents[K]): Change {
  return { events: [{ name, event } as MeetingEvent], endedStreams: [] };
}

export class Roster {
  readonly #meetingId: string;
  #self: Participant;
  #participants = new Map<string, Participant>();
  #displayName = "";
  #connection: ConnectionState = "connected";
  #rights: Rights = convert.NO_RIGHTS;
  #locked = false;
  #spotlight: readonly string[] = [];
  #waiting: readonly WaitingParticipant[] = [];
  #stage: Stage = { onStage: [], asking: [], invited: false };
  #activeSpeakerId: string | undefined;
  #viewerCount = 0;
  #participantCount: number | undefined;
  #snapshot: MeetingState | undefined;

  /** `name` is what the server shows of this participant until it says otherwise. */
  constructor(meetingId: string, name: string, joined: JoinResponse) {
    this.#meetingId = meetingId;
    this.#self = {
      participantId: joined.participantId.toLowerCase(),
      name,
      role: convert.role(joined.role),
      userId: "",
      joinedAtMs: convert.milliseconds(joined.serverTime),
      streams: [],
      state: { audioMuted: false, videoOn: false, screenSharing: false, handRaised: false },
      onStage: false,
      reconnecting: false,
      networkGrade: "notMeasured",
    };
    this.#takeStanding(joined);
    for (const message of joined.existingParticipants) this.#put(message);
  }

  /** Everything as it is now; the same object until something changes. */
  state(): MeetingState {
    this.#snapshot ??= {
      meetingId: this.#meetingId,
      displayName: this.#displayName,
      connection: this.#connection,
      self: this.#self,
      participants: [...this.#participants.values()],
      rights: this.#rights,
      locked: this.#locked,
      spotlight: this.#spotlight,
      waiting: this.#waiting,
      stage: this.#stage,
      ...(this.#activeSpeakerId === undefined ? {} : { activeSpeakerId: this.#activeSpeakerId }),
      viewerCount: this.#viewerCount,
      participantCount: this.#participantCount ?? this.#participants.size + 1,
    };
    return this.#snapshot;
  }

  get ownId(): string {
    return this.#self.participantId;
  }

  get ownState(): ParticipantState {
    return this.#self.state;
  }

  setConnection(connection: ConnectionState): void {
    this.#connection = connection;
    this.#changed();
  }

  /** One of the others' streams, and who publishes it. */
  stream(streamId: string): { participant: Participant; stream: StreamDescription } | undefined {
    for (const participant of this.#participants.values()) {
      const stream = participant.streams.find((stream) => stream.streamId === streamId);
      if (stream) return { participant, stream };
    }
    return undefined;
  }

  /** This participant says something of itself; returns what takes it back, unless the server has said otherwise since. */
  changeOwnState(change: Partial<ParticipantState>): () => void {
    const before = this.#self.state;
    this.#setSelf({ state: { ...before, ...change } });
    return () => {
      const now = this.#self.state;
      const undone: Partial<Record<keyof ParticipantState, boolean>> = {};
      for (const key of Object.keys(change) as (keyof ParticipantState)[]) {
        if (now[key] === change[key]) undone[key] = before[key];
      }
      this.#setSelf({ state: { ...now, ...undone } });
    };
  }

  setOwnStreams(streams: readonly StreamDescription[]): void {
    this.#setSelf({ streams });
  }

  /** Another name than before was taken by the server. */
  setOwnName(name: string): void {
    this.#setSelf({ name });
  }

  /** Takes an event of the server, in order. */
  apply(message: Envelope["message"]): Change {
    switch (message.case) {
      case "participantJoined":
      case "participantUpdated":
        return this.#updated(message.value.participant);
      case "participantLeft":
        return this.#left(
          message.value.participantId.toLowerCase(),
          convert.leaveReason(message.value.reason),
        );
      case "streamPublished":
        return this.#published(message.value.participantId.toLowerCase(), message.value.stream);
      case "streamUnpublished":
        return this.#unpublished(
          message.value.participantId.toLowerCase(),
          message.value.streamId.toLowerCase(),
        );
      case "rightsChanged": {
        this.#rights = convert.rights(message.value.rights);
        // Who waits is not told any more to those who may not admit.
        if (!this.#rights.admit) this.#waiting = [];
        this.#changed();
        return told("rightsChanged", { rights: this.#rights });
      }
      case "activeSpeakerChanged":
        this.#activeSpeakerId = message.value.participantId.toLowerCase();
        this.#changed();
        return told("activeSpeaker", { participantId: this.#activeSpeakerId });
      case "networkQualityChanged": {
        const changes = message.value.participants.map((quality) =>
          this.#graded(
            quality.participantId.toLowerCase(),
            convert.networkGrade(quality.grade),
            quality.score,
          ),
        );
        return { events: changes.flatMap((change) => change.events), endedStreams: [] };
      }
      case "meetingUpdated":
        this.#displayName = message.value.displayName;
        this.#locked = message.value.locked;
        this.#spotlight = ids(message.value.spotlightParticipantIds);
        this.#changed();
        return told("meetingUpdated", {
          displayName: this.#displayName,
          locked: this.#locked,
          spotlight: this.#spotlight,
        });
      case "waitingRoomChanged":
        this.#waiting = message.value.waiting.map(({ participantId, name }) => ({
          participantId: participantId.toLowerCase(),
          name,
        }));
        this.#changed();
        return told("waitingRoomChanged", { waiting: this.#waiting });
      case "stageChanged": {
        const onStage = ids(message.value.participantIds);
        this.#stage = {
          onStage,
          asking: ids(message.value.askingParticipantIds),
          invited: message.value.invited,
        };
        for (const [id, participant] of this.#participants) {
          if (participant.onStage !== onStage.includes(id)) {
            this.#participants.set(id, { ...participant, onStage: onStage.includes(id) });
          }
        }
        this.#setSelf({ onStage: onStage.includes(this.ownId) });
        return told("stageChanged", { stage: this.#stage });
      }
      case "chatMessageSent":
        if (!message.value.message) return NOTHING;
        return told("chatMessage", { message: convert.chatMessage(message.value.message) });
      case "chatMessageUpdated":
        if (!message.value.message) return NOTHING;
        return told("chatMessageUpdated", { message: convert.chatMessage(message.value.message) });
      case "messageBroadcast": {
        const { participantId, type, payload } = message.value;
        return told("broadcast", { participantId: participantId.toLowerCase(), type, payload });
      }
      case "audienceChanged":
        this.#participantCount = message.value.participants;
        this.#viewerCount = message.value.viewers;
        this.#changed();
        return told("audienceChanged", {
          participantCount: message.value.participants,
          viewerCount: message.value.viewers,
        });
      case "goAway":
        return told("goAway", { deadlineMs: message.value.deadlineMs });
      default:
        // Of features that this version does not offer.
        return NOTHING;
    }
  }

  /**
   * Takes everything as the server says that it is now, because events were missed, and says what is different as if
   * events had told of it. What this session has said of itself stays.
   */
  replace(snapshot: JoinResponse): Change {
    const changes: Change[] = [];
    const here = new Set(snapshot.existingParticipants.map((message) => message.participantId.toLowerCase()));
    for (const id of [...this.#participants.keys()]) {
      // Why is not known.
      if (!here.has(id)) changes.push(this.#left(id, convert.leaveReason(LeaveReasonMessage.MOVED)));
    }
    for (const message of snapshot.existingParticipants) changes.push(this.#updated(message));
    const before = this.state();
    this.#takeStanding(snapshot);
    const now = this.state();
    if (!sameData(before.rights, now.rights)) changes.push(told("rightsChanged", { rights: now.rights }));
    const meeting = ({ displayName, locked, spotlight }: MeetingState) => ({
      displayName,
      locked,
      spotlight,
    });
    if (!sameData(meeting(before), meeting(now))) changes.push(told("meetingUpdated", meeting(now)));
    if (before.stage.onStage.length > 0 || before.stage.invited) {
      changes.push(told("stageChanged", { stage: now.stage }));
    }
    if (before.waiting.length > 0) changes.push(told("waitingRoomChanged", { waiting: [] }));
    return {
      events: changes.flatMap((change) => change.events),
      endedStreams: changes.flatMap((change) => change.endedStreams),
    };
  }

  /** What an answer to a join says beside who is there. Who is on the stage, waits and speaks follows in events. */
  #takeStanding(joined: JoinResponse): void {
    this.#displayName = joined.meetingDisplayName;
    this.#rights = convert.rights(joined.rights);
    this.#locked = joined.locked;
    this.#spotlight = ids(joined.spotlightParticipantIds);
    this.#waiting = [];
    this.#stage = { onStage: [], asking: [], invited: false };
    this.#viewerCount = 0;
    this.#participantCount = undefined;
    this.#setSelf({ role: convert.role(joined.role), onStage: false });
  }

  #changed(): void {
    this.#snapshot = undefined;
  }

  #setSelf(change: Partial<Participant>): void {
    this.#self = { ...this.#self, ...change };
    this.#changed();
  }

  #put(message: ParticipantMessage): Participant | undefined {
    const participant = convert.participant(message);
    if (!participant || participant.participantId === this.ownId) return undefined;
    this.#participants.set(participant.participantId, participant);
    this.#changed();
    return participant;
  }

  /**
   * Somebody joined or changed. What is told follows from what was known, so that nobody is seen to join twice, and every
   * stream to be published.
   */
  #updated(message: ParticipantMessage | undefined): Change {
    if (!message) return NOTHING;
    if (message.participantId.toLowerCase() === this.ownId) return this.#selfUpdated(message);
    const known = this.#participants.get(message.participantId.toLowerCase());
    const participant = this.#put(message);
    if (!participant) return NOTHING;
    if (known && sameData(known, participant)) return NOTHING;
    const before = known?.streams ?? [];
    const isNew = (stream: StreamDescription) => !before.some((other) => sameData(other, stream));
    const isGone = ({ streamId }: StreamDescription) =>
      !participant.streams.some((other) => other.streamId === streamId);
    const gone = before.filter(isGone);
    const { participantId } = participant;
    return {
      events: [
        ...told(known ? "participantUpdated" : "participantJoined", { participant }).events,
        ...gone.flatMap((stream) => told("streamUnpublished", { participantId, stream }).events),
        ...participant.streams
          .filter(isNew)
          .flatMap((stream) => told("streamPublished", { participant, stream }).events),
      ],
      endedStreams: gone.map((stream) => stream.streamId),
    };
  }

  #selfUpdated(message: ParticipantMessage): Change {
    const participant = convert.participant(message);
    if (!participant) return NOTHING;
    const { name, role, state, onStage, userId } = participant;
    this.#setSelf({ name, role, state, onStage, userId });
    return told("selfUpdated", { participant: this.#self });
  }

  #left(participantId: string, reason: LeaveReason): Change {
    const participant = this.#participants.get(participantId);
    if (!participant) return NOTHING;
    this.#participants.delete(participantId);
    if (this.#activeSpeakerId === participantId) this.#activeSpeakerId = undefined;
    this.#changed();
    return {
      ...told("participantLeft", { participant, reason }),
      endedStreams: participant.streams.map((stream) => stream.streamId),
    };
  }

  #published(
    participantId: string,
    message: Parameters<typeof convert.streamDescription>[0] | undefined,
  ): Change {
    const known = this.#participants.get(participantId);
    const stream = message && convert.streamDescription(message);
    if (!known || !stream) return NOTHING;
    const before = known.streams.find((other) => other.streamId === stream.streamId);
    if (before && sameData(before, stream)) return NOTHING;
    const participant = {
      ...known,
      streams: [...known.streams.filter((other) => other.streamId !== stream.streamId), stream],
    };
    this.#participants.set(participantId, participant);
    this.#changed();
    return told("streamPublished", { participant, stream });
  }

  #unpublished(participantId: string, streamId: string): Change {
    if (participantId === this.ownId) {
      const stream = this.#self.streams.find((stream) => stream.streamId === streamId);
      this.#setSelf({ streams: this.#self.streams.filter((stream) => stream.streamId !== streamId) });
      const change = stream ? told("streamUnpublished", { participantId, stream }) : NOTHING;
      return { ...change, endedPublication: streamId };
    }
    const known = this.#participants.get(participantId);
    const stream = known?.streams.find((stream) => stream.streamId === streamId);
    if (!known || !stream) return NOTHING;
    this.#participants.set(participantId, {
      ...known,
      streams: known.streams.filter((other) => other.streamId !== streamId),
    });
    this.#changed();
    return { ...told("streamUnpublished", { participantId, stream }), endedStreams: [streamId] };
  }

  #graded(participantId: string, grade: Participant["networkGrade"], score: number): Change {
    if (participantId === this.ownId) {
      this.#setSelf({ networkGrade: grade });
      // What everybody is told of it has no score; that comes beside it.
      if (score === 0) return NOTHING;
      return told("networkQuality", { participantId, grade, score });
    }
    const known = this.#participants.get(participantId);
    if (!known) return NOTHING;
    this.#participants.set(participantId, { ...known, networkGrade: grade });
    this.#changed();
    return told("networkQuality", { participantId, grade });
  }
}

function ids(texts: readonly string[]): string[] {
  return texts.map((text) => text.toLowerCase());
}

/** Of plain data. */
function sameData(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
