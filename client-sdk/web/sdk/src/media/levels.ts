/**
 * Loudness: levels as RFC 6464 has them, when to tell the server (docs/protocol.md 5.11), and what is silence.
 *
 * A level is in dB below the loudest that can be encoded: 0 is the loudest, 127 is silence.
 */

/** Nothing can be heard. */
export const SILENCE_DBOV = 127;

/** Level of a mean square of samples between −1 and 1; 0 to 127, rounded. */
export function levelDbov(meanSquare: number): number {
  // Also for NaN.
  if (!(meanSquare > 0)) return SILENCE_DBOV;
  return Math.min(Math.max(Math.round(-10 * Math.log10(meanSquare)), 0), SILENCE_DBOV);
}

/** Longer pauses between updates count as this. */
const MAX_STEP_MS = 500;
/** Between two tellings while there is sound. */
const TELL_EVERY_MS = 200;
/** The beginning of speech is told sooner, so that it is heard at once; but not more often than this. */
const TELL_SOONEST_MS = 100;
/** Silence is told this often, so that the server does not take us for one that measures no more (which it does after 5 s). */
const TELL_SILENCE_EVERY_MS = 2000;
/** Quieter is no sound. */
const SOUND_DBOV = 60;
/** After the last sound it is told as often as before: the server has to see how it ends. */
const SOUND_LASTS_MS = 600;

/** When to tell the server how loud an own stream is. */
export class LevelTeller {
  #toldMs: number | undefined;
  #soundMs = Number.NEGATIVE_INFINITY;
  #power = 0;
  #measuredMs = 0;
  #lastMs: number | undefined;

  /**
   * `level` (dBov) has been so since the last time; to be called for every captured chunk. Returns the level to tell, 0 to 127,
   * the mean power since the last telling; undefined if it is not time.
   */
  update(level: number, nowMs: number): number | undefined {
    const elapsedMs = Math.min(Math.max(nowMs - (this.#lastMs ?? nowMs - 20), 1), MAX_STEP_MS);
    this.#lastMs = nowMs;
    const hadSound = nowMs - this.#soundMs < SOUND_LASTS_MS;
    const isSound = level <= SOUND_DBOV;
    if (isSound) this.#soundMs = nowMs;
    if (isSound && !hadSound) {
      // The silence before it would make the first level a quiet one.
      this.#power = 0;
      this.#measuredMs = 0;
    }
    this.#power += (level < SILENCE_DBOV ? 10 ** (-level / 10) : 0) * elapsedMs;
    this.#measuredMs += elapsedMs;
    const sinceMs = nowMs - (this.#toldMs ?? Number.NEGATIVE_INFINITY);
    const begins = isSound && !hadSound;
    const every = nowMs - this.#soundMs < SOUND_LASTS_MS ? TELL_EVERY_MS : TELL_SILENCE_EVERY_MS;
    if (sinceMs < (begins ? TELL_SOONEST_MS : every)) return undefined;
    const mean = levelDbov(this.#power / this.#measuredMs);
    this.#toldMs = nowMs;
    this.#power = 0;
    this.#measuredMs = 0;
    return mean;
  }
}

/** Quieter than this is nothing that anybody would hear: the noise of a quiet room is louder. */
const NOTHING_DBOV = 70;
/** So many chunks of 20 ms after the last sound are sent, so that it can fade: 0.4 s. */
const FADES_CHUNKS = 20;
/** Of silence one chunk in so many is sent, so that receivers know that the stream is there: one each 0.4 s. */
const ONE_IN_CHUNKS = 20;

/**
 * Which chunks of speech are sent: of silence nearly none (discontinuous transmission). Opus can do this by itself, but then
 * Chromium 156 counts the timestamps of what it does send as if nothing had been left out, so sound would seem older and older.
 */
export class SilenceGate {
  #silentChunks = 0;

  /** The next 20 ms are so loud; whether they are to be sent. */
  take(levelDbov: number): boolean {
    if (levelDbov < NOTHING_DBOV) {
      this.#silentChunks = 0;
      return true;
    }
    this.#silentChunks += 1;
    return this.#silentChunks <= FADES_CHUNKS || this.#silentChunks % ONE_IN_CHUNKS === 0;
  }
}
