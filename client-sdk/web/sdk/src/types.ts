/**
 * What applications see of a meeting: plain data, the same nouns as the Rust SDK. Everything here can be cloned
 * between threads, and is a copy: changing it changes nothing in the meeting.
 */

/** What a stream carries. */
export type StreamType = "audio" | "camera" | "screen";

/** One encoding of a stream (docs/protocol.md 4.3). */
export interface Layer {
  /** Empty for the only layer of a stream without simulcast. */
  readonly layerId: string;
  /** What unit headers of this layer carry. */
  readonly wireStreamId: string;
  /** Pixels; 0 if not declared, and for audio. */
  readonly width: number;
  readonly height: number;
  /** bit/s; 0 if not declared. */
  readonly maxBitrateBps: number;
}

/** A published stream. */
export interface StreamDescription {
  readonly streamId: string;
  readonly type: StreamType;
  /** `VP8`, `VP9`, `AV1`, `H264` or `Opus`, as the publisher spelled it. */
  readonly codec: string;
  /** bit/s of all layers together; 0 if not declared. */
  readonly maxBitrateBps: number;
  /** Pixels and frames per second of the best layer; absent for audio. */
  readonly video?: { readonly width: number; readonly height: number; readonly framerate: number };
  /** Hz and channels; absent for video. */
  readonly audio?: { readonly sampleRate: number; readonly channels: number };
  /** At least one; from the lowest to the highest. */
  readonly layers: readonly Layer[];
}

/** What a participant says of itself, and what hosts changed of it. */
export interface ParticipantState {
  /** Enforced by the server: audio of a muted participant is not forwarded. */
  readonly audioMuted: boolean;
  readonly videoOn: boolean;
  readonly screenSharing: boolean;
  readonly handRaised: boolean;
}

/** How well the network of a participant carries calls (docs/protocol.md 5.13). */
export type NetworkGrade = "notMeasured" | "excellent" | "good" | "fair" | "poor";

export type Role = "participant" | "host";

/** Somebody in the meeting. */
export interface Participant {
  readonly participantId: string;
  readonly name: string;
  readonly role: Role;
  /** Of the application; empty for guests. */
  readonly userId: string;
  /** Milliseconds since the Unix epoch. */
  readonly joinedAtMs: number;
  readonly streams: readonly StreamDescription[];
  readonly state: ParticipantState;
  /** Whether it was let on the stage. */
  readonly onStage: boolean;
  /** Nothing is heard of it, and it may come back. */
  readonly reconnecting: boolean;
  readonly networkGrade: NetworkGrade;
}

/** Whether a kind of media may be sent. */
export type Produce = "notAllowed" | "allowed" | "canRequest";

/** What this participant may do; from its preset. */
export interface Rights {
  readonly preset: string;
  readonly audio: Produce;
  readonly camera: Produce;
  readonly screen: Produce;
  readonly chatPublic: boolean;
  readonly chatPrivate: boolean;
  readonly kick: boolean;
  readonly muteAudio: boolean;
  readonly disableCamera: boolean;
  readonly disableScreen: boolean;
  readonly admit: boolean;
  readonly manageStage: boolean;
  readonly spotlight: boolean;
  readonly setPreset: boolean;
  readonly renameSelf: boolean;
  readonly participantList: boolean;
  /** Lock, end and rename: hosts. */
  readonly runMeeting: boolean;
  readonly maxVideoStreams: number;
}

/** One message of the chat. Text is text: never show it as markup. */
export interface ChatMessage {
  /** Counts from 1 in a meeting. */
  readonly messageId: number;
  readonly participantId: string;
  /** The author's name when it was written. */
  readonly name: string;
  /** Empty once it is deleted. */
  readonly text: string;
  /** Absent: to everybody. */
  readonly toParticipantId?: string;
  /** Milliseconds since the Unix epoch. */
  readonly sentAtMs: number;
  readonly editedAtMs?: number;
  readonly pinned: boolean;
  readonly deleted: boolean;
}

/** Somebody who waits to be let in. */
export interface WaitingParticipant {
  readonly participantId: string;
  readonly name: string;
}

/** Who is on the stage of a webinar, and who wants to be. */
export interface Stage {
  readonly onStage: readonly string[];
  /** Told to those who may approve. */
  readonly asking: readonly string[];
  /** This participant is invited: `askForStage` takes it there. */
  readonly invited: boolean;
}

export type LeaveReason =
  | "voluntary"
  | "kicked"
  | "connectionLost"
  | "meetingEnded"
  | "rejected"
  | "duplicate"
  | "timeout"
  | "moved";

/** What a connection of a meeting is doing. */
export type ConnectionState = "connected" | "reconnecting" | "closed";

/** Everything about the meeting that lasts. A new object whenever something in it changes. */
export interface MeetingState {
  readonly meetingId: string;
  /** The meeting's name for people; may be empty. */
  readonly displayName: string;
  readonly connection: ConnectionState;
  /** This session's own participant. */
  readonly self: Participant;
  /** The others, in the order of their coming, as far as this participant sees them. */
  readonly participants: readonly Participant[];
  readonly rights: Rights;
  readonly locked: boolean;
  /** Who is shown large to everybody. */
  readonly spotlight: readonly string[];
  /** Who waits to be let in; told to those who may admit. */
  readonly waiting: readonly WaitingParticipant[];
  readonly stage: Stage;
  /** Who speaks; stays when it falls silent. */
  readonly activeSpeakerId?: string;
  /** How many of the participants only watch. */
  readonly viewerCount: number;
  /** Everybody but hidden ones, if the server has told it. */
  readonly participantCount: number;
}

/** What a subscriber wishes. Asking again replaces the wishes. */
export interface SubscribeOptions {
  /** Simulcast layer; absent = the best within `maxBitrateBps`. */
  readonly preferredLayer?: string;
  /** bit/s; absent or 0 = no limit. */
  readonly maxBitrateBps?: number;
}

/** What the server is to subscribe to (docs/protocol.md 5.12). */
export interface AutoOptions {
  /** Absent = all. */
  readonly types?: readonly StreamType[];
  /** Most video at one time; absent = as much as the rights allow. */
  readonly maxVideoStreams?: number;
  /** Wishes for cameras. */
  readonly cameras?: SubscribeOptions;
  /** Whose video comes first, at most 64. */
  readonly pinned?: readonly string[];
}

/** Figures of one stream that is sent or received; of the last two seconds, or counted from its beginning. */
export interface StreamStatistics {
  readonly streamId: string;
  readonly type: StreamType;
  readonly direction: "outgoing" | "incoming";
  readonly participantId: string;
  readonly codec: string;
  /** The layer that arrives, or is sent; empty without simulcast. */
  readonly layerId: string;
  readonly bitrateBps: number;
  /** Pixels; 0 for audio. */
  readonly width: number;
  readonly height: number;
  /** Encoded, or drawn. */
  readonly framesPerSecond: number;
  /** Since the beginning: frames sent, or drawn or played. */
  readonly frames: number;
  readonly keyFrames: number;
  /** Frames that were not sent, or not shown, to keep up. */
  readonly framesDropped: number;
  /** Units that did not come, 0 to 1, of the last seconds. Incoming only. */
  readonly loss: number;
  /** RFC 3550, milliseconds. Incoming only. */
  readonly jitterMs: number;
  /** What waits to be played or shown, milliseconds. Incoming only. */
  readonly bufferMs: number;
  /** Capture to draw or sound, milliseconds, by the clock of the server; of the last seconds. Incoming only. */
  readonly latencyP50Ms: number;
  readonly latencyP95Ms: number;
  /** Pictures that stood still: longer than three frames take, and than one and 150 ms. And for how long. Incoming video only. */
  readonly freezes: number;
  readonly freezeMs: number;
  /** Audio that had to be made up, and how often there was none. Incoming audio only. */
  readonly concealedMs: number;
  readonly underruns: number;
  /** Picture later than sound (negative: earlier), milliseconds. Incoming video with audio only. */
  readonly skewMs?: number;
  /** Nobody watches this layer, so nothing is sent. Outgoing only. */
  readonly paused: boolean;
}

/** Figures of a meeting. */
export interface Statistics {
  /** From the call of `Meeting.join` until it was joined, without the waiting room. */
  readonly joinMs: number;
  /** Round-trip time of the media connection; 0 if not measured yet. */
  readonly rttMs: number;
  /** What the way to this participant seems to carry, bit/s, as the server says; 0 if not known. */
  readonly downlinkBps: number;
  /** Share of packets that are lost on that way, 0 to 1. */
  readonly downlinkLoss: number;
  /** Mean opinion score, 1 to 4.5, of this participant's network; 0 if not known. */
  readonly score: number;
  /** All streams together, bit/s. */
  readonly sendBps: number;
  readonly receiveBps: number;
  readonly streams: readonly StreamStatistics[];
}
