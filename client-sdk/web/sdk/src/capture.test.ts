import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { framesOfTrack, videoFrames } from "./capture.js";

class Track extends EventTarget {
  enabled = true;
  readyState: "live" | "ended" = "live";
  readonly clones: Track[] = [];
  clone(): Track {
    const clone = new Track();
    clone.enabled = this.enabled;
    this.clones.push(clone);
    return clone;
  }
  /** No event: whoever stops a track knows. */
  stop(): void {
    this.readyState = "ended";
  }
  /** The device is gone. */
  lose(): void {
    this.readyState = "ended";
    this.dispatchEvent(new Event("ended"));
  }
}

/** Messages arrive at once, or when somebody listens. */
class Port {
  other: Port | undefined;
  closed = false;
  #waiting: unknown[] = [];
  #listener: ((event: { data: unknown }) => void) | undefined;
  set onmessage(listener: (event: { data: unknown }) => void) {
    this.#listener = listener;
    for (const data of this.#waiting.splice(0)) listener({ data });
  }
  postMessage(data: unknown): void {
    if (!this.closed) this.other?.take(data);
  }
  take(data: unknown): void {
    if (this.#listener) this.#listener({ data });
    else this.#waiting.push(data);
  }
  close(): void {
    this.closed = true;
    if (this.other) this.other.closed = true;
  }
}

/** Only in the worker. */
class Processor {
  readonly readable = new ReadableStream({ pull: () => new Promise(() => {}) });
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});

afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a copy of a track in the worker", () => {
  function copied(track: Track) {
    const ports: Port[] = [];
    vi.stubGlobal(
      "MessageChannel",
      class {
        readonly port1 = new Port();
        readonly port2 = new Port();
        constructor() {
          this.port1.other = this.port2;
          this.port2.other = this.port1;
          ports.push(this.port1, this.port2);
        }
      },
    );
    vi.stubGlobal("structuredClone", (value: unknown) => value);
    const opened = videoFrames(track as unknown as MediaStreamTrack, 30);
    const [copy] = track.clones;
    if (opened.source.kind !== "track" || !copy) throw new Error("there is no copy");
    expect(opened.transfer).toContain(ports[1]);
    vi.stubGlobal("MediaStreamTrackProcessor", Processor);
    const frames = framesOfTrack(opened.source.track, opened.source.control);
    return { opened, copy, ports, frames };
  }

  test("is switched off and on with the original", () => {
    const track = new Track();
    const { opened, copy } = copied(track);
    track.enabled = false;
    vi.advanceTimersByTime(250);
    expect(copy.enabled).toBe(false);
    track.enabled = true;
    vi.advanceTimersByTime(250);
    expect(copy.enabled).toBe(true);
    opened.close();
  });

  test.each(["stop", "lose"] as const)("ends when the original does: %s", async (how) => {
    const track = new Track();
    const { copy, frames, ports } = copied(track);
    const read = frames.getReader().read();
    track[how]();
    vi.advanceTimersByTime(250);
    expect(copy.readyState).toBe("ended");
    expect(await read).toMatchObject({ done: true });
    expect(ports.map(({ closed }) => closed)).toEqual([true, true]);
  });

  test("ends when the worker needs it no more, and is not watched when another takes its place", async () => {
    const track = new Track();
    const { opened, copy, frames, ports } = copied(track);
    await frames.cancel();
    expect(copy.readyState).toBe("ended");
    opened.close();
    expect(ports.map(({ closed }) => closed)).toEqual([true, true]);
    expect(track.readyState).toBe("live");
  });
});

test("a track that is played for its frames ends them when it is stopped, also on a hidden page", async () => {
  class Video {
    srcObject: unknown;
    readonly readyState = 2;
    async play(): Promise<void> {}
  }
  vi.stubGlobal("HTMLMediaElement", { HAVE_CURRENT_DATA: 2 });
  vi.stubGlobal("MediaStream", class {});
  vi.stubGlobal(
    "document",
    Object.assign(new EventTarget(), { hidden: true, createElement: () => new Video() }),
  );
  let made = 0;
  vi.stubGlobal(
    "VideoFrame",
    class {
      constructor() {
        made++;
      }
      close(): void {
        made--;
      }
    },
  );
  vi.stubGlobal("structuredClone", () => {
    throw new Error("tracks cannot be transferred");
  });
  const track = new Track();
  const { source } = videoFrames(track as unknown as MediaStreamTrack, 30);
  if (source.kind !== "frames") throw new Error("there are no frames");
  const reader = source.frames.getReader();
  const first = reader.read();
  await vi.advanceTimersByTimeAsync(100);
  expect(await first).toMatchObject({ done: false });
  track.stop();
  await vi.advanceTimersByTimeAsync(300);
  let end = await reader.read();
  for (let i = 0; i < 10 && !end.done; i++) end = await reader.read();
  expect(end.done).toBe(true);
  expect(made).toBe(0);
});
