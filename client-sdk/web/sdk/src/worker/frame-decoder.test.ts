import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { EncodedFrame } from "../media/frames.js";
import { FrameDecoder } from "./frame-decoder.js";

class Picture {
  static made: Picture[] = [];
  closed = 0;
  constructor(readonly timestamp: number) {
    Picture.made.push(this);
  }
  close(): void {
    this.closed++;
  }
}

/** Decodes when it is told to. */
class Decoder extends EventTarget {
  static made: Decoder[] = [];
  state = "unconfigured";
  decodeQueueSize = 0;
  readonly configured: { hardwareAcceleration: string }[] = [];
  readonly #waiting: number[] = [];
  constructor(readonly init: { output(picture: Picture): void; error(error: Error): void }) {
    super();
    Decoder.made.push(this);
  }
  configure(config: { hardwareAcceleration: string }): void {
    this.configured.push(config);
    this.state = "configured";
  }
  decode(chunk: { timestamp: number }): void {
    if (this.state !== "configured") throw new Error(this.state);
    this.decodeQueueSize++;
    this.#waiting.push(chunk.timestamp);
  }
  close(): void {
    if (this.state === "closed") throw new Error("closed twice");
    this.state = "closed";
  }
  /** The next of what waits becomes a picture, or nothing. */
  finish(outcome: "picture" | "nothing" = "picture"): void {
    const timestamp = this.#waiting.shift();
    if (timestamp === undefined) throw new Error("nothing waits");
    this.decodeQueueSize--;
    if (outcome === "picture") this.init.output(new Picture(timestamp));
    this.dispatchEvent(new Event("dequeue"));
  }
  fail(): void {
    this.state = "closed";
    this.init.error(new Error("it fails"));
  }
}

const S = 1_000_000;

class Bench {
  nowUs = 0;
  readonly pictures: string[] = [];
  ready = 0;
  failed = 0;
  readonly decoder = new FrameDecoder<string>(
    "VP8",
    {
      picture: (picture, item, tookUs) => {
        this.pictures.push(`${item} ${tookUs / 1000}`);
        picture.close();
      },
      ready: () => this.ready++,
      failed: () => this.failed++,
    },
    () => this.nowUs,
  );

  decode(item: string, options: { key?: boolean; atUs?: number } = {}): void {
    this.nowUs = options.atUs ?? this.nowUs + 1000;
    const key = options.key === true;
    const payload = Uint8Array.of(key ? 0 : 1, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00);
    const frame: EncodedFrame = { key, timestampUs: this.nowUs, sequence: 0, discardable: false, payload };
    this.decoder.decode(frame, item);
  }

  get fake(): Decoder {
    const decoder = Decoder.made.at(-1);
    if (!decoder) throw new Error("there is no decoder");
    return decoder;
  }
}

beforeEach(() => {
  Picture.made = [];
  Decoder.made = [];
  vi.stubGlobal("VideoDecoder", Decoder);
  vi.stubGlobal(
    "EncodedVideoChunk",
    class {
      constructor(chunk: object) {
        Object.assign(this, chunk);
      }
    },
  );
});

afterEach(() => {
  vi.unstubAllGlobals();
  expect(Picture.made.filter((picture) => picture.closed !== 1)).toEqual([]);
});

describe("FrameDecoder", () => {
  it("hands on pictures with what goes with their frames, and how long they took", () => {
    const bench = new Bench();
    bench.decode("a", { key: true });
    bench.decode("b");
    bench.nowUs += 4000;
    bench.fake.finish();
    bench.fake.finish();
    expect(bench.pictures).toEqual(["a 5", "b 4"]);
    expect(bench.ready).toBe(2);
  });

  it("takes no delta frame before a key frame", () => {
    const bench = new Bench();
    bench.decode("a");
    expect(Decoder.made).toEqual([]);
    expect(bench.failed).toBe(0);
  });

  it("is not taken for one that hangs when frames come in a burst after a pause", () => {
    const bench = new Bench();
    bench.decode("a", { key: true });
    bench.fake.finish();
    for (let i = 0; i < 6; i++) bench.decode(`b${i}`, { atUs: 60 * S + i * 1000 });
    expect(bench.failed).toBe(0);
    for (let i = 0; i < 6; i++) bench.fake.finish();
    expect(bench.pictures).toHaveLength(7);
    expect(Decoder.made).toHaveLength(1);
  });

  it("that once made nothing of a frame is not taken for one that hangs either", () => {
    const bench = new Bench();
    bench.decode("a", { key: true });
    bench.decode("b");
    bench.decode("c");
    bench.fake.finish();
    bench.fake.finish("nothing");
    bench.fake.finish();
    for (let i = 0; i < 6; i++) bench.decode(`d${i}`, { atUs: 60 * S + i * 1000 });
    expect(bench.failed).toBe(0);
  });

  it("is made anew if it has frames and makes nothing of them for three seconds", () => {
    const bench = new Bench();
    bench.decode("a", { key: true });
    const hanging = bench.fake;
    bench.decode("b");
    bench.decode("c");
    // It takes no more: nobody gives it a frame from now on.
    expect(bench.decoder.isReady).toBe(false);
    bench.nowUs = 3 * S;
    bench.decoder.check();
    expect(bench.failed).toBe(0);
    bench.nowUs = 3.1 * S;
    bench.decoder.check();
    expect(bench.failed).toBe(1);
    expect(bench.decoder.errors).toBe(1);
    expect(hanging.state).toBe("closed");
    bench.decode("d", { key: true });
    expect(bench.fake).not.toBe(hanging);
    bench.fake.finish();
    expect(bench.pictures).toEqual(["d 0"]);
  });

  it("closes what a decoder makes after it was given up", () => {
    const bench = new Bench();
    bench.decode("a", { key: true });
    const old = bench.fake;
    old.fail();
    expect(bench.failed).toBe(1);
    old.init.output(new Picture(1000));
    expect(bench.pictures).toEqual([]);
    bench.decoder.close();
  });

  it("tries another kind of decoder after two failures in a row, and the first again after two more", () => {
    const bench = new Bench();
    const kinds: string[] = [];
    for (let i = 0; i < 5; i++) {
      bench.decode("a", { key: true });
      kinds.push(bench.fake.configured.at(-1)?.hardwareAcceleration ?? "");
      bench.fake.fail();
    }
    const [any, software] = ["no-preference", "prefer-software"];
    expect(kinds).toEqual([any, any, software, software, any]);
  });
});
