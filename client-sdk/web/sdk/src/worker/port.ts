/** What window and worker say to each other. Calls are answered; everything else is told. */

import type { ClockSample } from "../audio.js";
import type { ErrorData } from "../error.js";
import type { MeetingEvent } from "../events.js";
import type {
  AutoOptions,
  ChatMessage,
  MeetingState,
  ParticipantState,
  Statistics,
  StreamDescription,
  StreamType,
  SubscribeOptions,
} from "../types.js";

/** Where and as whom to join; from the API. */
export interface JoinParameters {
  readonly meetingId: string;
  readonly url: string;
  readonly certificateHashes: readonly Uint8Array<ArrayBuffer>[];
  readonly joinToken: string;
  /** Empty: that of the token. */
  readonly name: string;
  /** Shown until the server says otherwise. */
  readonly shownName: string;
  readonly mobile: boolean;
  readonly videoCodecs: readonly string[];
  readonly timeoutMs: number;
  readonly reconnectForMs: number;
}

export interface Joined {
  readonly state: MeetingState;
  readonly joinMs: number;
}

/** A request of signaling that is answered by yes or no; empty ids mean what docs/protocol.md 5.5 says. */
export type Command =
  | { readonly do: "setState"; readonly change: Partial<ParticipantState> }
  | { readonly do: "rename"; readonly participantId: string; readonly name: string }
  | { readonly do: "kick"; readonly participantId: string }
  | { readonly do: "mute"; readonly participantId: string; readonly type: StreamType }
  | { readonly do: "lock"; readonly locked: boolean }
  | { readonly do: "end" }
  | { readonly do: "admit"; readonly participantId: string; readonly admit: boolean }
  | { readonly do: "setPreset"; readonly participantId: string; readonly preset: string }
  | { readonly do: "spotlight"; readonly participantId: string; readonly on: boolean }
  | { readonly do: "lowerHands"; readonly participantId: string }
  | { readonly do: "stage"; readonly action: StageAction; readonly participantId: string }
  | { readonly do: "sendChat"; readonly text: string; readonly toParticipantId: string }
  | { readonly do: "editChat"; readonly messageId: number; readonly text: string }
  | { readonly do: "deleteChat"; readonly messageId: number }
  | { readonly do: "pinChat"; readonly messageId: number; readonly pinned: boolean }
  | {
      readonly do: "broadcast";
      readonly type: string;
      readonly payload: Uint8Array;
      readonly toParticipantIds: readonly string[];
    };

export type StageAction = "ask" | "leave" | "approve" | "deny" | "invite" | "remove";

export interface ChatQuery {
  /** Messages before this one; absent = the latest. */
  readonly before?: number;
  /** At most 200; absent = 50. */
  readonly limit?: number;
  /** Those between this participant and oneself; absent = those to everybody. */
  readonly withParticipantId?: string;
  readonly pinnedOnly?: boolean;
}

export interface ChatHistory {
  /** In the order in which they were sent. */
  readonly messages: readonly ChatMessage[];
  /** There are earlier ones. */
  readonly hasMore: boolean;
}

/** Where pictures or sound come from; everything in it is transferred. */
export type Source =
  | { readonly kind: "frames"; readonly frames: ReadableStream<VideoFrame> }
  /** The worker reads it itself; `control` tells what becomes of the original. */
  | { readonly kind: "track"; readonly track: MediaStreamTrack; readonly control: MessagePort }
  /** Of the capture worklet. */
  | { readonly kind: "audio"; readonly port: MessagePort };

/** Each with its parameter and its answer. */
export interface Calls {
  join(parameters: JoinParameters & { readonly playout: MessagePort }): Joined;
  leave(parameters: undefined): undefined;
  command(command: Command): { readonly messageId: number };
  chatHistory(query: ChatQuery): ChatHistory;
  publish(parameters: { readonly stream: StreamDescription; readonly source: Source }): undefined;
  replaceSource(parameters: { readonly streamId: string; readonly source: Source }): undefined;
  setEnabled(parameters: { readonly streamId: string; readonly enabled: boolean }): undefined;
  unpublish(parameters: { readonly streamId: string }): undefined;
  subscribe(parameters: {
    readonly streamId: string;
    readonly options: SubscribeOptions;
    readonly canvas?: OffscreenCanvas;
  }): undefined;
  setOptions(parameters: { readonly streamId: string; readonly options: SubscribeOptions }): undefined;
  unsubscribe(parameters: { readonly streamId: string }): undefined;
  /** Undefined: no more. */
  subscribeAuto(options: AutoOptions | undefined): undefined;
  /** Where the pictures of a stream that the server has chosen are drawn. */
  attach(parameters: { readonly streamId: string; readonly canvas: OffscreenCanvas }): undefined;
  setVolume(parameters: { readonly participantId: string; readonly gain: number }): undefined;
  statistics(parameters: undefined): Statistics;
}

export type CallName = keyof Calls;
export type Parameter<K extends CallName> = Parameters<Calls[K]>[0];
export type Answer<K extends CallName> = ReturnType<Calls[K]>;

/** From the window. */
export type ToWorker =
  | { readonly type: "call"; readonly id: number; readonly name: CallName; readonly parameter: unknown }
  | { readonly type: "clock"; readonly sample: ClockSample }
  /** The browser says that the network is there again. */
  | { readonly type: "online" }
  /** Gives up what `join` waits for. */
  | { readonly type: "abort" };

/** What happens to a subscription. */
export type SubscriptionEvent =
  | { readonly name: "firstFrame" }
  | { readonly name: "resize"; readonly width: number; readonly height: number }
  | { readonly name: "layer"; readonly layerId: string }
  | { readonly name: "ended" };

/** From the worker. */
export type FromWorker =
  | { readonly type: "answer"; readonly id: number; readonly value: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: ErrorData }
  | { readonly type: "waiting"; readonly meetingName: string }
  | { readonly type: "event"; readonly event: MeetingEvent }
  | { readonly type: "state"; readonly state: MeetingState }
  | { readonly type: "publicationEnded"; readonly streamId: string; readonly reason: string }
  | { readonly type: "subscription"; readonly streamId: string; readonly event: SubscriptionEvent }
  /** Everything that the server has chosen now. */
  | { readonly type: "auto"; readonly streams: readonly StreamDescription[] };
