import { describe, expect, it } from "vitest";
import { Random } from "../protocol/testing.js";
import { FreezeDetector, VideoClock } from "./video-clock.js";

const MS = 1000;
const FRAME_US = 33_333;
/** Of the publisher's clock; has nothing to do with the local one. */
const T0 = 5_000_000_000;

/** Frames at 30 per second that take `transitMs` to come; returns the local time of the last arrival. */
function play(clock: VideoClock, from: number, count: number, transitMs: (i: number) => number): number {
  let nowUs = 0;
  for (let i = from; i < from + count; i++) {
    nowUs = Math.max(nowUs, i * FRAME_US + transitMs(i) * MS);
    clock.arrived(T0 + i * FRAME_US, nowUs);
  }
  return nowUs;
}

/** How long after its capture a frame that is captured now is due, ms. */
function delayMs(clock: VideoClock, nowUs: number): number {
  return ((clock.dueUs(T0 + nowUs, nowUs) ?? Number.NaN) - nowUs) / MS;
}

describe("VideoClock without sound", () => {
  it("knows nothing before the first frame", () => {
    expect(new VideoClock().dueUs(1, 2)).toBeUndefined();
  });

  it("adds nothing to a way without jitter", () => {
    const clock = new VideoClock();
    const nowUs = play(clock, 0, 60, () => 40);
    expect(delayMs(clock, nowUs)).toBeCloseTo(40, 5);
  });

  it("waits for 95 % of the frames (20 seeds)", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new Random(seed);
      const clock = new VideoClock();
      const jitter = () => 40 + random.below(30);
      play(clock, 0, 150, jitter);
      let late = 0;
      let delays = 0;
      for (let i = 150; i < 450; i++) {
        const arrivalMs = jitter();
        const nowUs = i * FRAME_US + arrivalMs * MS;
        clock.arrived(T0 + i * FRAME_US, nowUs);
        const delay = delayMs(clock, nowUs);
        delays += delay;
        if (delay < arrivalMs) late++;
      }
      expect(late / 300, `seed ${seed}`).toBeLessThan(0.09);
      expect(delays / 300, `seed ${seed}`).toBeLessThan(71);
    }
  });

  it("adds the time that decoding takes", () => {
    const clock = new VideoClock();
    for (let i = 0; i < 60; i++) clock.decoded(12 * MS);
    const nowUs = play(clock, 0, 60, () => 40);
    expect(delayMs(clock, nowUs)).toBeCloseTo(52, 1);
  });

  it("does not wait longer because everything stood still once", () => {
    const clock = new VideoClock();
    play(clock, 0, 120, () => 40);
    // Nothing for a second, then all at once.
    const stalledUs = play(clock, 120, 31, (i) => 40 + ((150 - i) * FRAME_US) / MS);
    expect(delayMs(clock, stalledUs)).toBeLessThan(45);
    const nowUs = play(clock, 151, 60, () => 40);
    expect(delayMs(clock, nowUs)).toBeLessThan(45);
  });

  it("does not wait without bound", () => {
    const clock = new VideoClock();
    const nowUs = play(clock, 0, 200, (i) => (i % 2 === 0 ? 40 : 900));
    expect(delayMs(clock, nowUs)).toBeLessThanOrEqual(40 + 250);
  });

  it("follows at once at the beginning, when a group comes from the cache", () => {
    const clock = new VideoClock();
    // 30 frames at one moment, then live ones.
    const nowUs = 30 * FRAME_US;
    for (let i = 0; i < 30; i++) clock.arrived(T0 + i * FRAME_US, nowUs);
    expect(delayMs(clock, nowUs)).toBeCloseTo(33.3, 0);
    const laterUs = play(clock, 30, 15, () => 10);
    expect(delayMs(clock, laterUs)).toBeLessThan(35);
  });

  it("moves by no more than a tenth of real time", () => {
    const clock = new VideoClock();
    let nowUs = play(clock, 0, 60, () => 100);
    let before = delayMs(clock, nowUs);
    // A shorter way: the least transit falls by 60 ms at once.
    for (let i = 63; i < 93; i++) {
      const nextUs = play(clock, i, 1, () => 40);
      const delay = delayMs(clock, nextUs);
      expect(Math.abs(delay - before)).toBeLessThanOrEqual(((nextUs - nowUs) / MS) * 0.1 + 1e-6);
      [before, nowUs] = [delay, nextUs];
    }
    expect(before).toBeLessThan(98);
  });

  it("jumps when it is far off", () => {
    const clock = new VideoClock();
    play(clock, 0, 60, () => 900);
    const nowUs = play(clock, 60, 1, () => 40);
    expect(delayMs(clock, nowUs)).toBeCloseTo(40, 1);
  });

  it("forgets everything when timestamps begin anew", () => {
    const clock = new VideoClock();
    const nowUs = play(clock, 0, 60, () => 40);
    clock.restart();
    expect(clock.dueUs(T0, nowUs)).toBeUndefined();
    clock.arrived(7, nowUs);
    expect(clock.dueUs(7, nowUs)).toBe(nowUs);
  });
});

describe("VideoClock with sound", () => {
  /** Frames at 30 per second with sound that is heard `audioMs` after its capture. */
  function playWithSound(
    clock: VideoClock,
    from: number,
    count: number,
    transitMs: number,
    audioMs: number,
  ): number {
    let nowUs = 0;
    for (let i = from; i < from + count; i++) {
      nowUs = play(clock, i, 1, () => transitMs);
      clock.audioHeard(T0 + nowUs, nowUs + audioMs * MS, nowUs);
      clock.dueUs(T0, nowUs);
    }
    return nowUs;
  }

  it("shows what is heard", () => {
    const clock = new VideoClock();
    const nowUs = playWithSound(clock, 0, 90, 40, 120);
    expect(delayMs(clock, nowUs)).toBeCloseTo(120, 5);
    expect(clock.skewUs(nowUs)).toBeCloseTo(0, 5);
    expect(clock.minAudioDelayMs(nowUs)).toBe(0);
  });

  it("is a little late rather than jerky when the picture takes longer, and asks the sound to wait", () => {
    const clock = new VideoClock();
    let nowUs = playWithSound(clock, 0, 90, 100, 40);
    expect(clock.skewUs(nowUs)).toBeCloseTo(45 * MS, 0);
    const asked = clock.minAudioDelayMs(nowUs);
    expect(asked).toBe(60);
    nowUs = playWithSound(clock, 90, 90, 100, 40 + asked);
    expect(clock.skewUs(nowUs)).toBeCloseTo(0, 0);
    expect(clock.minAudioDelayMs(nowUs)).toBe(asked);
  });

  it("asks for no more than 100 ms, and takes it back when it is not needed", () => {
    const clock = new VideoClock();
    let nowUs = playWithSound(clock, 0, 60, 240, 40);
    expect(clock.minAudioDelayMs(nowUs)).toBe(100);
    clock.restart();
    nowUs = playWithSound(clock, 60, 60, 40, 140);
    expect(clock.minAudioDelayMs(nowUs)).toBe(20);
    nowUs = playWithSound(clock, 120, 60, 40, 60);
    // Within what is tolerated: no further change, and no swinging.
    expect(clock.minAudioDelayMs(nowUs)).toBe(20);
  });

  it("keeps what was asked of the sound over silence", () => {
    const clock = new VideoClock();
    let nowUs = playWithSound(clock, 0, 60, 100, 40);
    expect(clock.minAudioDelayMs(nowUs)).toBe(60);
    clock.audioSilent();
    nowUs = play(clock, 60, 90, () => 100);
    expect(clock.minAudioDelayMs(nowUs)).toBe(60);
  });

  it("settles whether the sound adds the delay to its own or takes the larger", () => {
    for (const heard of [(own: number, asked: number) => own + asked, Math.max]) {
      const clock = new VideoClock();
      const own = 30;
      let asked = 0;
      let nowUs = 0;
      const said: number[] = [];
      for (let second = 0; second < 20; second++) {
        nowUs = playWithSound(clock, second * 30, 30, 75, heard(own, asked));
        asked = clock.minAudioDelayMs(nowUs);
        said.push(asked);
      }
      expect(new Set(said.slice(-10)).size).toBe(1);
      expect(Math.abs(heard(own, asked) - 75)).toBeLessThanOrEqual(40);
    }
  });

  it("goes its own way when the sound stops, slowly", () => {
    const clock = new VideoClock();
    let nowUs = playWithSound(clock, 0, 90, 40, 120);
    clock.audioSilent();
    expect(clock.skewUs(nowUs)).toBeUndefined();
    expect(delayMs(clock, nowUs)).toBeCloseTo(120, 0);
    nowUs = play(clock, 90, 60, () => 40);
    expect(delayMs(clock, nowUs)).toBeCloseTo(40, 0);
    expect(clock.minAudioDelayMs(nowUs)).toBe(0);
  });

  it("does not believe what was said long ago, or of sound that cannot belong to the picture", () => {
    const clock = new VideoClock();
    let nowUs = playWithSound(clock, 0, 30, 40, 120);
    nowUs = play(clock, 30, 120, () => 40);
    expect(clock.skewUs(nowUs)).toBeUndefined();
    expect(delayMs(clock, nowUs)).toBeCloseTo(40, 0);
    nowUs = playWithSound(clock, 150, 30, 40, 60_000);
    expect(delayMs(clock, nowUs)).toBeCloseTo(40, 0);
  });
});

describe("FreezeDetector", () => {
  function show(freezes: FreezeDetector, gapsMs: number[], continuous = false): void {
    let atUs = 0;
    freezes.shown(0, atUs, continuous);
    for (const gap of gapsMs) {
      atUs += gap * MS;
      freezes.shown(atUs, atUs, continuous);
    }
  }
  const steady = Array.from({ length: 30 }, () => 33);

  it("counts a gap over the usual one plus 150 ms", () => {
    const freezes = new FreezeDetector();
    show(freezes, [...steady, 182, ...steady, 184, 33, 500]);
    expect(freezes.freezes).toBe(2);
    expect(freezes.freezeMs).toBe(684);
  });

  it("counts a gap over three times the usual one of slow video", () => {
    const freezes = new FreezeDetector();
    show(freezes, [...Array.from({ length: 30 }, () => 200), 590, 400, 800]);
    expect(freezes.freezes).toBe(1);
    expect(freezes.freezeMs).toBe(800);
  });

  it("does not count a screen on which nothing moved", () => {
    const freezes = new FreezeDetector();
    show(freezes, [...steady, 5000, 33, 10_000], true);
    expect(freezes.freezes).toBe(0);
  });

  it("counts what was captured in time and shown late", () => {
    const freezes = new FreezeDetector();
    for (let i = 0; i < 30; i++) freezes.shown(i * FRAME_US, i * FRAME_US, true);
    freezes.shown(30 * FRAME_US, 29 * FRAME_US + 400 * MS, true);
    expect(freezes.freezes).toBe(1);
  });

  it("does not count time in which nobody looks", () => {
    const freezes = new FreezeDetector();
    show(freezes, steady);
    freezes.interrupted();
    freezes.shown(60e6, 60e6, false);
    expect(freezes.freezes).toBe(0);
  });
});
