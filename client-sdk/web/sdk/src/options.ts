/** What to join and publish with. */

import type { VideoCodec } from "./media/codec.js";
import type { StreamType } from "./types.js";

/** What an answer of the API with a join token says (docs/api.md: `…/participants`, `…/join`, `…/guest-join`). */
export interface JoinGrant {
  readonly meeting_id: string;
  readonly participant_id: string;
  readonly join_token: string;
  readonly meeting_controller_url: string;
  /** Of certificates that no authority signed; empty if one did. */
  readonly certificate_hashes: readonly { readonly algorithm: string; readonly value: string }[];
  /** Name shown to the others. */
  readonly name?: string;
}

export interface JoinOptions {
  /**
   * The name that others see. Absent: that of the grant, which stays unless the preset allows to change names, as that of
   * hosts does.
   */
  readonly name?: string;
  /** A phone or the like, for which presets have other limits. Absent: if the primary pointer is coarse and the screen small. */
  readonly mobile?: boolean;
  /** How long joining may take, without the time in the waiting room. Absent: 10 s. */
  readonly timeoutMs?: number;
  /** How long to try to come back when the connection is lost. 0: not at all. Absent: 60 s. */
  readonly reconnectForMs?: number;
  /** The meeting lets this participant wait until somebody lets it in. */
  readonly onWaiting?: (meetingName: string) => void;
  /** Gives up joining, also in the waiting room. */
  readonly signal?: AbortSignal;
}

export interface PublishOptions {
  /** Absent: `audio` or `camera`, by the kind of the track. */
  readonly type?: StreamType;
  /** Absent: the first of VP8, H264, VP9, AV1 that this browser encodes. */
  readonly codec?: VideoCodec;
  /** bit/s of all layers together. Absent: what suits size, rate and codec. */
  readonly maxBitrateBps?: number;
  /** Several sizes, of which each subscriber gets what suits it. Absent: for cameras. */
  readonly simulcast?: boolean;
  /** Frames per second. Absent: what the track has, at most 30; 15 for screens. */
  readonly framerate?: number;
  /** Absent: a new one. */
  readonly streamId?: string;
}
