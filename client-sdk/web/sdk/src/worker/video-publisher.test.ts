import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { MeetingError } from "../error.js";
import { decodeGroupPreamble, type GroupPreamble } from "../protocol/group.js";
import { Flags, FrameType, type Unit, UnitDecoder } from "../protocol/unit.js";
import type { StreamDescription, StreamType } from "../types.js";
import type { MediaLink } from "./link.js";
import { VideoPublisher } from "./video-publisher.js";

const LOW = "00000000-0000-4000-8000-000000000001";
const HIGH = "00000000-0000-4000-8000-000000000002";

/** A frame whose picture is a letter. */
class Frame {
  static made: Frame[] = [];
  closed = 0;
  readonly picture: string;
  readonly displayWidth: number;
  readonly displayHeight: number;
  readonly timestamp: number;
  constructor(
    of: { picture: string; displayWidth: number; displayHeight: number },
    init: { timestamp: number },
  ) {
    if (of instanceof Frame && of.closed > 0) throw new Error("closed");
    this.picture = of.picture;
    this.displayWidth = of.displayWidth;
    this.displayHeight = of.displayHeight;
    this.timestamp = init.timestamp;
    Frame.made.push(this);
  }
  close(): void {
    this.closed++;
  }
}

interface Config {
  readonly width: number;
  readonly height: number;
  readonly bitrate: number;
}

/** Encodes at once; every second delta frame is of the top temporal layer. */
class Encoder {
  static made: Encoder[] = [];
  static failing = 0;
  state = "unconfigured";
  encodeQueueSize = 0;
  readonly configured: Config[] = [];
  /** `A!` is a key frame of picture A. */
  readonly encoded: string[] = [];
  #needsKey = true;
  #deltas = 0;
  constructor(
    readonly init: {
      output(chunk: unknown, metadata: { svc: { temporalLayerId: number } }): void;
      error(error: Error): void;
    },
  ) {
    Encoder.made.push(this);
  }
  static async isConfigSupported(): Promise<{ supported: boolean }> {
    return { supported: true };
  }
  configure(config: Config): void {
    if (this.state === "closed") throw new Error("closed");
    const last = this.configured.at(-1);
    if (last?.width !== config.width || last.height !== config.height) this.#needsKey = true;
    this.configured.push(config);
    this.state = "configured";
  }
  encode(frame: Frame, { keyFrame }: { keyFrame: boolean }): void {
    if (this.state !== "configured") throw new Error(this.state);
    if (frame.closed > 0) throw new Error("the frame is closed");
    if (Encoder.failing > 0) {
      Encoder.failing--;
      throw new Error("it fails");
    }
    // A decoder would fail: whoever changes the size has to ask for a key frame.
    if (this.#needsKey && !keyFrame) throw new Error("not a key frame");
    this.#needsKey = false;
    this.encoded.push(`${frame.picture}${keyFrame ? "!" : ""}`);
    const data = new TextEncoder().encode(frame.picture);
    this.#deltas = keyFrame ? 0 : this.#deltas + 1;
    this.init.output(
      {
        type: keyFrame ? "key" : "delta",
        timestamp: frame.timestamp,
        byteLength: data.length,
        copyTo: (to: Uint8Array) => to.set(data),
      },
      { svc: { temporalLayerId: this.#deltas % 2 } },
    );
  }
  close(): void {
    if (this.state === "closed") throw new Error("closed twice");
    this.state = "closed";
  }
}

interface Group {
  readonly preamble: GroupPreamble;
  readonly units: Unit[];
  end: string;
}

/** A publisher, its source, and the server. */
class Bench {
  readonly publisher: VideoPublisher;
  readonly failures: MeetingError[] = [];
  readonly groups: Group[] = [];
  readonly link = {
    generation: 1,
    connected: true,
    features: { groups: true, audioDatagrams: true },
    toWireUs: (us: number) => us,
    openGroup: async () => this.#openGroup(),
  };
  #source: ReadableStreamDefaultController<VideoFrame> | undefined;
  cancelled = false;
  #size: { width: number; height: number };

  constructor(type: StreamType, layerIds: readonly string[] = [""], link: { groups?: boolean } = {}) {
    this.#size = type === "screen" ? { width: 1920, height: 1080 } : { width: 640, height: 360 };
    this.link.features.groups = link.groups ?? true;
    const stream: StreamDescription = {
      streamId: HIGH,
      type,
      codec: "VP8",
      maxBitrateBps: 0,
      layers: layerIds.map((layerId) => ({
        layerId,
        wireStreamId: layerId === "low" ? LOW : HIGH,
        width: layerId === "low" ? 320 : this.#size.width,
        height: layerId === "low" ? 180 : this.#size.height,
        maxBitrateBps: 1_000_000,
      })),
    };
    this.publisher = new VideoPublisher({
      stream,
      codec: "VP8",
      framerate: type === "screen" ? 10 : 30,
      link: this.link as unknown as MediaLink,
      onFailed: (error) => this.failures.push(error),
    });
    this.setSource();
  }

  setSource(): void {
    this.publisher.setSource(
      new ReadableStream<VideoFrame>(
        {
          start: (controller) => {
            this.#source = controller;
          },
          cancel: () => {
            this.cancelled = true;
          },
        },
        { highWaterMark: 0 },
      ),
    );
  }

  /** The encoder for pictures of this width that was made last. */
  encoder(width = this.#size.width): Encoder {
    const encoder = Encoder.made.findLast(({ configured }) =>
      configured.some((config) => config.width === width),
    );
    if (!encoder) throw new Error(`there is no encoder for ${width}`);
    return encoder;
  }

  /** What has been encoded, and is forgotten. */
  encoded(): string {
    return Encoder.made.flatMap(({ encoded }) => encoded.splice(0)).join(" ");
  }

  /** A frame that is captured now comes; then that time passes. */
  async frame(picture: string, passesMs: number, size = this.#size): Promise<void> {
    this.#source?.enqueue(
      new Frame(
        { picture, displayWidth: size.width, displayHeight: size.height },
        { timestamp: performance.now() * 1000 },
      ) as unknown as VideoFrame,
    );
    await vi.advanceTimersByTimeAsync(passesMs);
  }

  say(said: { paused?: boolean; keyFrameRequested?: boolean; wireStreamId?: string }): void {
    const { wireStreamId = HIGH, keyFrameRequested = false, ...rest } = said;
    this.publisher.feedback(wireStreamId, { keyFrameRequested, targetBitrateBps: 0, ...rest });
  }

  /** Past the choice of the encoder's structure, and its first frames. */
  async begin(): Promise<void> {
    await this.frame("a", 300);
    await this.frame("a", 300);
    this.encoded();
  }

  /** Ends everything, and checks what must always be true. */
  async finish(): Promise<void> {
    const stopped = this.publisher.stop();
    await vi.advanceTimersByTimeAsync(1_000);
    await stopped;
    expect(Frame.made.filter((frame) => frame.closed !== 1)).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    expect(this.cancelled).toBe(true);
    for (const wireStreamId of [LOW, HIGH]) {
      const units = this.groups
        .flatMap((group) => group.units)
        .filter((unit) => unit.streamId === wireStreamId);
      expect(units.map((unit) => unit.sequence)).toEqual(units.map((_, i) => i));
      const times = units.map((unit) => unit.timestampUs);
      expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
    }
    for (const { units } of this.groups) {
      expect(units.map((unit) => unit.frameType === FrameType.VideoKey)).toEqual(
        units.map((_, i) => i === 0),
      );
    }
  }

  #openGroup(): WritableStreamDefaultWriter<Uint8Array> {
    let group: Group | undefined;
    const decoder = new UnitDecoder();
    return new WritableStream<Uint8Array>({
      write: (bytes) => {
        if (!group) {
          const decoded = decodeGroupPreamble(bytes);
          if (!decoded) throw new Error("no preamble");
          group = { preamble: decoded.preamble, units: [], end: "" };
          this.groups.push(group);
          return;
        }
        group.units.push(...decoder.push(bytes));
      },
      close: () => {
        if (group) group.end = "fin";
      },
      abort: (reason: { streamErrorCode: number }) => {
        if (group) group.end = `reset ${reason.streamErrorCode}`;
      },
    }).getWriter();
  }
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"],
    now: 1_000_000,
  });
  Frame.made = [];
  Encoder.made = [];
  Encoder.failing = 0;
  vi.stubGlobal("VideoFrame", Frame);
  vi.stubGlobal("VideoEncoder", Encoder);
  vi.stubGlobal(
    "WebTransportError",
    class extends Error {
      readonly streamErrorCode: number;
      constructor(message: string, options: { streamErrorCode: number }) {
        super(message);
        this.streamErrorCode = options.streamErrorCode;
      }
    },
  );
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a camera", () => {
  it("is encoded in all layers, with the same timestamps, from a key frame on", async () => {
    const bench = new Bench("camera", ["low", "high"]);
    for (let i = 0; i < 30; i++) await bench.frame("a", 33);
    const [low, high] = [LOW, HIGH].map((id) =>
      bench.groups.flatMap((group) => group.units).filter((unit) => unit.streamId === id),
    );
    expect(low?.length).toBe(29);
    expect(high?.map((unit) => unit.timestampUs)).toEqual(low?.map((unit) => unit.timestampUs));
    expect(bench.groups).toHaveLength(2);
    const discardable = high?.map((unit) => (unit.flags & Flags.Discardable) !== 0);
    expect(discardable?.slice(0, 4)).toEqual([false, true, false, true]);
    expect(bench.publisher.statistics(performance.now())).toMatchObject([
      { layerId: "low", frames: 29, keyFrames: 1, width: 320, height: 180, framesDropped: 0 },
      { layerId: "high", frames: 29, keyFrames: 1, width: 640, height: 360, framesDropped: 0 },
    ]);
    await bench.finish();
  });

  it("leaves out what comes more often than it should", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    for (let i = 0; i < 60; i++) await bench.frame("a", 1000 / 60);
    expect(bench.encoded().split(" ").length).toBeGreaterThanOrEqual(29);
    for (let i = 0; i < 60; i++) await bench.frame("a", 1000 / 60);
    expect(bench.encoded().split(" ")).toHaveLength(30);
    await bench.finish();
  });

  it("is not sent while paused, and begins with a key frame in a new group", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    await bench.frame("a", 33);
    bench.say({ paused: true });
    for (let i = 0; i < 5; i++) await bench.frame("b", 33);
    expect(bench.groups.map((group) => group.end)).toEqual(["fin"]);
    bench.say({ paused: false });
    await bench.frame("c", 33);
    await bench.frame("d", 33);
    expect(bench.encoded()).toBe("a c! d");
    expect(bench.groups).toHaveLength(2);
    await bench.finish();
  });

  it("pauses one layer and goes on with the other", async () => {
    const bench = new Bench("camera", ["low", "high"]);
    await bench.begin();
    bench.say({ wireStreamId: HIGH, paused: true });
    await bench.frame("b", 33);
    expect(bench.encoder(320).encoded).toEqual(["b"]);
    expect(bench.encoder(640).encoded).toEqual([]);
    await bench.finish();
  });

  it("sends one key frame to all who ask within half a second", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    for (let i = 0; i < 18; i++) {
      bench.say({ keyFrameRequested: true });
      await bench.frame("a", 50);
    }
    const at = bench
      .encoded()
      .split(" ")
      .flatMap((frame, i) => (frame === "a!" ? [i] : []));
    expect(at).toHaveLength(2);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBe(10);
    await bench.finish();
  });

  /** One that has sent frame "b", and whose connection is silent while "c" comes. */
  async function silentAfterB(): Promise<Bench> {
    const bench = new Bench("camera");
    await bench.begin();
    await bench.frame("b", 33);
    bench.link.connected = false;
    bench.publisher.connectionChanged();
    await bench.frame("c", 33);
    return bench;
  }

  it("begins anew on another connection, and says that there is a gap", async () => {
    const bench = await silentAfterB();
    bench.link.generation = 2;
    bench.link.connected = true;
    bench.publisher.connectionChanged();
    await bench.frame("d", 33);
    await bench.frame("e", 33);
    expect(bench.encoded()).toBe("b d! e");
    expect(bench.groups.map((group) => group.preamble.discontinuity)).toEqual([false, true]);
    expect(bench.groups[0]?.end).toMatch(/^reset/);
    await bench.finish();
  });

  it("goes on with a key frame when its connection was silent for a while", async () => {
    const bench = await silentAfterB();
    bench.link.connected = true;
    bench.publisher.connectionChanged();
    await bench.frame("d", 33);
    await bench.frame("e", 33);
    expect(bench.encoded()).toBe("b d! e");
    await bench.finish();
  });

  it("is not sent while it is switched off", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    bench.publisher.setEnabled(false);
    await bench.frame("b", 33);
    bench.publisher.setEnabled(true);
    await bench.frame("c", 33);
    expect(bench.encoded()).toBe("c!");
    await bench.finish();
  });

  it("is encoded at its new size at once when a telephone is turned", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    await bench.frame("b", 33, { width: 360, height: 640 });
    expect(bench.encoded()).toBe("b!");
    expect(bench.encoder().configured.at(-1)).toMatchObject({ width: 360, height: 640 });
    await bench.finish();
  });

  it("survives an encoder that fails, and gives up one that goes on failing", async () => {
    const bench = new Bench("camera");
    await bench.begin();
    Encoder.failing = 1;
    await bench.frame("b", 33);
    await bench.frame("c", 33);
    expect(bench.encoded()).toBe("c!");
    Encoder.failing = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 12 && !bench.cancelled; i++) await bench.frame("d", 33);
    expect(bench.failures).toMatchObject([{ kind: "unsupported", code: "VideoEncoder" }]);
    await bench.finish();
  });

  it("fails at once, and when it is connected again, with a server that takes no group streams", async () => {
    const bench = new Bench("camera", [""], { groups: false });
    await vi.advanceTimersByTimeAsync(0);
    expect(bench.failures).toMatchObject([{ kind: "unsupported", code: "groups" }]);
    await bench.finish();
    const later = new Bench("camera");
    await later.begin();
    later.link.features.groups = false;
    later.publisher.connectionChanged();
    await vi.advanceTimersByTimeAsync(0);
    expect(later.failures).toMatchObject([{ kind: "unsupported", code: "groups" }]);
    await later.finish();
  });
});

describe("a shared screen", () => {
  it("shows what came while nobody watched, not what was there before", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    bench.say({ paused: true });
    await bench.frame("B", 3_000);
    expect(bench.encoded()).toBe("");
    bench.say({ paused: false });
    await vi.advanceTimersByTimeAsync(50);
    expect(bench.encoded()).toBe("B!");
    await bench.finish();
  });

  it("shows what came while there was no connection", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    bench.link.connected = false;
    bench.publisher.connectionChanged();
    await bench.frame("B", 3_000);
    bench.link.generation = 2;
    bench.link.connected = true;
    bench.publisher.connectionChanged();
    await vi.advanceTimersByTimeAsync(50);
    expect(bench.encoded()).toBe("B!");
    await bench.finish();
  });

  it("shows what came while it was switched off", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    bench.publisher.setEnabled(false);
    await bench.frame("B", 3_000);
    expect(bench.encoded()).toBe("");
    bench.publisher.setEnabled(true);
    await vi.advanceTimersByTimeAsync(50);
    expect(bench.encoded()).toBe("B!");
    await bench.finish();
  });

  it("shows the last frame before stillness, also one that came too early to be due, as soon as it is", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    await bench.frame("B", 10);
    await bench.frame("C", 10);
    await bench.frame("D", 0);
    expect(bench.encoded()).toBe("B");
    await vi.advanceTimersByTimeAsync(100);
    expect(bench.encoded()).toBe("D");
    await vi.advanceTimersByTimeAsync(500);
    expect(bench.encoded()).toBe("");
    await bench.finish();
  });

  it("is repeated now and then, and soon for whoever waits for a key frame", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    await bench.frame("B", 0);
    expect(bench.encoded()).toBe("B");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(bench.encoded()).toMatch(/^B( B){3,4}$/);
    bench.say({ keyFrameRequested: true });
    await vi.advanceTimersByTimeAsync(450);
    expect(bench.encoded()).toMatch(/B!$/);
    await bench.finish();
  });

  it("that comes faster than it is sent is sent in its rhythm, the newest each time", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    for (let i = 0; i < 50; i++) await bench.frame(String(i), 20);
    const encoded = bench.encoded().split(" ");
    expect(encoded.length).toBeGreaterThanOrEqual(9);
    expect(encoded.length).toBeLessThanOrEqual(11);
    await vi.advanceTimersByTimeAsync(150);
    expect([...encoded, ...bench.encoded().split(" ")].filter(Boolean).at(-1)).toBe("49");
    await bench.finish();
  });

  it("of a window that is resized is encoded anew once, when its size stands", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    for (let i = 1; i <= 10; i++) await bench.frame("B", 100, { width: 1920 - 20 * i, height: 1080 });
    expect(bench.encoded()).toBe("");
    await vi.advanceTimersByTimeAsync(500);
    expect(bench.encoded()).toMatch(/^B!/);
    const sizes = new Set(bench.encoder().configured.map(({ width }) => width));
    expect([...sizes]).toEqual([1920, 1720]);
    await bench.finish();
  });

  it("shows nothing of a source that was replaced", async () => {
    const bench = new Bench("screen");
    await bench.begin();
    bench.say({ paused: true });
    await bench.frame("B", 100);
    bench.setSource();
    bench.say({ paused: false });
    await vi.advanceTimersByTimeAsync(3_000);
    expect(bench.encoded()).toBe("");
    await bench.frame("C", 50);
    expect(bench.encoded()).toBe("C!");
    await bench.finish();
  });
});
