/**
 * When a video frame is due, and whether the picture froze.
 *
 * A frame with timestamp t is due at t + offset. With sound to follow, the offset is the one with which that is heard
 * (lip sync). Without it, the offset is the least transit of the last seconds, and on top of it what 95 % of the
 * frames need for jitter and decoding. The offset that is applied follows the wanted one slowly enough not to be
 * seen, and jumps if it is far off.
 *
 * Timestamps are those of the publisher's units and may be of any clock; local times are of a clock that does not go
 * back. Both are µs.
 */

import { percentile } from "./recent.js";

/** The least transit is that of so long. */
const MINIMUM_WINDOW_US = 10_000_000;
/** It is kept by buckets of this length. */
const BUCKET_US = 1_000_000;
/** Frames over which jitter and decoding are looked at: about 4 s. */
const SAMPLES = 120;
const PERCENTILE = 0.95;
/**
 * A frame whose transit is less than that of the one before by this share of the time between them waited behind it: the
 * same delay is not counted once more. Else a stall of a second would be a quarter of all frames.
 */
const QUEUED_BEHIND = 0.75;
/** More than that nobody waits: later frames are shown when they come. */
const MAX_DELAY_US = 250_000;
/** So long after the first frame the offset follows at once: the beginning is often a group out of the server's cache. */
const SETTLING_US = 500_000;
/** Share of real time by which the offset moves. */
const SLEW = 0.1;
/** A wanted offset that is further away is taken at once. */
const JUMP_US = 300_000;
/** What was said of the sound is true for so long. */
const AUDIO_FRESH_US = 1_000_000;
/** So much later than the sound the picture may be before anybody minds (ITU-R BT.1359: detectable from 45 ms). */
const MAX_BEHIND_AUDIO_US = 45_000;
/** How far the sound may be held back for the picture. */
const MAX_AUDIO_DELAY_MS = 100;
/** The sound gets so long to follow before it is asked again. */
const AUDIO_STEP_US = 1_000_000;
/** The picture may need so much more than the sound, or so much less, and the sound stays as it is. */
const BEHIND_TOLERANCE_US = 10_000;
const AHEAD_TOLERANCE_US = 40_000;

/** The least value of the last ten seconds. */
class WindowedMinimum {
  #buckets: { startUs: number; least: number }[] = [];

  add(value: number, nowUs: number): void {
    const last = this.#buckets.at(-1);
    if (last && nowUs - last.startUs < BUCKET_US) last.least = Math.min(last.least, value);
    else this.#buckets.push({ startUs: nowUs, least: value });
    while (this.#buckets.length > 1 && nowUs - (this.#buckets[0]?.startUs ?? nowUs) > MINIMUM_WINDOW_US) {
      this.#buckets.shift();
    }
  }

  get least(): number | undefined {
    return this.#buckets.length === 0 ? undefined : Math.min(...this.#buckets.map((bucket) => bucket.least));
  }
}

/** Percentile of the last values. */
class RecentValues {
  readonly #values: number[] = [];
  #at = 0;

  add(value: number): void {
    this.#values[this.#at] = value;
    this.#at = (this.#at + 1) % SAMPLES;
  }

  percentile(share: number): number {
    return percentile(Float64Array.from(this.#values).sort(), share) ?? 0;
  }
}

/** Maps timestamps of video frames to the local time at which they are to be seen. */
export class VideoClock {
  #transits = new WindowedMinimum();
  #delays = new RecentValues();
  #decodes = new RecentValues();
  #last: { capturedUs: number; transitUs: number } | undefined;
  /** What the percentiles say, of the last arrival. */
  #delayUs = 0;
  #firstArrivalUs: number | undefined;
  #offsetUs: number | undefined;
  #advancedUs = 0;
  #audio: { offsetUs: number; saidUs: number } | undefined;
  #audioDelayMs = 0;
  #audioStepUs = 0;

  /** A whole frame has come. `capturedUs`: its timestamp. */
  arrived(capturedUs: number, nowUs: number): void {
    const transitUs = nowUs - capturedUs;
    this.#transits.add(transitUs, nowUs);
    const last = this.#last;
    this.#last = { capturedUs, transitUs };
    const isQueued =
      last && last.transitUs - transitUs > QUEUED_BEHIND * Math.max(capturedUs - last.capturedUs, 0);
    if (!isQueued) this.#delays.add(transitUs - (this.#transits.least ?? transitUs));
    const delayUs = this.#delays.percentile(PERCENTILE) + this.#decodes.percentile(PERCENTILE);
    this.#delayUs = Math.min(delayUs, MAX_DELAY_US);
    this.#firstArrivalUs ??= nowUs;
    this.#advance(nowUs);
  }

  /** A frame took that long from where it could be decoded until it was. */
  decoded(tookUs: number): void {
    this.#decodes.add(Math.max(tookUs, 0));
  }

  /** The sound with this timestamp is, or will be, heard at that local time. */
  audioHeard(timestampUs: number, atLocalUs: number, nowUs: number): void {
    this.#audio = { offsetUs: atLocalUs - timestampUs, saidUs: nowUs };
  }

  /** There is no sound to follow any more. */
  audioSilent(): void {
    this.#audio = undefined;
  }

  /** Timestamps have begun anew, or come another way: nothing that was measured is true any more. */
  restart(): void {
    this.#transits = new WindowedMinimum();
    this.#delays = new RecentValues();
    this.#last = undefined;
    this.#delayUs = 0;
    this.#firstArrivalUs = undefined;
    this.#offsetUs = undefined;
  }

  /** When the frame is due, local time; undefined before anything has come. */
  dueUs(timestampUs: number, nowUs: number): number | undefined {
    this.#advance(nowUs);
    return this.#offsetUs === undefined ? undefined : timestampUs + this.#offsetUs;
  }

  /** How much later than the sound the picture is, µs; undefined without sound. */
  skewUs(nowUs: number): number | undefined {
    const audio = this.#freshAudio(nowUs);
    this.#advance(nowUs);
    return audio && this.#offsetUs !== undefined ? this.#offsetUs - audio.offsetUs : undefined;
  }

  /**
   * By how much the sound should be held back so that the picture can keep up with it, ms, 0 to 100. Changes at most
   * once a second, and only if picture and sound need clearly different times.
   */
  minAudioDelayMs(nowUs: number): number {
    const audio = this.#freshAudio(nowUs);
    const ownUs = this.#ownOffsetUs();
    // What was needed will be when the sound comes back.
    if (!audio || ownUs === undefined) return this.#audioDelayMs;
    if (nowUs - this.#audioStepUs < AUDIO_STEP_US) return this.#audioDelayMs;
    const behindUs = ownUs - audio.offsetUs;
    let delayMs = this.#audioDelayMs;
    if (behindUs > BEHIND_TOLERANCE_US) delayMs += Math.ceil(behindUs / 1000);
    else if (behindUs < -AHEAD_TOLERANCE_US)
      delayMs -= Math.floor((-behindUs - AHEAD_TOLERANCE_US / 2) / 1000);
    delayMs = Math.min(Math.max(delayMs, 0), MAX_AUDIO_DELAY_MS);
    if (delayMs !== this.#audioDelayMs) {
      this.#audioDelayMs = delayMs;
      this.#audioStepUs = nowUs;
    }
    return delayMs;
  }

  /** The offset with which 95 % of the frames are there in time. */
  #ownOffsetUs(): number | undefined {
    const { least } = this.#transits;
    return least === undefined ? undefined : least + this.#delayUs;
  }

  #freshAudio(nowUs: number): { offsetUs: number } | undefined {
    return this.#audio && nowUs - this.#audio.saidUs < AUDIO_FRESH_US ? this.#audio : undefined;
  }

  #wantedOffsetUs(nowUs: number): number | undefined {
    const ownUs = this.#ownOffsetUs();
    const audio = this.#freshAudio(nowUs);
    if (ownUs === undefined || !audio) return ownUs;
    // Sound of another clock, or far from the picture: following it would stop or race the picture.
    const tooFar = Math.abs(audio.offsetUs - ownUs) > MAX_AUDIO_SKEW_US;
    if (tooFar) return ownUs;
    return Math.max(audio.offsetUs, Math.min(ownUs, audio.offsetUs + MAX_BEHIND_AUDIO_US));
  }

  #advance(nowUs: number): void {
    const wantedUs = this.#wantedOffsetUs(nowUs);
    if (wantedUs === undefined) return;
    const elapsedUs = Math.max(nowUs - this.#advancedUs, 0);
    this.#advancedUs = Math.max(this.#advancedUs, nowUs);
    const settling = this.#firstArrivalUs !== undefined && nowUs - this.#firstArrivalUs < SETTLING_US;
    const awayUs = this.#offsetUs === undefined ? undefined : wantedUs - this.#offsetUs;
    if (this.#offsetUs === undefined || awayUs === undefined || settling || Math.abs(awayUs) > JUMP_US) {
      this.#offsetUs = wantedUs;
      return;
    }
    const mostUs = elapsedUs * SLEW;
    this.#offsetUs += Math.min(Math.max(awayUs, -mostUs), mostUs);
  }
}

/** Sound and picture of one participant that are further apart than that do not belong together. */
const MAX_AUDIO_SKEW_US = 3_000_000;

/** Frames over which the usual time between two of them is taken (as webrtc-stats does for freezeCount). */
const FREEZE_FRAMES = 30;

/** Counts freezes: two frames shown further apart than max(3 × usual, usual + 150 ms). */
export class FreezeDetector {
  #gapsUs: number[] = [];
  #last: { shownUs: number; timestampUs: number } | undefined;
  #freezes = 0;
  #freezeUs = 0;

  /** Freezes so far. */
  get freezes(): number {
    return this.#freezes;
  }

  /** How long the picture stood still in them, ms. */
  get freezeMs(): number {
    return this.#freezeUs / 1000;
  }

  /**
   * A frame is shown. `continuous`: nothing was lost or left out since the one before, so that a gap between their
   * timestamps is how it was captured: a screen on which nothing moved, or a camera that was off.
   */
  shown(timestampUs: number, nowUs: number, continuous: boolean): void {
    const last = this.#last;
    this.#last = { shownUs: nowUs, timestampUs };
    if (!last) return;
    const gapUs = nowUs - last.shownUs;
    const capturedGapUs = continuous ? Math.max(timestampUs - last.timestampUs, 0) : 0;
    if (this.#gapsUs.length > 0) {
      const meanUs = this.#gapsUs.reduce((sum, gap) => sum + gap, 0) / this.#gapsUs.length;
      const usualUs = Math.max(meanUs, capturedGapUs);
      // A long gap that was captured may be shown late by 150 ms, not by three times itself.
      if (gapUs > Math.max(3 * meanUs, usualUs + 150_000)) {
        this.#freezes++;
        this.#freezeUs += gapUs;
        return;
      }
      if (capturedGapUs > 3 * meanUs) return;
    }
    this.#gapsUs.push(gapUs);
    if (this.#gapsUs.length > FREEZE_FRAMES) this.#gapsUs.shift();
  }

  /** Nobody looks, or nothing is to be expected: the time until the next frame does not count. */
  interrupted(): void {
    this.#last = undefined;
  }
}
