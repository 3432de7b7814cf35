import { MeetingError, type StreamDescription, type SubscribeOptions } from "@darktower/client";
import { beforeEach, describe, expect, it } from "vitest";
import { type Received, Subscriptions, type Wanted, within } from "./subscriptions.js";

function camera(streamId: string): StreamDescription {
  const layer = (layerId: string, height: number, maxBitrateBps: number) => ({
    layerId,
    wireStreamId: `${streamId}-${layerId}`,
    width: (height * 16) / 9,
    height,
    maxBitrateBps,
  });
  return {
    streamId,
    type: "camera",
    codec: "VP8",
    maxBitrateBps: 2_000_000,
    layers: [layer("low", 180, 150_000), layer("high", 720, 1_500_000)],
  };
}

function wanted(streamId: string, heightPx = 180, priority = 0): Wanted {
  return { stream: camera(streamId), widthPx: (heightPx * 16) / 9, heightPx, priority };
}

let log: string[];
let most: number;
let ended: Map<string, () => void>;

function source() {
  let count = 0;
  return {
    async subscribe(streamId: string, options: SubscribeOptions = {}): Promise<Received> {
      log.push(`+${streamId} ${options.preferredLayer}`);
      if (streamId === "gone") throw new MeetingError("refused", "no", { code: "NOT_FOUND" });
      if (streamId === "full") throw new MeetingError("refused", "no", { code: "CAPACITY_EXCEEDED" });
      count++;
      most = Math.max(most, count);
      return {
        stream: camera(streamId),
        element: undefined,
        async setOptions(change) {
          log.push(`~${streamId} ${change.preferredLayer}`);
        },
        async unsubscribe() {
          await Promise.resolve();
          log.push(`-${streamId}`);
          count--;
        },
        on(name, listener) {
          if (name === "ended") ended.set(streamId, listener as () => void);
          return () => undefined;
        },
      };
    },
  };
}

beforeEach(() => {
  log = [];
  most = 0;
  ended = new Map();
});

describe("subscriptions", () => {
  it("follow what is visible, and never exceed the limit on the way", async () => {
    const subscriptions = new Subscriptions(source());
    await subscriptions.want([wanted("a"), wanted("b")], 2, 0);
    await subscriptions.want([wanted("c"), wanted("d")], 2, 0);
    expect(log).toEqual(["+a low", "+b low", "-a", "-b", "+c low", "+d low"]);
    expect(most).toBe(2);
    expect([...subscriptions.current.value.keys()]).toEqual(["c", "d"]);
  });

  it("ask for the layer that the size of the tile needs", async () => {
    const subscriptions = new Subscriptions(source());
    await subscriptions.want([wanted("a")], 4, 0);
    await subscriptions.want([wanted("a", 720)], 4, 0);
    await subscriptions.want([wanted("a", 720)], 4, 0);
    expect(log).toEqual(["+a low", "~a high"]);
  });

  it("keep the most important ones when there may not be more", () => {
    const some = within([wanted("a", 180, 1), wanted("b", 180, 3), wanted("c", 180, 2)], 2);
    expect(some.map(({ stream }) => stream.streamId)).toEqual(["b", "c"]);
    expect(within([wanted("a")], 0)).toEqual([]);
  });

  it("ask once for what is refused, and again after a new connection", async () => {
    const subscriptions = new Subscriptions(source());
    await subscriptions.want([wanted("gone")], 4, 0);
    await subscriptions.want([wanted("gone"), wanted("a")], 4, 0);
    expect(log).toEqual(["+gone low", "+a low"]);
    await subscriptions.again();
    expect(log).toEqual(["+gone low", "+a low", "+gone low"]);
  });

  it("ask again after some seconds for what a limit has refused, but not for what is gone", async () => {
    let nowMs = 0;
    const subscriptions = new Subscriptions(source(), () => nowMs);
    const both = [wanted("full"), wanted("gone")];
    await subscriptions.want(both, 4, 0);
    nowMs = 4999;
    await subscriptions.want(both, 4, 0);
    expect(log).toEqual(["+full low", "+gone low"]);
    nowMs = 5000;
    await subscriptions.want(both, 4, 0);
    await subscriptions.want(both, 4, 0);
    expect(log).toEqual(["+full low", "+gone low", "+full low"]);
  });

  it("forget a stream that ends by itself", async () => {
    const subscriptions = new Subscriptions(source());
    await subscriptions.want([wanted("a")], 4, 0);
    ended.get("a")?.();
    expect(subscriptions.current.value.size).toBe(0);
    await subscriptions.close();
    expect(log).toEqual(["+a low"]);
  });

  it("end all when they are closed", async () => {
    const subscriptions = new Subscriptions(source());
    await subscriptions.want([wanted("a"), wanted("b")], 4, 0);
    await subscriptions.close();
    expect(log.slice(2)).toEqual(["-a", "-b"]);
    await subscriptions.want([wanted("c")], 4, 0);
    expect(log).toHaveLength(4);
  });
});
