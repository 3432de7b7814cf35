import { afterEach, describe, expect, test, vi } from "vitest";
import { Code } from "../protocol/codes.js";
import { GroupWriter, streamError } from "./group-writer.js";
import type { MediaLink } from "./link.js";

/** A QUIC stream that takes a chunk when it is told to. */
class FakeStream {
  readonly taken: number[] = [];
  end: string | undefined;
  #take: (() => void)[] = [];
  #controller: WritableStreamDefaultController | undefined;
  readonly stream = new WritableStream<Uint8Array>({
    start: (controller) => {
      this.#controller = controller;
    },
    write: (chunk) =>
      new Promise((resolve) => {
        this.#take.push(() => {
          this.taken.push(chunk[0] ?? 0);
          resolve();
        });
      }),
    close: () => {
      this.end = "fin";
    },
    abort: (reason: { streamErrorCode: number }) => {
      this.end = `reset ${reason.streamErrorCode}`;
    },
  });

  async take(): Promise<void> {
    this.#take.shift()?.();
    await settled();
  }

  stop(): void {
    this.#controller?.error(new Error("stopped"));
  }
}

/** Everything that can happen without anything else happening. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

function linkTo(stream: WritableStream<Uint8Array>): MediaLink {
  return {
    generation: 1,
    connected: true,
    openGroup: async () => stream.getWriter(),
    sendDatagram: () => false,
    maxDatagramBytes: 0,
    features: { groups: true, audioDatagrams: true },
    toWireUs: (us) => us,
    fromWireUs: (us) => us,
    requestKeyFrame: () => {},
  };
}

/** As Chromium has it. */
class OlderWebTransportError extends Error {
  readonly streamErrorCode: number | null;
  constructor(init: { message?: string; streamErrorCode?: number }) {
    if (typeof init !== "object") throw new TypeError("not of type 'WebTransportErrorInit'");
    super(init.message);
    this.streamErrorCode = init.streamErrorCode ?? null;
  }
}

class NewerWebTransportError extends Error {
  readonly streamErrorCode: number | null;
  constructor(message = "", options: { streamErrorCode?: number } = {}) {
    super(String(message));
    this.streamErrorCode = options.streamErrorCode ?? null;
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("a group's QUIC stream", () => {
  test("takes what was written before it opened, in order, and ends after it", async () => {
    const fake = new FakeStream();
    const group = new GroupWriter(linkTo(fake.stream), () => {});
    group.write(new Uint8Array([1]), 0);
    group.write(new Uint8Array([2]), 0);
    group.finish();
    expect(group.isOpen).toBe(false);
    group.write(new Uint8Array([3]), 0);
    await settled();
    await fake.take();
    expect(fake.end).toBeUndefined();
    await fake.take();
    expect(fake.taken).toEqual([1, 2]);
    expect(fake.end).toBe("fin");
    await group.ended;
  });

  test("tells how long the oldest bytes wait", async () => {
    const fake = new FakeStream();
    const group = new GroupWriter(linkTo(fake.stream), () => {});
    expect(group.backlogMs(100)).toBe(0);
    group.write(new Uint8Array([1]), 100);
    group.write(new Uint8Array([2]), 133);
    await settled();
    expect(group.backlogMs(200)).toBe(100);
    await fake.take();
    expect(group.backlogMs(200)).toBe(67);
    await fake.take();
    expect(group.backlogMs(200)).toBe(0);
  });

  test("that the other side stops is lost, once, and ends", async () => {
    const fake = new FakeStream();
    const onLost = vi.fn();
    const group = new GroupWriter(linkTo(fake.stream), onLost);
    group.write(new Uint8Array([1]), 0);
    await settled();
    fake.stop();
    await fake.take();
    expect(onLost).toHaveBeenCalledTimes(1);
    expect(group.isOpen).toBe(false);
    expect(group.backlogMs(1_000)).toBe(0);
    await group.ended;
  });

  test("that cannot be opened is lost", async () => {
    const onLost = vi.fn();
    const link = {
      ...linkTo(new WritableStream()),
      openGroup: () => Promise.reject(new Error("no connection")),
    };
    const group = new GroupWriter(link, onLost);
    group.write(new Uint8Array([1]), 0);
    await group.ended;
    expect(onLost).toHaveBeenCalledTimes(1);
  });

  test.each([OlderWebTransportError, NewerWebTransportError])(
    "is reset with its code: %o",
    async (errorClass) => {
      vi.stubGlobal("WebTransportError", errorClass);
      const fake = new FakeStream();
      const onLost = vi.fn();
      const group = new GroupWriter(linkTo(fake.stream), onLost);
      group.write(new Uint8Array([1]), 0);
      await settled();
      group.abort(Code.DROPPED_GROUP, "too far behind");
      expect(group.backlogMs(1_000)).toBe(0);
      // The sink hears of the reset when it has dealt with the chunk that it has.
      await fake.take();
      expect(fake.end).toBe(`reset ${Code.DROPPED_GROUP}`);
      expect(onLost).not.toHaveBeenCalled();
      await group.ended;
    },
  );
});

test.each([OlderWebTransportError, NewerWebTransportError])(
  "stream errors carry code and message: %o",
  (errorClass) => {
    vi.stubGlobal("WebTransportError", errorClass);
    const error = streamError(Code.CANCELLED, "why");
    expect(error.streamErrorCode).toBe(Code.CANCELLED);
    expect(error.message).toBe("why");
  },
);
