/**
 * Adaptive playout of one audio stream: decoded packets go in as they come, samples go out at an even pace.
 *
 * Everything that is to be heard, also what is made up, is laid out in a ring, and playing is copying from it. Decisions are about
 * what to lay out and where to read on:
 *
 * * A stream begins with as much silence as is missing to the target, so packets that come later find it still playing.
 * * The *delay* is how much is buffered right after a packet of the least transit time was added; packets that come later find
 *   less. It is held near the target by leaving out or repeating single periods of the sound, at most 15 % of the time.
 * * Where a packet is missing when its time comes, the last period is repeated and faded. Only the next packet tells whether it
 *   was late (then it is played whole, and the delay has grown), lost, or silence that was not sent (DTX): there the delay is
 *   corrected for nothing, by the length of the silence.
 * * After a second without audio, or a step in the timestamps, the stream begins anew.
 *
 * Runs in an AudioWorklet at 48 kHz: memory is taken when a stream begins and given back when it has been silent for long.
 */

import { levelDbov } from "./levels.js";
import { Concealment } from "./playout-concealment.js";
import { MAX_PERIOD, MIN_PERIOD, PitchSearch } from "./playout-pitch.js";
import { SampleRing } from "./playout-ring.js";
import { Timeline } from "./playout-timeline.js";
import { SAMPLE_RATE } from "./sample-rate.js";

/** One decoded packet. */
export interface PcmPacket {
  /** Capture time of the first sample, µs. */
  readonly timestampUs: number;
  /** One or two channels of equal length, 48 kHz. Not changed, and not kept. */
  readonly channels: readonly Float32Array[];
  /** Whether packets between this and the one before are missing. */
  readonly afterLoss: boolean;
}

/** Counts since the stream began. */
export interface PlayoutStatistics {
  /** Made up because audio was lost or late, ms. */
  readonly concealedMs: number;
  /** Silence that was not sent, ms. */
  readonly silenceMs: number;
  /** How often audio was late for its turn. */
  readonly underruns: number;
  /** Left out to lower the delay, and repeated to raise it, ms. */
  readonly acceleratedMs: number;
  readonly expandedMs: number;
  /** How often buffered audio was dropped: far too much of it, or a step in the timestamps. */
  readonly resets: number;
}

const SAMPLES_PER_MS = SAMPLE_RATE / 1000;
/** Positions begin here: the past that searches look at exists always. */
const START = 2048;
/** Longest packet that is taken: 0.5 s; Opus has at most 120 ms. */
const MAX_PACKET = 24_000;
/** Buffered at most: 2 s. */
const MAX_BUFFERED = 96_000;
/** More than this above the target is dropped at once: 300 ms. */
const MAX_EXCESS = 14_400;
const MAX_TARGET_MS = 1000;
/** For lip sync audio waits no longer than this. */
const MAX_MIN_TARGET_MS = 1500;
/** Without audio for this long (1 s), the stream begins anew; likewise after a timestamp this far ahead of what plays. */
const IDLE = 48_000;
/** So long after that (30 s) the memory is given back. */
const FORGOTTEN = 1_440_000;
/** Gaps shorter than this share of a packet are none: whole packets are lost or not sent, and capture clocks are read unevenly. */
const LEAST_GAP = 0.75;
/** Timestamps this far back (40 ms) are a step. */
const MAX_BACK = 1920;
/** Packets whose greatest depth is the delay. */
const DEPTHS = 32;
/** Audio that was late raises the target for a while: by how late it was, within bounds, ms; falling by 2 ms per second. */
const MIN_RAISE_MS = 4;
const MAX_RAISE_MS = 20;
const MAX_RAISED_MS = 60;
const RAISE_FALLS_MS_PER_S = 2;
/** Stretching begins this far above or below the target, and ends this far above, or at it: 15, 5 and 8 ms. */
const TOO_LATE = 720;
const TOO_EARLY = 240;
const LATE_ENOUGH = 384;
/** Leaving out goes at most this far below the target, so that nothing has to be put in again. */
const SLACK = 240;
/** At most this share of time is left out or repeated. */
const MAX_STRETCH = 0.15;
/** When no period was found it is tried again after 10 ms. */
const RETRY = 480;
/** Compared samples, 5 to 10 ms, and the length of the fade from one period to the next, 5 ms. */
const MIN_COMPARED = 240;
const MAX_COMPARED = 480;
const FADE = 240;
/**
 * How alike periods must be: at first, and after looking in vain for 3 s. The latter even noise is, and there nobody hears it. What
 * is found gives back 0.3 s of that patience.
 */
const ALIKE = 0.85;
const ALIKE_AT_LAST = 0.1;
const PATIENCE = 144_000;
const REWARD = 14_400;
/** Mean square below which any two stretches are alike: −50 dBov. */
const QUIET = 1e-5;

/** Playout of one stream. */
export class PlayoutBuffer {
  /** Linear; 0 is mute. Changes take effect over one `pull`, without a click. */
  gain = 1;
  /** Audio that the device takes at once, ms (`RenderBursts`): held in addition to what the arrival of packets asks for. */
  burstMs = 0;
  #heardGain = 1;
  readonly #pitch: PitchSearch;
  #ring: SampleRing | undefined;
  readonly #concealment = new Concealment();
  readonly #timeline = new Timeline();
  #read = 0;
  /** Samples since audio ended that belong to no statistic yet. */
  #unexplained = 0;
  #idleFrames = 0;
  #isIdle = true;
  /** Where the next timestamp should be, µs. */
  #expectedUs = 0;
  /** Depths after the last packets, samples, as they would be without the shift since. */
  readonly #depths = new Float64Array(DEPTHS);
  #depthCount = 0;
  /** Samples that were put in, less those left out, since the stream began. */
  #shift = 0;
  #packetTargetMs = 0;
  #leastTargetMs = 0;
  #raisedMs = 0;
  /** 1 while repeating, −1 while leaving out. */
  #stretching: -1 | 0 | 1 = 0;
  #stretchIn = 0;
  #soughtFor = 0;
  #squares = 0;
  #measured = 0;
  #greatest = 0;
  #concealed = 0;
  #silence = 0;
  #underruns = 0;
  #accelerated = 0;
  #expanded = 0;
  #resets = 0;

  /** @param pitch may be shared by all buffers of a thread */
  constructor(pitch: PitchSearch = new PitchSearch()) {
    this.#pitch = pitch;
  }

  /** Depth that is held at least, ms: lip sync may ask for audio to be later. 0 to 1500. */
  set minTargetMs(ms: number) {
    this.#leastTargetMs = bounded(ms, MAX_MIN_TARGET_MS);
  }

  get minTargetMs(): number {
    return this.#leastTargetMs;
  }

  /** The delay that is aimed at, ms. */
  get targetMs(): number {
    return Math.max(this.#packetTargetMs + this.burstMs + this.#raisedMs, this.#leastTargetMs);
  }

  /** Buffered audio, ms. */
  get depthMs(): number {
    return this.#ring === undefined ? 0 : (this.#ring.end - this.#read) / SAMPLES_PER_MS;
  }

  /** What is buffered right after a packet that came without delay, ms: to be compared with the target. */
  get delayMs(): number {
    return this.#isIdle ? 0 : this.#delay() / SAMPLES_PER_MS;
  }

  /** Capture time of the sample that the next `pull` begins with, µs; undefined while nothing plays. */
  get playingTimestampUs(): number | undefined {
    return this.#isIdle ? undefined : this.#timeline.at(this.#read);
  }

  get statistics(): PlayoutStatistics {
    return {
      concealedMs: this.#concealed / SAMPLES_PER_MS,
      silenceMs: this.#silence / SAMPLES_PER_MS,
      underruns: this.#underruns,
      acceleratedMs: this.#accelerated / SAMPLES_PER_MS,
      expandedMs: this.#expanded / SAMPLES_PER_MS,
      resets: this.#resets,
    };
  }

  /** Level of what was played since the last call, whatever the gain: dBov (RFC 6464), and the greatest sample, linear. */
  takeLevel(): { rmsDbov: number; peak: number } {
    const rmsDbov = levelDbov(this.#measured === 0 ? 0 : this.#squares / this.#measured);
    const peak = this.#greatest;
    this.#squares = 0;
    this.#measured = 0;
    this.#greatest = 0;
    return { rmsDbov, peak };
  }

  /** Adds a packet. `targetMs` is the delay that the arrival of packets asks for. */
  push(packet: PcmPacket, targetMs: number): void {
    let frames = packet.channels[0]?.length ?? 0;
    for (const channel of packet.channels) frames = Math.min(frames, channel.length);
    if (frames === 0 || frames > MAX_PACKET || !Number.isFinite(packet.timestampUs)) return;
    this.#packetTargetMs = bounded(targetMs, MAX_TARGET_MS);
    const ring = this.#ring ?? this.#begin();
    const durationUs = (frames / SAMPLE_RATE) * 1e6;
    const gapUs = packet.timestampUs - this.#expectedUs;
    this.#expectedUs = packet.timestampUs + durationUs;
    const gap = Math.round((gapUs / 1e6) * SAMPLE_RATE);
    const isStep = gap - this.#unexplained > IDLE || gap < -MAX_BACK;
    let fill: number;
    if (this.#isIdle || isStep) {
      fill = this.#restart(ring, frames);
    } else {
      fill = this.#fillGap(gap < frames * LEAST_GAP ? 0 : gap, frames, packet.afterLoss);
    }
    fill = Math.min(fill, Math.max(MAX_BUFFERED - (ring.end - this.#read) - frames, 0));
    this.#concealment.extend(ring, fill, this.#pitch);
    this.#unexplained = 0;
    this.#timeline.mark(ring.end, packet.timestampUs);
    ring.append(packet.channels, frames);
    this.#concealment.end(ring, frames);
    this.#depths[this.#depthCount % DEPTHS] = ring.end - this.#read - this.#shift;
    this.#depthCount += 1;
    this.#dropExcess(ring);
  }

  /** Adds the next `frames` samples to the channels of `output`, one or two; the first may be the only one. */
  pull(output: readonly Float32Array[], frames: number): void {
    const ring = this.#ring;
    const gainBefore = this.#heardGain;
    this.#heardGain = this.gain;
    if (ring === undefined) return;
    if (this.#isIdle) {
      this.#idleFrames += frames;
      if (this.#idleFrames > FORGOTTEN) this.#ring = undefined;
      return;
    }
    this.#raisedMs = Math.max(this.#raisedMs - (frames / SAMPLE_RATE) * RAISE_FALLS_MS_PER_S, 0);
    this.#stretch(ring, frames);
    const missing = frames - (ring.end - this.#read);
    if (missing > 0) {
      this.#concealment.extend(ring, missing, this.#pitch);
      this.#unexplained += missing;
    }
    this.#mix(ring, output, frames, gainBefore);
    this.#read += frames;
    if (this.#unexplained > IDLE) {
      // It has ended, or is paused: whatever comes next comes after silence.
      this.#silence += this.#unexplained;
      this.#unexplained = 0;
      this.#isIdle = true;
      this.#idleFrames = 0;
    }
  }

  #begin(): SampleRing {
    const ring = new SampleRing(START);
    this.#ring = ring;
    this.#read = START;
    this.#isIdle = true;
    return ring;
  }

  /** Begins anew with a packet of `frames` samples; returns how much silence comes before it. */
  #restart(ring: SampleRing, frames: number): number {
    if (this.#isIdle) {
      ring.end = this.#read;
      this.#concealment.beginSilent();
    } else {
      // A step in the timestamps: what is buffered belongs to another time. What is playing fades.
      this.#resets += 1;
      this.#silence += this.#unexplained;
      if (!this.#concealment.isActive) ring.end = this.#read;
    }
    this.#isIdle = false;
    this.#timeline.clear();
    this.#depthCount = 0;
    this.#shift = 0;
    this.#stretching = 0;
    // One sample at least, so that the beginning is faded in.
    return Math.max(this.#target() - frames - (ring.end - this.#read), 1);
  }

  /** Explains what was missing before a packet that is `gap` samples after the one before; returns what to put in before it. */
  #fillGap(gap: number, frames: number, afterLoss: boolean): number {
    const played = this.#unexplained;
    const missing = gap - played;
    let fill = Math.max(missing, 0);
    if (afterLoss) {
      this.#concealed += played + fill;
    } else if (gap > 0) {
      fill = this.#fillSilence(missing, frames);
      this.#silence += played + fill;
    } else if (played > 0) {
      this.#underruns += 1;
      this.#concealed += played;
      const lateMs = Math.min(Math.max(played / SAMPLES_PER_MS, MIN_RAISE_MS), MAX_RAISE_MS);
      this.#raisedMs = Math.min(this.#raisedMs + lateMs, MAX_RAISED_MS);
    }
    this.#shift += fill - missing;
    return fill;
  }

  /** Silence may be as long as the delay needs it to be. */
  #fillSilence(missing: number, frames: number): number {
    const ring = this.#ring;
    if (ring === undefined || this.#depthCount === 0) return Math.max(missing, 0);
    // The packet itself may be the one of the least transit time.
    const delay = Math.max(this.#delay(), ring.end - this.#read + missing + frames);
    // One sample at least, so that the end and the beginning around it are blended.
    return Math.max(missing + this.#target() - delay, 1);
  }

  #target(): number {
    return Math.round(this.targetMs * SAMPLES_PER_MS);
  }

  #delay(): number {
    let greatest = Number.NEGATIVE_INFINITY;
    const count = Math.min(this.#depthCount, DEPTHS);
    for (let i = 0; i < count; i++) greatest = Math.max(greatest, this.#depths[i] ?? 0);
    return count === 0 ? 0 : greatest + this.#shift;
  }

  /** Far too much is buffered: down to the target at once. */
  #dropExcess(ring: SampleRing): void {
    const excess = ring.end - this.#read - this.#target();
    if (excess <= MAX_EXCESS) return;
    ring.crossFade(this.#read, this.#read + excess, this.#read + excess, FADE);
    this.#read += excess;
    this.#shift -= excess;
    this.#resets += 1;
  }

  /** Leaves out or repeats one period if the delay is not as it should be. */
  #stretch(ring: SampleRing, frames: number): void {
    this.#stretchIn -= frames;
    if (this.#stretchIn > 0 || this.#depthCount === 0) return;
    const excess = this.#delay() - this.#target();
    if (excess > TOO_LATE || (this.#stretching < 0 && excess > LATE_ENOUGH)) this.#stretching = -1;
    else if (excess < -TOO_EARLY || (this.#stretching > 0 && excess < 0)) this.#stretching = 1;
    else {
      this.#stretching = 0;
      this.#soughtFor = 0;
      return;
    }
    this.#stretchIn = RETRY;
    const period = this.#stretching < 0 ? this.#leaveOut(ring, excess) : this.#repeat(ring);
    if (period === 0) return;
    this.#stretchIn = period / MAX_STRETCH;
    this.#soughtFor = Math.max(this.#soughtFor - REWARD, 0);
  }

  #leaveOut(ring: SampleRing, excess: number): number {
    const available = ring.end - this.#read;
    const compared = Math.min(MAX_COMPARED, available - MIN_PERIOD);
    const longest = Math.min(MAX_PERIOD, available - compared, excess + SLACK);
    if (compared < MIN_COMPARED || longest < MIN_PERIOD) return 0;
    ring.copyMean(this.#read, compared + longest, this.#pitch.signal);
    const period = this.#findPeriod(
      compared,
      longest,
      Math.max(Math.min(longest, excess), MIN_PERIOD),
      false,
    );
    if (period === 0) return 0;
    ring.crossFade(this.#read, this.#read + period, this.#read + period, Math.min(FADE, period));
    this.#read += period;
    this.#shift -= period;
    this.#accelerated += period;
    return period;
  }

  #repeat(ring: SampleRing): number {
    const compared = Math.min(MAX_COMPARED, ring.end - this.#read);
    if (compared < MIN_COMPARED) return 0;
    ring.copyMean(this.#read - MAX_PERIOD, compared + MAX_PERIOD, this.#pitch.signal);
    const period = this.#findPeriod(compared, MAX_PERIOD, MAX_PERIOD, true);
    if (period === 0) return 0;
    ring.crossFade(this.#read, this.#read - period, this.#read - period, Math.min(FADE, period));
    this.#read -= period;
    this.#shift += period;
    this.#expanded += period;
    return period;
  }

  /** The period by which sound can be shortened or repeated without being noticed, `quiet` if it is; 0 if there is none now. */
  #findPeriod(compared: number, longest: number, quiet: number, backward: boolean): number {
    this.#pitch.search(compared, longest, backward);
    if (this.#pitch.power < QUIET) return quiet;
    this.#soughtFor = Math.min(this.#soughtFor + RETRY, PATIENCE);
    const impatience = this.#soughtFor / PATIENCE;
    const alike = ALIKE - (ALIKE - ALIKE_AT_LAST) * impatience;
    return this.#pitch.likeness >= alike ? this.#pitch.period : 0;
  }

  #mix(ring: SampleRing, output: readonly Float32Array[], frames: number, gainBefore: number): void {
    const left = output[0];
    if (left === undefined) return;
    const right = output[1];
    const first = ring.channel(0);
    const second = ring.channel(1);
    const isStereo = ring.channelCount === 2;
    const gainStep = (this.gain - gainBefore) / frames;
    let squares = 0;
    let greatest = this.#greatest;
    for (let i = 0; i < frames; i++) {
      const at = SampleRing.index(this.#read + i);
      const a = first[at] ?? 0;
      const b = isStereo ? (second[at] ?? 0) : a;
      const gain = gainBefore + gainStep * (i + 1);
      if (right === undefined) {
        left[i] = (left[i] ?? 0) + ((a + b) / 2) * gain;
      } else {
        left[i] = (left[i] ?? 0) + a * gain;
        right[i] = (right[i] ?? 0) + b * gain;
      }
      squares += (a * a + b * b) / 2;
      greatest = Math.max(greatest, Math.abs(a), Math.abs(b));
    }
    this.#squares += squares;
    this.#measured += frames;
    this.#greatest = greatest;
  }
}

function bounded(ms: number, most: number): number {
  return ms > 0 ? Math.min(ms, most) : 0;
}
