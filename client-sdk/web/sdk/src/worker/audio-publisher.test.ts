import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { MeetingError } from "../error.js";
import type { CaptureChunk, CaptureCommand } from "../media/capture-messages.js";
import { ContextClock } from "../media/context-clock.js";
import { SAMPLE_RATE } from "../media/sample-rate.js";
import { GroupKind } from "../protocol/group.js";
import { type Unit, UnitDecoder } from "../protocol/unit.js";
import type { StreamDescription } from "../types.js";
import { AudioPublisher } from "./audio-publisher.js";
import { type MediaLink, nowUs } from "./link.js";

const STREAM = "00000000-0000-4000-8000-000000000001";

class Sound {
  static made: Sound[] = [];
  closed = 0;
  readonly timestamp: number;
  constructor(init: { timestamp: number; data: Float32Array }) {
    this.timestamp = init.timestamp;
    Sound.made.push(this);
  }
  close(): void {
    this.closed++;
  }
}

/** Encodes at once. */
class Encoder {
  static made: Encoder[] = [];
  static failing = 0;
  static packetBytes = 80;
  state = "unconfigured";
  encodeQueueSize = 0;
  constructor(readonly init: { output(chunk: unknown): void; error(error: Error): void }) {
    Encoder.made.push(this);
  }
  configure(): void {
    this.state = "configured";
  }
  encode(sound: Sound): void {
    if (Encoder.failing > 0) {
      Encoder.failing--;
      throw new Error("it fails");
    }
    const byteLength = Encoder.packetBytes;
    // The answer comes when whoever asked has noted that it did.
    queueMicrotask(() => this.init.output({ timestamp: sound.timestamp, byteLength, copyTo: () => {} }));
  }
  close(): void {
    if (this.state === "closed") throw new Error("closed twice");
    this.state = "closed";
  }
}

interface Port {
  onmessage?: (event: { data: CaptureChunk }) => void;
  closed: boolean;
  readonly told: CaptureCommand[];
}

class Bench {
  readonly units: Unit[] = [];
  readonly levels: number[] = [];
  readonly failures: MeetingError[] = [];
  /** First bytes of what went on group streams. */
  readonly alone: number[][] = [];
  readonly link = {
    generation: 1,
    connected: true,
    maxDatagramBytes: 1200,
    features: { groups: true, audioDatagrams: true },
    toWireUs: (us: number) => us,
    sendDatagram: (bytes: Uint8Array) => this.#take(bytes),
    openGroup: async () =>
      new WritableStream<Uint8Array>({ write: (bytes) => void this.alone.push([...bytes]) }).getWriter(),
  };
  readonly port: Port = { closed: false, told: [] };
  readonly publisher: AudioPublisher;
  #atS = 10;

  constructor(link: { audioDatagrams?: boolean; connected?: boolean } = {}) {
    this.link.features.audioDatagrams = link.audioDatagrams ?? true;
    this.link.connected = link.connected ?? true;
    const stream: StreamDescription = {
      streamId: STREAM,
      type: "audio",
      codec: "Opus",
      maxBitrateBps: 0,
      layers: [{ layerId: "", wireStreamId: STREAM, width: 0, height: 0, maxBitrateBps: 0 }],
    };
    this.publisher = new AudioPublisher({
      stream,
      link: this.link as unknown as MediaLink,
      onLevel: (dBov) => this.levels.push(dBov),
      onFailed: (error) => this.failures.push(error),
    });
    const clock = new ContextClock();
    clock.update(10, nowUs());
    const { port } = this;
    const messagePort = {
      set onmessage(listener: Port["onmessage"]) {
        if (listener) port.onmessage = listener;
      },
      postMessage: (command: CaptureCommand) => void port.told.push(command),
      close: () => {
        port.closed = true;
      },
    };
    this.publisher.setPort(messagePort as unknown as MessagePort, clock);
  }

  /** 20 ms of sound, `pausedS` after the last. */
  async chunk(levelDbov = 20, pausedS = 0): Promise<void> {
    this.#atS += pausedS;
    const channels = [new Float32Array(SAMPLE_RATE / 50)];
    this.port.onmessage?.({ data: { type: "chunk", contextTimeS: this.#atS, channels, levelDbov } });
    this.#atS += 0.02;
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  #take(bytes: Uint8Array): boolean {
    if (bytes.length > this.link.maxDatagramBytes) return false;
    this.units.push(...new UnitDecoder().push(bytes));
    return true;
  }
}

beforeEach(() => {
  Sound.made = [];
  Encoder.made = [];
  Encoder.failing = 0;
  Encoder.packetBytes = 80;
  vi.stubGlobal("AudioData", Sound);
  vi.stubGlobal("AudioEncoder", Encoder);
});

afterEach(() => {
  vi.unstubAllGlobals();
  expect(Sound.made.filter((sound) => sound.closed !== 1)).toEqual([]);
});

describe("AudioPublisher", () => {
  it("sends one unit for each chunk, with rising sequence and the time of capture", async () => {
    const bench = new Bench();
    for (let i = 0; i < 5; i++) await bench.chunk();
    expect(bench.units.map((unit) => unit.sequence)).toEqual([0, 1, 2, 3, 4]);
    const [first = 0, ...times] = bench.units.map((unit) => unit.timestampUs);
    expect(times.map((timestampUs) => timestampUs - first)).toEqual([20_000, 40_000, 60_000, 80_000]);
    expect(bench.levels).toEqual([20, 20, 20, 20, 20]);
  });

  it("goes on with a new encoder after a pause", async () => {
    const bench = new Bench();
    await bench.chunk();
    await bench.chunk(20, 3);
    expect(Encoder.made.map(({ state }) => state)).toEqual(["closed", "configured"]);
    expect(bench.units.map((unit) => unit.sequence)).toEqual([0, 1]);
    expect((bench.units[1]?.timestampUs ?? 0) - (bench.units[0]?.timestampUs ?? 0)).toBe(3_020_000);
  });

  it("leaves out silence", async () => {
    const bench = new Bench();
    for (let i = 0; i < 100; i++) await bench.chunk(127);
    expect(bench.units.length).toBeLessThan(30);
    expect(bench.units.at(-1)?.sequence).toBe(bench.units.length - 1);
  });

  it("sends what fits into no datagram on a group stream of its own", async () => {
    const bench = new Bench();
    Encoder.packetBytes = 1_300;
    await bench.chunk();
    expect(bench.units).toEqual([]);
    expect(bench.alone).toHaveLength(2);
    expect(bench.alone[0]?.[2]).toBe(GroupKind.Audio);
  });

  it("tells the worklet to be silent while it is switched off, and nothing is sent", async () => {
    const bench = new Bench();
    await bench.chunk();
    bench.publisher.setEnabled(false);
    await bench.chunk();
    expect(bench.units).toHaveLength(1);
    expect(bench.levels).toEqual([20, 127]);
    bench.publisher.setEnabled(true);
    await bench.chunk();
    expect(bench.units).toHaveLength(2);
    expect(bench.port.told).toEqual([
      { type: "mute", muted: true },
      { type: "mute", muted: false },
    ]);
  });

  it("sends nothing without a connection", async () => {
    const bench = new Bench({ connected: false });
    await bench.chunk();
    expect(bench.units).toEqual([]);
    expect(bench.publisher.statistics(0)).toMatchObject([{ frames: 0, framesDropped: 1 }]);
    bench.link.connected = true;
    bench.publisher.connectionChanged();
    await bench.chunk();
    expect(bench.units).toHaveLength(1);
    expect(bench.failures).toEqual([]);
  });

  it("closes the sound of chunks that are not encoded, and gives up an encoder that goes on failing", async () => {
    const bench = new Bench();
    Encoder.failing = 2;
    for (let i = 0; i < 3; i++) await bench.chunk();
    expect(bench.units).toHaveLength(1);
    expect(bench.failures).toEqual([]);
    Encoder.failing = 1;
    await bench.chunk();
    expect(bench.failures).toMatchObject([{ kind: "unsupported", code: "AudioEncoder" }]);
    expect(bench.port.closed).toBe(true);
    expect(Sound.made).toHaveLength(4);
  });

  it("fails at once with a server that takes no sound in datagrams", async () => {
    const bench = new Bench({ audioDatagrams: false });
    await bench.chunk();
    expect(bench.failures).toMatchObject([{ kind: "unsupported", code: "audio-datagrams" }]);
    expect(bench.alone).toEqual([]);
    expect(bench.port.closed).toBe(true);
  });

  it("fails when the next connection takes no sound in datagrams", async () => {
    const bench = new Bench();
    await bench.chunk();
    bench.link.features.audioDatagrams = false;
    bench.publisher.connectionChanged();
    await bench.chunk();
    expect(bench.failures).toMatchObject([{ kind: "unsupported", code: "audio-datagrams" }]);
    expect(bench.alone).toEqual([]);
    expect(bench.units).toHaveLength(1);
  });
});
