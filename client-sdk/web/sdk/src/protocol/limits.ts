/**
 * Size bounds of the wire (docs/protocol.md 2.5 and 5.1). A peer's length field is compared with its bound
 * before anything is allocated or waited for.
 */

/** Bytes of payload of one audio unit. */
export const MAX_AUDIO_PAYLOAD_BYTES = 64 * 1024;

/** Bytes of payload of one video unit, or of a unit of unknown type; larger frames are split. */
export const MAX_VIDEO_PAYLOAD_BYTES = 4 * 1024 * 1024;

/** Bytes of one signaling or control message, without its length prefix. */
export const MAX_MESSAGE_BYTES = 64 * 1024;

/** Payload bounds in force on one connection. */
export interface UnitLimits {
  /** Bytes of payload of one audio unit. */
  readonly maxAudioPayloadBytes: number;
  /** Bytes of payload of one video unit, or of a unit of unknown type. */
  readonly maxVideoPayloadBytes: number;
}

/** The bounds when nothing else was agreed. */
export const DEFAULT_UNIT_LIMITS: UnitLimits = {
  maxAudioPayloadBytes: MAX_AUDIO_PAYLOAD_BYTES,
  maxVideoPayloadBytes: MAX_VIDEO_PAYLOAD_BYTES,
};

/**
 * The server's limits (`MediaWelcome.limits`) as far as this side accepts them, too: what is 0 or missing is
 * the default, and what is larger than the default is not followed.
 */
export function agreedLimits(
  theirs: { maxAudioPayload: number; maxVideoPayload: number } | undefined,
): UnitLimits {
  const agreed = (their: number | undefined, own: number) => (their ? Math.min(their, own) : own);
  return {
    maxAudioPayloadBytes: agreed(theirs?.maxAudioPayload, MAX_AUDIO_PAYLOAD_BYTES),
    maxVideoPayloadBytes: agreed(theirs?.maxVideoPayload, MAX_VIDEO_PAYLOAD_BYTES),
  };
}
