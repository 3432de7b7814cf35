/** Typed events. */

import type {
  ChatMessage,
  LeaveReason,
  MeetingState,
  NetworkGrade,
  Participant,
  Rights,
  Stage,
  Statistics,
  StreamDescription,
  WaitingParticipant,
} from "./types.js";

/** What happens in a meeting. When an event tells of it, `Meeting.state` has it already. */
export interface MeetingEvents {
  /** `Meeting.state` is new; comes before the events that say what is. In large meetings several changes come together. */
  stateChanged: MeetingState;
  participantJoined: { readonly participant: Participant };
  participantLeft: { readonly participant: Participant; readonly reason: LeaveReason };
  /** Name, role or state of another participant changed. */
  participantUpdated: { readonly participant: Participant };
  /** The same for this session's own: a host has muted or renamed it, for example. */
  selfUpdated: { readonly participant: Participant };
  streamPublished: { readonly participant: Participant; readonly stream: StreamDescription };
  /** Also one's own, if a host has ended it. */
  streamUnpublished: { readonly participantId: string; readonly stream: StreamDescription };
  rightsChanged: { readonly rights: Rights };
  activeSpeaker: { readonly participantId: string };
  networkQuality: { readonly participantId: string; readonly grade: NetworkGrade; readonly score?: number };
  chatMessage: { readonly message: ChatMessage };
  chatMessageUpdated: { readonly message: ChatMessage };
  /** A message between applications: reactions, and what you make up. */
  broadcast: { readonly participantId: string; readonly type: string; readonly payload: Uint8Array };
  waitingRoomChanged: { readonly waiting: readonly WaitingParticipant[] };
  stageChanged: { readonly stage: Stage };
  meetingUpdated: {
    readonly displayName: string;
    readonly locked: boolean;
    readonly spotlight: readonly string[];
  };
  audienceChanged: { readonly participantCount: number; readonly viewerCount: number };
  /**
   * How loud participants are that are heard, ten times a second while somebody is: dBov as in RFC 6464, 0 the loudest
   * to 127 silence. The own one is there with its own id.
   */
  audioLevels: ReadonlyMap<string, number>;
  /** Once a second. */
  statistics: Statistics;
  /** The server did not take some of what this participant published; the session goes on. */
  mediaRefused: { readonly streamId?: string; readonly message: string };
  /** The server is about to stop. */
  goAway: { readonly deadlineMs: number };
  /** Nothing is heard of the server. Media and requests wait until it is reached again. */
  reconnecting: Record<string, never>;
  /** Everything that happened meanwhile has been told. `rejoined`: for the others this participant had left. */
  reconnected: { readonly afterMs: number; readonly rejoined: boolean };
  /** The browser lets no sound play before the user has clicked: call `Meeting.resumeAudio` then. */
  audioBlocked: { readonly blocked: boolean };
  /** The session ended, by whichever side. Nothing follows. */
  closed: Closed;
}

/** One of them. */
export type MeetingEvent = {
  [K in keyof MeetingEvents]: { readonly name: K; readonly event: MeetingEvents[K] };
}[keyof MeetingEvents];

/** Why a session ended. */
export interface Closed {
  /** Name of the protocol's table (docs/protocol.md 7): `NO_ERROR` if all went as planned, `KICKED`, `MEETING_ENDED` … */
  readonly code: string;
  /** For people. */
  readonly message: string;
}

type Listener<T> = (event: T) => void;

/** Calls listeners by event name. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Calls `listener` at each `name`, until the function that is returned is called. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    let listeners = this.#listeners.get(name);
    if (!listeners) {
      listeners = new Set();
      this.#listeners.set(name, listeners);
    }
    listeners.add(listener as Listener<never>);
    return () => {
      this.#listeners.get(name)?.delete(listener as Listener<never>);
    };
  }

  /** The next event of this name; rejects with the signal's reason when that is aborted. */
  once<K extends keyof Events>(name: K, signal?: AbortSignal): Promise<Events[K]> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        off();
        reject(signal?.reason);
      };
      const off = this.on(name, (event) => {
        off();
        signal?.removeEventListener("abort", abort);
        resolve(event);
      });
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Tells all listeners; one that throws does not keep the others from hearing. */
  emit<K extends keyof Events>(name: K, event: Events[K]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<Events[K]>)(event);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
