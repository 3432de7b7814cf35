import { describe, expect, it, vi } from "vitest";
import { ArrivalJitter } from "./jitter.js";
import { PlayoutBuffer } from "./playout.js";
import { SAMPLE_RATE } from "./sample-rate.js";

// Minutes of sound are computed, on machines that may be busy.
vi.setConfig({ testTimeout: 60_000 });

const QUANTUM = 128;
const PACKET = 960;
const PACKET_US = 20_000;
const EPOCH_US = 1_700_000_000_000_000;

/** Numbers between 0 and 1, the same in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Signal = (sample: number) => number;

const tone =
  (hertz: number, amplitude = 0.5): Signal =>
  (sample) =>
    amplitude * Math.sin((2 * Math.PI * hertz * sample) / SAMPLE_RATE);

/** Like a vowel: harmonics of a voice whose pitch wanders, loud and soft four times per second. Repeats after 10 s. */
const VOICE = Float32Array.from({ length: 10 * SAMPLE_RATE }, (_, sample) => {
  const t = sample / SAMPLE_RATE;
  const phase = 2 * Math.PI * (140 * t + 1.5 * Math.sin(2 * Math.PI * 0.7 * t));
  const loud = 0.55 + 0.45 * Math.sin(2 * Math.PI * 4 * t);
  let sum = 0;
  for (let harmonic = 1; harmonic <= 8; harmonic++) sum += Math.sin(harmonic * phase) / harmonic;
  return 0.3 * loud * sum;
});
const voice: Signal = (sample) => VOICE[sample % VOICE.length] ?? 0;

interface Scene {
  seconds: number;
  /** Delay of packet `index`, ms; undefined: lost; "silent": not sent, and no sequence number used (DTX). */
  delay?: (index: number) => number | undefined | "silent";
  signal?: Signal;
  /** The sender's clock runs faster by this share. */
  drift?: number;
  minTargetMs?: (timeS: number) => number;
  /** Looks at the buffer before every quantum; times are relative to the first packet. */
  look?: (buffer: PlayoutBuffer, timeS: number) => void;
}

/** Plays a scene as worker and worklet would; returns the buffer and all that was heard. */
function play(scene: Scene): { buffer: PlayoutBuffer; heard: Float32Array } {
  const { seconds, delay = () => 0, signal = tone(220), drift = 0 } = scene;
  const arrivals: { sequence: number; index: number; atUs: number }[] = [];
  let sequence = 0;
  for (let index = 0; index < seconds * 50; index++) {
    const ms = delay(index);
    if (ms === "silent") continue;
    if (ms !== undefined) {
      arrivals.push({ sequence, index, atUs: (index * PACKET_US) / (1 + drift) + 40_000 + ms * 1000 });
    }
    sequence += 1;
  }
  arrivals.sort((a, b) => a.atUs - b.atUs);
  const buffer = new PlayoutBuffer();
  const jitter = new ArrivalJitter();
  const heard = new Float32Array(Math.floor((seconds * SAMPLE_RATE) / QUANTUM) * QUANTUM);
  const samples = new Float32Array(PACKET);
  let next = 0;
  for (let frame = 0; frame < heard.length; frame += QUANTUM) {
    const nowUs = (frame / SAMPLE_RATE) * 1e6;
    for (
      let packet = arrivals[next];
      packet !== undefined && packet.atUs <= nowUs;
      packet = arrivals[++next]
    ) {
      const timestampUs = EPOCH_US + packet.index * PACKET_US;
      const order = jitter.arrived({ sequence: packet.sequence, timestampUs, arrivalUs: packet.atUs });
      if (order === "late" || order === "repeated") continue;
      jitter.playable(timestampUs, packet.atUs);
      for (let i = 0; i < PACKET; i++) samples[i] = signal(packet.index * PACKET + i);
      const afterLoss = order === "after-loss";
      buffer.push({ timestampUs, channels: [samples], afterLoss }, jitter.targetMs(packet.atUs));
    }
    if (scene.minTargetMs !== undefined) buffer.minTargetMs = scene.minTargetMs(nowUs / 1e6);
    scene.look?.(buffer, nowUs / 1e6);
    buffer.pull([heard.subarray(frame, frame + QUANTUM)], QUANTUM);
  }
  return { buffer, heard };
}

/** The greatest step from one sample to the next. */
function greatestStep(samples: Float32Array): number {
  let step = 0;
  for (let i = 1; i < samples.length; i++)
    step = Math.max(step, Math.abs((samples[i] ?? 0) - (samples[i - 1] ?? 0)));
  return step;
}

/** The greatest step of a tone from one sample to the next. */
const stepOf = (hertz: number, amplitude = 0.5) => (amplitude * 2 * Math.PI * hertz) / SAMPLE_RATE;

/** Power at a frequency (Goertzel) as a share of all. */
function shareAt(samples: Float32Array, hertz: number): number {
  const coefficient = 2 * Math.cos((2 * Math.PI * hertz) / SAMPLE_RATE);
  let [before, beforeThat, power] = [0, 0, 0];
  for (const sample of samples) {
    [before, beforeThat] = [sample + coefficient * before - beforeThat, before];
    power += sample * sample;
  }
  const found = before * before + beforeThat * beforeThat - coefficient * before * beforeThat;
  return found / (power * (samples.length / 2));
}

function rms(samples: Float32Array): number {
  let squares = 0;
  for (const sample of samples) squares += sample * sample;
  return Math.sqrt(squares / samples.length);
}

describe("steady arrivals", () => {
  it("plays a tone to the last sample, without anything made up", () => {
    const { buffer, heard } = play({ seconds: 30 });
    expect(buffer.statistics).toEqual({
      concealedMs: 0,
      silenceMs: 0,
      underruns: 0,
      acceleratedMs: buffer.statistics.acceleratedMs,
      expandedMs: 0,
      resets: 0,
    });
    expect(greatestStep(heard)).toBeLessThan(stepOf(220) * 1.1);
    expect(shareAt(heard.subarray(SAMPLE_RATE, 2 * SAMPLE_RATE), 220)).toBeGreaterThan(0.9);
  });

  it("comes down from the cautious beginning to what is needed", () => {
    const delays: number[] = [];
    play({ seconds: 20, look: (buffer, timeS) => timeS > 12 && delays.push(buffer.delayMs) });
    expect(Math.max(...delays)).toBeLessThan(46);
    expect(Math.min(...delays)).toBeGreaterThan(24);
  });

  it("says what plays", () => {
    let [checked, most] = [0, 0];
    play({
      seconds: 5,
      look: (buffer, timeS) => {
        const playing = buffer.playingTimestampUs;
        if (playing === undefined || timeS < 4) return;
        // What arrives now was captured 40 ms ago, and waits for as long as the delay says, less the packet itself.
        const behindMs = timeS * 1000 - (playing - EPOCH_US) / 1000;
        most = Math.max(most, Math.abs(behindMs - 40 - (buffer.delayMs - 20)));
        checked += 1;
      },
    });
    expect(checked).toBeGreaterThan(300);
    expect(most).toBeLessThan(4);
  });

  it("does not take uneven timestamps for silence", () => {
    const buffer = new PlayoutBuffer();
    const uniform = random(6);
    const samples = new Float32Array(PACKET).fill(0.1);
    for (let index = 0; index < 500; index++) {
      const timestampUs = index * PACKET_US + (uniform() - 0.5) * 14_000;
      buffer.push({ timestampUs, channels: [samples], afterLoss: false }, 60);
      for (let frame = 0; frame < PACKET; frame += 120) buffer.pull([new Float32Array(120)], 120);
    }
    expect(buffer.statistics).toMatchObject({ silenceMs: 0, concealedMs: 0, resets: 0 });
    expect(buffer.delayMs).toBeLessThan(76);
  });

  it("holds its delay for minutes although the clocks differ by 200 ppm", () => {
    for (const drift of [200e-6, -200e-6]) {
      const delays: number[] = [];
      const { buffer } = play({
        seconds: 240,
        signal: voice,
        drift,
        look: (playout, timeS) => timeS > 15 && delays.push(playout.delayMs),
      });
      const { underruns, concealedMs, resets } = buffer.statistics;
      expect({ underruns, concealedMs, resets }).toEqual({ underruns: 0, concealedMs: 0, resets: 0 });
      expect(delays.reduce((most, ms) => Math.max(most, ms))).toBeLessThan(50);
      expect(delays.reduce((least, ms) => Math.min(least, ms))).toBeGreaterThan(20);
    }
  });
});

describe("jitter", () => {
  it("conceals less than one percent once the jitter is known", () => {
    for (const [seed, delayOf] of [
      [1, (uniform: () => number) => uniform() * 60],
      [2, (uniform: () => number) => -12 * Math.log(1 - uniform())],
      [3, (uniform: () => number) => (uniform() < 0.04 ? 80 * uniform() : 5 * uniform())],
    ] as const) {
      const uniform = random(seed);
      let freeAt = 0;
      // First in, first out: a packet does not overtake the one before it.
      const delay = (index: number) => {
        const ms = Math.max(delayOf(uniform), freeAt - index * 20 + 0.01);
        freeAt = index * 20 + ms;
        return ms;
      };
      let known = 0;
      const { buffer } = play({
        seconds: 60,
        signal: voice,
        delay,
        look: (playout, timeS) => {
          if (timeS < 5) known = playout.statistics.concealedMs;
        },
      });
      // Of 55 s.
      expect(buffer.statistics.concealedMs - known).toBeLessThan(550);
      expect(buffer.statistics.resets).toBe(0);
      expect(buffer.delayMs).toBeLessThan(200);
    }
  });

  it("comes back to a small delay some seconds after a burst", () => {
    const delays: [number, number][] = [];
    // From 10 s on nothing for 300 ms, then everything at once.
    const { buffer, heard } = play({
      seconds: 40,
      delay: (index) => (index >= 500 && index < 515 ? (515 - index) * 20 : 0),
      look: (playout, timeS) => delays.push([timeS, playout.delayMs]),
    });
    const most = (from: number, to: number) =>
      Math.max(...delays.filter(([timeS]) => timeS >= from && timeS < to).map(([, ms]) => ms));
    expect(most(9, 10)).toBeLessThan(50);
    expect(most(10, 12)).toBeGreaterThan(200);
    expect(most(20, 21)).toBeLessThan(120);
    expect(most(32, 40)).toBeLessThan(50);
    expect(buffer.statistics.underruns).toBe(1);
    expect(buffer.statistics.resets).toBe(0);
    expect(greatestStep(heard)).toBeLessThan(stepOf(220) * 1.6);
  });
});

describe("stretching", () => {
  const steps = (timeS: number) => (timeS < 2 ? 60 : timeS < 8 ? 360 : timeS < 14 ? 60 : 200);

  it("neither clicks nor changes the pitch of tones", () => {
    for (const hertz of [110, 220, 440, 997]) {
      const { buffer, heard } = play({ seconds: 18, signal: tone(hertz), minTargetMs: steps });
      expect(buffer.statistics.expandedMs).toBeGreaterThan(400);
      expect(buffer.statistics.acceleratedMs).toBeGreaterThan(270);
      expect(greatestStep(heard)).toBeLessThan(stepOf(hertz) * 1.5);
      // While it is being stretched: windows short enough to forgive a slight step of the phase.
      for (let second = 1; second < 17; second++) {
        const window = heard.subarray(second * SAMPLE_RATE, second * SAMPLE_RATE + 4800);
        expect(shareAt(window, hertz)).toBeGreaterThan(0.9);
        expect(rms(window)).toBeGreaterThan(0.3);
      }
      expect(buffer.statistics.concealedMs).toBe(0);
    }
  });

  it("does not click where there is no period either", () => {
    // Longer than any period that is looked for.
    const { buffer, heard } = play({ seconds: 18, signal: tone(50), minTargetMs: steps });
    expect(buffer.statistics.expandedMs).toBeGreaterThan(40);
    expect(buffer.statistics.acceleratedMs).toBeGreaterThan(20);
    expect(greatestStep(heard)).toBeLessThan(0.02);
  });

  it("waits for periods before it takes what is not alike", () => {
    const uniform = random(7);
    const accelerated: number[] = [];
    play({
      seconds: 12,
      signal: () => (uniform() - 0.5) * 0.4,
      minTargetMs: (timeS) => (timeS < 5 ? 120 : 0),
      look: (buffer, timeS) => {
        if (timeS > 4.9) accelerated[Math.floor(timeS)] ??= buffer.statistics.acceleratedMs;
      },
    });
    expect(accelerated[6]).toBe(accelerated[5]);
    expect(accelerated[11]).toBeGreaterThan((accelerated[5] ?? 0) + 30);
  });

  it("reaches the target that lip sync asks for, at no more than 15 %", () => {
    const delays: number[] = [];
    const { buffer } = play({
      seconds: 8,
      signal: voice,
      minTargetMs: (timeS) => (timeS < 2 ? 0 : 250),
      look: (playout) => delays.push(playout.delayMs),
    });
    expect(buffer.targetMs).toBe(250);
    expect(Math.abs(buffer.delayMs - 250)).toBeLessThan(20);
    const perS = SAMPLE_RATE / QUANTUM;
    for (let i = perS; i < delays.length; i += 75) {
      expect((delays[i] ?? 0) - (delays[i - perS] ?? 0)).toBeLessThan(150 + 16);
    }
  });

  it("goes on in quiet and in noise, where there are no periods", () => {
    const uniform = random(5);
    for (const amplitude of [0.001, 0.2]) {
      const { buffer } = play({
        seconds: 20,
        signal: () => (uniform() - 0.5) * amplitude,
        minTargetMs: (timeS) => (timeS < 5 ? 150 : 0),
      });
      expect(buffer.delayMs).toBeLessThan(50);
      expect(buffer.statistics.resets).toBe(0);
    }
  });
});

describe("loss", () => {
  const losing = (index: number) => (index > 100 && index % 25 === 0 ? undefined : 0);

  it("conceals single packets, and no more than they were", () => {
    let lost = 0;
    const delay = (index: number) => {
      const ms = losing(index);
      if (ms === undefined) lost += 1;
      return ms;
    };
    const { buffer, heard } = play({ seconds: 20, delay });
    const { concealedMs, underruns, silenceMs, resets } = buffer.statistics;
    expect(concealedMs).toBeCloseTo(lost * 20, 6);
    expect({ underruns, silenceMs, resets }).toEqual({ underruns: 0, silenceMs: 0, resets: 0 });
    expect(greatestStep(heard)).toBeLessThan(stepOf(220) * 2.2);
    for (let second = 3; second < 19; second++) {
      expect(rms(heard.subarray(second * SAMPLE_RATE, second * SAMPLE_RATE + 2400))).toBeGreaterThan(0.25);
    }
  });

  it("does not click at the joints of a sound without period", () => {
    const { buffer, heard } = play({ seconds: 20, signal: tone(50), delay: losing });
    expect(buffer.statistics.concealedMs).toBeGreaterThan(600);
    expect(greatestStep(heard)).toBeLessThan(0.03);
  });

  it("fades within 60 ms when more is missing, and comes back without a click", () => {
    const { buffer, heard } = play({
      seconds: 4,
      delay: (index) => (index >= 100 && index < 110 ? undefined : 0),
    });
    expect(buffer.statistics.concealedMs).toBeCloseTo(200, 6);
    const at = (ms: number) => rms(heard.subarray(ms * 48, (ms + 10) * 48));
    // The last packet before the gap plays until 2000 + 40 + the delay.
    expect(at(2030)).toBeGreaterThan(0.3);
    expect(at(2150)).toBe(0);
    expect(at(2200)).toBe(0);
    expect(at(2320)).toBeGreaterThan(0.3);
    expect(greatestStep(heard)).toBeLessThan(stepOf(220) * 2.2);
    let steps = 0;
    for (let ms = 2050; ms < 2130; ms += 10) if (at(ms + 10) > at(ms) + 0.02) steps += 1;
    expect(steps).toBe(0);
  });

  it("keeps the delay over a loss", () => {
    const delays: number[] = [];
    const { buffer } = play({
      seconds: 60,
      signal: voice,
      delay: (index) => (index > 600 && index % 17 === 0 ? undefined : 0),
      look: (playout, timeS) => timeS > 10 && delays.push(playout.delayMs),
    });
    expect(Math.max(...delays)).toBeLessThan(50);
    expect(Math.min(...delays)).toBeGreaterThan(20);
    expect(buffer.statistics.acceleratedMs).toBeLessThan(60);
  });
});

describe("silence that is not sent", () => {
  const talk = (index: number) => (index % 150 < 100 || index % 20 === 0 ? 0 : "silent");
  const signal: Signal = (sample) => {
    const inSpurt = (sample / PACKET) % 150;
    // Voices do not stop at once: the last packets before the silence are quiet.
    return inSpurt < 95 ? voice(sample) : 0.0005 * Math.sin(sample);
  };

  it("is silence and not concealment", () => {
    const { buffer, heard } = play({ seconds: 60, delay: talk, signal });
    const { concealedMs, underruns, silenceMs, resets } = buffer.statistics;
    expect({ concealedMs, underruns, resets }).toEqual({ concealedMs: 0, underruns: 0, resets: 0 });
    expect(silenceMs).toBeGreaterThan(15_000);
    expect(silenceMs).toBeLessThan(20_000);
    expect(rms(heard.subarray(2.6 * SAMPLE_RATE, 2.7 * SAMPLE_RATE))).toBe(0);
  });

  it("corrects the delay for nothing", () => {
    let most = 0;
    const { buffer } = play({
      seconds: 12,
      delay: talk,
      signal,
      // Between two words.
      minTargetMs: (timeS) => (timeS < 5.3 ? 0 : 150),
      look: (playout, timeS) => {
        if (timeS > 6.5) most = Math.max(most, Math.abs(playout.delayMs - 150));
      },
    });
    expect(most).toBeLessThan(16);
    expect(buffer.statistics.expandedMs).toBeLessThan(10);
  });

  it("ends what plays when it is long, and begins anew without a click", () => {
    let idle = 0;
    const { buffer, heard } = play({
      seconds: 60,
      delay: (index) => (index < 200 || index > 2700 ? 0 : "silent"),
      look: (playout, timeS) => {
        if (timeS > 10 && timeS < 50 && playout.playingTimestampUs === undefined) idle += 1;
      },
    });
    expect(idle).toBeGreaterThan(14_000);
    expect(buffer.playingTimestampUs).toBeGreaterThan(EPOCH_US + 59_000_000);
    expect(buffer.statistics.resets).toBe(0);
    expect(buffer.statistics.concealedMs).toBe(0);
    expect(greatestStep(heard)).toBeLessThan(stepOf(220) * 1.6);
  });
});

describe("bounds", () => {
  const packet = (timestampMs: number, channels: Float32Array[], afterLoss = false) => ({
    timestampUs: timestampMs * 1000,
    channels,
    afterLoss,
  });
  const constant = (value: number, frames = PACKET) => new Float32Array(frames).fill(value);
  const pull = (buffer: PlayoutBuffer, frames: number, channels = 1) => {
    const output = Array.from({ length: channels }, () => new Float32Array(frames));
    for (let i = 0; i < frames; i += QUANTUM) {
      buffer.pull(
        output.map((samples) => samples.subarray(i, i + QUANTUM)),
        QUANTUM,
      );
    }
    return output;
  };

  it("drops what is far too much down to the target", () => {
    const buffer = new PlayoutBuffer();
    for (let i = 0; i < 100; i++) buffer.push(packet(i * 20, [constant(0.1)]), 50);
    expect(buffer.depthMs).toBeLessThanOrEqual(350);
    expect(buffer.statistics.resets).toBeGreaterThan(0);
    const playing = buffer.playingTimestampUs ?? 0;
    expect(playing / 1000).toBeGreaterThan(2000 - 350 - 1);
  });

  it("begins anew at a step of the timestamps", () => {
    for (const step of [5000, -3000]) {
      const buffer = new PlayoutBuffer();
      for (let i = 0; i < 10; i++) buffer.push(packet(10_000 + i * 20, [constant(0.1)]), 100);
      pull(buffer, 1280);
      buffer.push(packet(10_200 + step, [constant(0.1)]), 100);
      expect(buffer.statistics.resets).toBe(1);
      expect(buffer.depthMs).toBeCloseTo(100, 0);
      const playing = (buffer.playingTimestampUs ?? 0) / 1000;
      expect(playing).toBeLessThanOrEqual(10_200 + step);
      expect(playing).toBeGreaterThan(10_200 + step - 100);
      expect(greatestStep(pull(buffer, 48_000)[0] ?? constant(0))).toBeLessThan(0.01);
    }
  });

  it("takes nothing that is no audio", () => {
    const buffer = new PlayoutBuffer();
    buffer.push(packet(0, []), 50);
    buffer.push(packet(0, [new Float32Array(0)]), 50);
    buffer.push(packet(0, [constant(0.5, 48_000 * 3)]), 50);
    buffer.push(packet(Number.NaN, [constant(0.5)]), 50);
    expect(buffer.playingTimestampUs).toBeUndefined();
    buffer.push(packet(0, [constant(Number.NaN), constant(1e9)]), Number.NaN);
    buffer.minTargetMs = Number.NaN;
    expect(pull(buffer, 4800, 2).every((samples) => samples.every((sample) => sample === 0))).toBe(true);
  });

  it("plays mono on both sides, stereo as it is, and stereo in mono as the mean", () => {
    const buffer = new PlayoutBuffer();
    const at = (output: Float32Array[]) =>
      output.map((samples) => Math.round((samples.at(-1) ?? 0) * 1000) / 1000);
    buffer.push(packet(0, [constant(0.2)]), 20);
    expect(at(pull(buffer, 512, 2))).toEqual([0.2, 0.2]);
    buffer.push(packet(20, [constant(0.2), constant(0.6)]), 20);
    buffer.push(packet(40, [constant(0.2), constant(0.6)]), 20);
    expect(at(pull(buffer, 1024, 2))).toEqual([0.2, 0.6]);
    expect(at(pull(buffer, 640, 1))).toEqual([0.4]);
    buffer.push(packet(60, [constant(0.3)]), 20);
    expect(at(pull(buffer, 1024, 2))).toEqual([0.3, 0.3]);
  });

  it("measures the level before the gain, and changes the gain without a click", () => {
    const buffer = new PlayoutBuffer();
    for (let i = 0; i < 10; i++) buffer.push(packet(i * 20, [constant(0.5)]), 20);
    pull(buffer, 1280);
    buffer.takeLevel();
    buffer.gain = 0;
    const [faded] = pull(buffer, 2560);
    expect(faded?.at(-1)).toBe(0);
    expect(greatestStep(faded ?? constant(0))).toBeLessThan(0.005);
    expect(buffer.takeLevel()).toEqual({ rmsDbov: 6, peak: 0.5 });
    expect(buffer.takeLevel()).toEqual({ rmsDbov: 127, peak: 0 });
  });

  it("holds whatever comes", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const uniform = random(seed);
      const buffer = new PlayoutBuffer();
      let timestampMs = 1e9 * uniform();
      let [playing, resets, restarted] = [0, 0, true];
      const output = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
      const faults: string[] = [];
      for (let quantum = 0; quantum < 4000; quantum++) {
        const draw = uniform();
        const pushes = draw < 0.12 ? 1 : draw < 0.121 ? Math.floor(uniform() * 60) : 0;
        for (let i = 0; i < pushes; i++) {
          const kind = uniform();
          const frames = kind < 0.9 ? PACKET : 1 + Math.floor(uniform() * 5760);
          if (kind > 0.85) timestampMs += uniform() * 500;
          if (kind > 0.99) timestampMs += (uniform() - 0.5) * 10_000;
          const first = voice(quantum * 31 + i);
          const channels = Array.from({ length: uniform() < 0.8 ? 1 : 2 }, () =>
            Float32Array.from({ length: frames }, () => first + (uniform() - 0.5) * 0.2),
          );
          buffer.push(packet(timestampMs, channels, uniform() < 0.3), uniform() * 450);
          timestampMs += frames / 48;
        }
        if (uniform() < 0.002) buffer.minTargetMs = uniform() * 2000;
        const now = buffer.playingTimestampUs;
        if (now === undefined) restarted = true;
        else {
          if (!restarted && buffer.statistics.resets === resets && now < playing)
            faults.push("time goes back");
          [playing, resets, restarted] = [now, buffer.statistics.resets, false];
        }
        for (const channel of output) channel.fill(0);
        buffer.pull(output, QUANTUM);
        for (const channel of output) {
          for (const sample of channel) if (!(Math.abs(sample) <= 2)) faults.push(`sample ${sample}`);
        }
        if (!(buffer.depthMs >= 0 && buffer.depthMs <= 2000)) faults.push(`depth ${buffer.depthMs}`);
        if (!Number.isFinite(buffer.delayMs)) faults.push(`delay ${buffer.delayMs}`);
      }
      expect(faults).toEqual([]);
      for (const value of Object.values(buffer.statistics)) expect(value).toBeGreaterThanOrEqual(0);
    }
  });
});
