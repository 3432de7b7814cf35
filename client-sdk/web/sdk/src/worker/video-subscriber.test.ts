import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Random } from "../protocol/testing.js";
import { FrameType, type Unit } from "../protocol/unit.js";
import type { StreamDescription } from "../types.js";
import { type MediaLink, nowUs } from "./link.js";
import { VideoSubscriber } from "./video-subscriber.js";

const LOW = "00000000-0000-4000-8000-000000000001";
const HIGH = "00000000-0000-4000-8000-000000000002";
const FRAME_MS = 33;
const DECODE_MS = 4;
/** A payload that the decoder below refuses. */
const BAD = 0xbad;

class Picture {
  static made: Picture[] = [];
  closed = 0;
  readonly displayWidth: number;
  readonly displayHeight = 180;
  constructor(
    readonly timestamp: number,
    readonly bytes: number,
  ) {
    this.displayWidth = bytes === HIGH_BYTES ? 640 : 320;
    Picture.made.push(this);
  }
  close(): void {
    this.closed++;
  }
}
const LOW_BYTES = 20;
const HIGH_BYTES = 40;

interface Chunk {
  readonly type: string;
  readonly timestamp: number;
  readonly data: Uint8Array;
}

/** Decodes in order, one frame in `DECODE_MS`; delta frames only after a key frame. */
class Decoder extends EventTarget {
  static made = 0;
  state = "unconfigured";
  decodeQueueSize = 0;
  #needsKey = true;
  #freeMs = 0;
  constructor(readonly init: { output(picture: Picture): void; error(error: Error): void }) {
    super();
    Decoder.made++;
  }
  configure(): void {
    if (this.state === "closed") throw new Error("closed");
    this.state = "configured";
    this.#needsKey = true;
  }
  decode(chunk: Chunk): void {
    if (this.state !== "configured") throw new Error(this.state);
    if (this.#needsKey && chunk.type !== "key") throw new Error("a key frame is needed");
    this.#needsKey = false;
    this.decodeQueueSize++;
    this.#freeMs = Math.max(this.#freeMs, performance.now()) + DECODE_MS;
    setTimeout(() => this.#finish(chunk), this.#freeMs - performance.now());
  }
  close(): void {
    if (this.state === "closed") throw new Error("closed twice");
    this.state = "closed";
  }
  #finish(chunk: Chunk): void {
    if (this.state === "closed") return;
    this.decodeQueueSize--;
    this.dispatchEvent(new Event("dequeue"));
    if (chunk.data.length === BAD) {
      this.state = "closed";
      this.init.error(new Error("bad"));
    } else {
      this.init.output(new Picture(chunk.timestamp, chunk.data.length));
    }
  }
}

/** A subscriber, the network before it, and everything that it does. */
class Bench {
  readonly drawn: Picture[] = [];
  readonly asked: number[] = [];
  readonly events: string[] = [];
  readonly subscriber: VideoSubscriber;
  readonly link = {
    generation: 1,
    connected: true,
    fromWireUs: (wireUs: number) => wireUs,
    requestKeyFrame: () => void this.asked.push(performance.now()),
  };
  #handle: object | undefined;
  /** Units of the latest group of each layer. */
  #groups = new Map<string, Unit[]>();
  #sequences = new Map([
    [LOW, 0],
    [HIGH, 0],
  ]);

  constructor() {
    const context = { drawImage: (picture: Picture) => void this.drawn.push(picture) };
    const layer = { width: 0, height: 0, maxBitrateBps: 0 };
    const stream: StreamDescription = {
      streamId: "stream",
      type: "camera",
      codec: "VP8",
      maxBitrateBps: 0,
      layers: [
        { layerId: "low", wireStreamId: LOW, ...layer },
        { layerId: "high", wireStreamId: HIGH, ...layer },
      ],
    };
    this.subscriber = new VideoSubscriber({
      stream,
      link: this.link as unknown as MediaLink,
      canvas: { getContext: () => context } as unknown as OffscreenCanvas,
      events: {
        firstFrame: () => this.events.push("first"),
        resize: (width, height) => this.events.push(`${width}x${height}`),
        layer: (layerId) => this.events.push(layerId),
        minAudioDelayMs: (ms) => this.events.push(`sound ${ms}`),
      },
    });
  }

  begin(streamId = LOW, discontinuity = true): void {
    const group = this.#sequences.get(streamId) ?? 0;
    this.#groups.set(streamId, []);
    this.#open(streamId, group, discontinuity);
  }

  /** The server sends the latest group of a layer from its cache, also what it had sent before. */
  repeat(streamId: string): void {
    const units = this.#groups.get(streamId) ?? [];
    this.#open(streamId, units[0]?.sequence ?? 0, true);
    for (const unit of units) this.subscriber.unit(this.#handle ?? {}, unit, nowUs());
  }

  #open(streamId: string, group: number, discontinuity: boolean): void {
    this.end();
    this.#handle = {};
    const preamble = {
      kind: 1,
      continuation: false,
      discontinuity,
      streamId,
      group,
      firstSequence: group,
    } as const;
    this.subscriber.groupBegan(this.#handle, preamble, nowUs());
  }

  end(): void {
    if (this.#handle) this.subscriber.groupEnded(this.#handle, nowUs());
    this.#handle = undefined;
  }

  /** A frame that is captured now comes; or is lost. */
  frame(options: { key?: boolean; streamId?: string; bytes?: number; lost?: boolean } = {}): void {
    const { key = false, streamId = LOW, lost = false } = options;
    const payload = new Uint8Array(options.bytes ?? (streamId === HIGH ? HIGH_BYTES : LOW_BYTES));
    payload.set([key ? 0 : 1, 0, 0, 0x9d, 0x01, 0x2a]);
    const sequence = this.#sequences.get(streamId) ?? 0;
    this.#sequences.set(streamId, sequence + 1);
    const frameType = key ? FrameType.VideoKey : FrameType.VideoDelta;
    const unit: Unit = { frameType, streamId, timestampUs: nowUs(), sequence, flags: 1, payload };
    this.#groups.get(streamId)?.push(unit);
    if (!lost) this.subscriber.unit(this.#handle ?? {}, unit, nowUs());
  }

  /** A group of that many frames in their time. */
  group(frames: number, streamId = LOW): void {
    this.begin(streamId);
    for (let i = 0; i < frames; i++) {
      this.frame({ key: i === 0, streamId });
      vi.advanceTimersByTime(FRAME_MS);
    }
  }

  /** Ends everything, and checks what must always be true. */
  finish(): void {
    this.subscriber.close();
    vi.advanceTimersByTime(1000);
    expect(Picture.made.filter((picture) => picture.closed !== 1)).toEqual([]);
    const times = this.drawn.map((picture) => picture.timestamp);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(new Set(times).size).toBe(times.length);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"], now: 1_000_000 });
  Picture.made = [];
  Decoder.made = 0;
  vi.stubGlobal("VideoDecoder", Decoder);
  vi.stubGlobal(
    "EncodedVideoChunk",
    class {
      constructor(chunk: Chunk) {
        Object.assign(this, chunk);
      }
    },
  );
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => setTimeout(draw, 16));
  vi.stubGlobal("cancelAnimationFrame", (id: number) => clearTimeout(id));
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("VideoSubscriber", () => {
  it("draws what comes", () => {
    const bench = new Bench();
    for (let group = 0; group < 3; group++) bench.group(30);
    vi.advanceTimersByTime(100);
    expect(bench.drawn).toHaveLength(90);
    expect(bench.events).toEqual(["320x180", "first", "low"]);
    const statistics = bench.subscriber.statistics(nowUs() / 1000);
    expect(statistics).toMatchObject({ frames: 90, keyFrames: 3, framesDropped: 0, freezes: 0, width: 320 });
    expect(statistics.framesPerSecond).toBeGreaterThan(27);
    bench.finish();
  });

  it("follows the server to another layer", () => {
    const bench = new Bench();
    bench.group(20, LOW);
    bench.group(20, HIGH);
    bench.group(20, LOW);
    vi.advanceTimersByTime(100);
    expect(bench.drawn).toHaveLength(60);
    expect(bench.events).toEqual(["320x180", "first", "low", "640x180", "high", "320x180", "low"]);
    expect(Decoder.made).toBe(1);
    bench.finish();
  });

  it("goes back to a layer whose group it has had in part already", () => {
    const bench = new Bench();
    bench.group(20, HIGH);
    bench.group(20, LOW);
    // The publisher has sent that, too, in the same group as before; nobody got it.
    for (let i = 0; i < 20; i++) {
      bench.frame({ streamId: HIGH, lost: true });
      vi.advanceTimersByTime(FRAME_MS);
    }
    bench.repeat(HIGH);
    for (let i = 0; i < 20; i++) {
      bench.frame({ streamId: HIGH });
      vi.advanceTimersByTime(FRAME_MS);
    }
    vi.advanceTimersByTime(100);
    expect(bench.events.slice(-2)).toEqual(["640x180", "high"]);
    expect(bench.drawn.length).toBeGreaterThanOrEqual(60);
    expect(bench.asked).toEqual([]);
    bench.finish();
  });

  it("asks for a key frame of a layer that comes alone and without one", () => {
    const bench = new Bench();
    bench.group(5, HIGH);
    bench.group(20, LOW);
    bench.begin(HIGH);
    for (let i = 0; i < 30; i++) {
      bench.frame({ streamId: HIGH });
      vi.advanceTimersByTime(FRAME_MS);
    }
    expect(bench.asked).toHaveLength(1);
    bench.group(10, HIGH);
    vi.advanceTimersByTime(100);
    expect(bench.drawn).toHaveLength(35);
    bench.finish();
  });

  it("goes on at the next key frame after the decoder failed, and asks for it once in 500 ms at most", () => {
    const bench = new Bench();
    bench.group(10);
    for (let i = 0; i < 60; i++) {
      bench.frame(i === 0 ? { bytes: BAD } : {});
      vi.advanceTimersByTime(FRAME_MS);
    }
    expect(bench.drawn).toHaveLength(10);
    expect(bench.asked.length).toBeGreaterThanOrEqual(2);
    const gaps = bench.asked.slice(1).map((at, i) => at - (bench.asked[i] ?? at));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(500);
    bench.group(10);
    vi.advanceTimersByTime(100);
    expect(bench.drawn).toHaveLength(20);
    expect(Decoder.made).toBe(2);
    expect(bench.subscriber.statistics(nowUs() / 1000).freezes).toBe(1);
    bench.finish();
  });

  it("asks less and less often for key frames that do not help", () => {
    const bench = new Bench();
    bench.begin();
    for (let i = 0; i < 900; i++) {
      bench.frame({ key: true, bytes: BAD });
      vi.advanceTimersByTime(FRAME_MS);
    }
    expect(bench.drawn).toEqual([]);
    expect(bench.asked.length).toBeLessThanOrEqual(8);
    bench.finish();
  });

  it("tells loss from what the server left out", () => {
    const loss = (bench: Bench) => bench.subscriber.statistics(nowUs() / 1000).loss;
    const bench = new Bench();
    bench.group(10);
    // Discardable frames, inside a QUIC stream.
    bench.frame({ lost: true });
    bench.frame();
    // The rest of a group, announced.
    for (let i = 0; i < 5; i++) bench.frame({ lost: true });
    bench.group(10);
    bench.group(10, HIGH);
    for (let i = 0; i < 5; i++) bench.frame({ lost: true });
    bench.group(10, LOW);
    vi.advanceTimersByTime(300);
    expect(loss(bench)).toBe(0);
    // Not announced: a QUIC stream that never came.
    for (let i = 0; i < 5; i++) bench.frame({ lost: true });
    bench.begin(LOW, false);
    bench.frame({ key: true });
    vi.advanceTimersByTime(300);
    expect(loss(bench)).toBeGreaterThan(0.05);
    bench.finish();
  });

  it("hands out what waits for a gap when its time is over, although nothing comes", () => {
    const bench = new Bench();
    bench.group(10);
    bench.frame({ lost: true });
    bench.begin(LOW, false);
    bench.frame({ key: true });
    vi.advanceTimersByTime(150);
    expect(bench.drawn).toHaveLength(10);
    vi.advanceTimersByTime(150);
    expect(bench.drawn).toHaveLength(11);
    bench.finish();
  });

  it("consumes pictures while the page is hidden, and counts no freeze for it", () => {
    const bench = new Bench();
    bench.group(30);
    vi.stubGlobal("requestAnimationFrame", () => 0);
    bench.group(90);
    expect(Picture.made.filter((picture) => picture.closed === 0).length).toBeLessThan(8);
    expect(bench.subscriber.statistics(nowUs() / 1000).freezes).toBe(0);
    bench.finish();
  });

  it("asks for a key frame when it was made in the middle of a group", () => {
    const bench = new Bench();
    bench.frame();
    expect(bench.asked).toHaveLength(1);
    bench.finish();
  });

  it("goes on over another connection", () => {
    const bench = new Bench();
    bench.group(20);
    bench.link.connected = false;
    bench.subscriber.connectionChanged();
    vi.advanceTimersByTime(800);
    bench.link.generation = 2;
    bench.link.connected = true;
    bench.subscriber.connectionChanged();
    for (let i = 0; i < 10; i++) bench.frame({ lost: true });
    bench.group(20);
    vi.advanceTimersByTime(100);
    expect(bench.drawn).toHaveLength(40);
    expect(bench.asked).toEqual([]);
    bench.finish();
  });

  it("takes a hold on the sound back when it ends", () => {
    const bench = new Bench();
    bench.begin();
    for (let i = 0; i < 60; i++) {
      bench.subscriber.audioHeard(nowUs(), nowUs() - 60_000);
      bench.frame({ key: i === 0 });
      vi.advanceTimersByTime(FRAME_MS);
    }
    expect(bench.events.filter((event) => event.startsWith("sound"))).not.toEqual([]);
    bench.finish();
    expect(bench.events.at(-1)).toBe("sound 0");
  });

  it("closes every picture once and never goes back in time, whatever happens (60 seeds)", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed);
      Picture.made = [];
      const bench = new Bench();
      let streamId = LOW;
      for (let i = 0; i < 200; i++) {
        if (i === 0 || random.once(20)) {
          if (random.once(2)) streamId = streamId === LOW ? HIGH : LOW;
          bench.begin(streamId);
          bench.frame({ key: true, streamId, lost: random.once(6) });
        } else {
          const bytes = random.once(40) ? { bytes: BAD } : {};
          bench.frame({ streamId, lost: random.once(15), ...bytes });
        }
        if (random.once(60)) {
          bench.link.generation++;
          bench.subscriber.connectionChanged();
        }
        vi.advanceTimersByTime(random.once(30) ? 400 : random.below(50));
      }
      bench.group(30, streamId);
      vi.advanceTimersByTime(500);
      expect(bench.drawn.at(-1)?.timestamp, `seed ${seed}`).toBe(nowUs() - (FRAME_MS + 500) * 1000);
      bench.finish();
    }
  });
});
