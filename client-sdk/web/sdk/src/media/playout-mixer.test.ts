import { describe, expect, it } from "vitest";
import { PlayoutMixer } from "./playout-mixer.js";

const QUANTUM = 128;
const PACKET = 960;

function packet(index: number, hertz: number, amplitude: number) {
  const samples = Float32Array.from(
    { length: PACKET },
    (_, i) => amplitude * Math.sin((2 * Math.PI * hertz * (index * PACKET + i)) / 48_000),
  );
  return { timestampUs: index * 20_000, channels: [samples], afterLoss: false };
}

/** Pulls `frames` samples of one channel, every quantum in its time. */
function pull(mixer: PlayoutMixer, frames: number): Float32Array {
  const heard = new Float32Array(frames);
  for (let i = 0; i < frames; i += QUANTUM)
    mixer.pull([heard.subarray(i, i + QUANTUM)], QUANTUM, (i / QUANTUM) * 3);
  return heard;
}

const peak = (samples: Float32Array) => samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);

/** Plays packets 0 to 49 of the voices: [hertz, amplitude] each. */
function second(mixer: PlayoutMixer, voices: [number, number][]): Float32Array {
  const heard: Float32Array[] = [];
  for (let index = 0; index < 50; index++) {
    voices.forEach(([hertz, amplitude], n) => {
      mixer.push(`stream-${n}`, packet(index, hertz, amplitude), 30);
    });
    heard.push(pull(mixer, index % 2 === 0 ? 1024 : 896));
  }
  return Float32Array.from(heard.flatMap((samples) => [...samples]));
}

describe("PlayoutMixer", () => {
  it("adds streams and leaves a sum that fits as it is", () => {
    const one = second(new PlayoutMixer(), [[300, 0.3]]);
    const other = second(new PlayoutMixer(), [[500, 0.4]]);
    const both = second(new PlayoutMixer(), [
      [300, 0.3],
      [500, 0.4],
    ]);
    expect(peak(both)).toBeGreaterThan(0.65);
    both.forEach((sample, i) => {
      if (Math.abs(sample - (one[i] ?? 0) - (other[i] ?? 0)) > 1e-6) throw new Error(`differs at ${i}`);
    });
  });

  it("turns voices down together rather than clip", () => {
    const voices: [number, number][] = [200, 310, 420, 530, 640].map((hertz) => [hertz, 0.8]);
    const heard = second(new PlayoutMixer(), voices);
    expect(peak(heard)).toBeLessThan(1);
    const loud = heard.subarray(24_000);
    expect(peak(loud)).toBeGreaterThan(0.8);
    // Clipped, most samples would be at the ceiling.
    expect(loud.filter((sample) => Math.abs(sample) > 0.9).length / loud.length).toBeLessThan(0.05);
    let step = 0;
    heard.forEach((sample, i) => {
      step = Math.max(step, Math.abs(sample - (heard[i - 1] ?? 0)));
    });
    expect(step).toBeLessThan(0.4);
  });

  it("is as loud as before some time after it was too loud", () => {
    const mixer = new PlayoutMixer();
    second(mixer, [
      [300, 1],
      [400, 1],
      [500, 1],
    ]);
    mixer.remove("stream-1");
    mixer.remove("stream-2");
    const heard: Float32Array[] = [];
    for (let index = 50; index < 150; index++) {
      mixer.push("stream-0", packet(index, 300, 0.5), 30);
      heard.push(pull(mixer, index % 2 === 0 ? 1024 : 896));
    }
    expect(peak(heard.at(-1) ?? new Float32Array(1))).toBeCloseTo(0.5, 2);
  });

  it("keeps the gain of a stream that comes later, and forgets removed ones", () => {
    const mixer = new PlayoutMixer();
    mixer.setGain("stream-0", 0.5);
    mixer.setMinTarget("stream-0", 100);
    expect(peak(second(mixer, [[300, 0.4]]).subarray(24_000))).toBeCloseTo(0.2, 2);
    expect([...mixer.streams()].map(([id, buffer]) => [id, buffer.targetMs])).toEqual([["stream-0", 100]]);
    mixer.setGain("stream-0", 0);
    pull(mixer, 256);
    expect(peak(second(mixer, [[300, 0.4]]))).toBe(0);
    mixer.remove("stream-0");
    expect([...mixer.streams()]).toEqual([]);
    expect(peak(second(mixer, [[300, 0.4]]).subarray(24_000))).toBeCloseTo(0.4, 2);
  });

  it("holds more where the device takes much at once", () => {
    const targetOf = (quantaAtOnce: number) => {
      const mixer = new PlayoutMixer();
      let pushed = 0;
      for (let quantum = 0; quantum < 375; quantum++) {
        const burst = Math.floor(quantum / quantaAtOnce);
        // As many as are played, and one more.
        for (; pushed <= (quantum * QUANTUM) / PACKET + 1; pushed++) {
          mixer.push("stream-0", packet(pushed, 300, 0.4), 30);
        }
        mixer.pull([new Float32Array(QUANTUM)], QUANTUM, burst * quantaAtOnce * 3);
      }
      return [...mixer.streams()][0]?.[1].targetMs;
    };
    expect(targetOf(1)).toBe(30);
    expect(targetOf(4)).toBeCloseTo(38, 6);
  });

  it("takes no gain that makes no sense and no streams without end", () => {
    const mixer = new PlayoutMixer();
    for (const gain of [Number.NaN, -1]) {
      mixer.setGain("stream-0", gain);
      expect(peak(second(mixer, [[300, 0.4]]))).toBe(0);
    }
    mixer.setGain("stream-0", 1e9);
    expect(peak(second(mixer, [[300, 0.4]]))).toBeLessThan(1);
    for (let n = 0; n < 1000; n++) mixer.push(`other-${n}`, packet(0, 300, 0.1), 30);
    expect([...mixer.streams()].length).toBe(64);
    // Those that have fallen silent make room.
    pull(mixer, 128 * 500);
    mixer.push("late", packet(0, 300, 0.1), 30);
    expect([...mixer.streams()].length).toBe(64);
    expect([...mixer.streams()].at(-1)?.[0]).toBe("late");
  });
});
