import { describe, expect, it } from "vitest";
import { Sender, type Sent } from "./session-media.js";

function track(name: string): MediaStreamTrack {
  return { id: name } as MediaStreamTrack;
}

function publisher(log: string[]) {
  let end: (() => void) | undefined;
  return {
    end: () => end?.(),
    async publish(first: MediaStreamTrack): Promise<Sent> {
      log.push(`publish ${first.id}`);
      return {
        replaceTrack: async (next) => void log.push(`replace ${next.id}`),
        setEnabled: async (enabled) => void log.push(`enabled ${enabled}`),
        stop: async () => void log.push("stop"),
        on: (_name, listener) => {
          end = () => (listener as (event: { reason: string }) => void)({ reason: "host" });
          return () => undefined;
        },
      };
    },
  };
}

describe("sender", () => {
  it("publishes once, and pauses from then on", async () => {
    const log: string[] = [];
    const sender = new Sender(publisher(log), { type: "camera" }, false);
    await sender.set(undefined, true);
    await sender.set(track("a"), true);
    await sender.set(undefined, false);
    await sender.set(track("b"), true);
    expect(log).toEqual(["publish a", "enabled false", "replace b", "enabled true"]);
  });

  it("does what was wished last, when wishes come while it works", async () => {
    const log: string[] = [];
    const sender = new Sender(publisher(log), { type: "camera" }, false);
    const first = sender.set(track("a"), true);
    void sender.set(undefined, false);
    void sender.set(track("b"), true);
    await first;
    expect(log).toEqual(["publish a", "replace b"]);
  });

  it("unpublishes a screen, and publishes it anew", async () => {
    const log: string[] = [];
    const sender = new Sender(publisher(log), { type: "screen" }, true);
    await sender.set(track("a"), true);
    await sender.set(undefined, false);
    await sender.set(track("b"), true);
    expect(log).toEqual(["publish a", "stop", "publish b"]);
  });

  it("tells when others have ended it, and can begin again", async () => {
    const log: string[] = [];
    const made = publisher(log);
    const sender = new Sender(made, { type: "screen" }, true);
    let ended = 0;
    sender.onEnded = () => ended++;
    await sender.set(track("a"), true);
    made.end();
    await sender.set(undefined, false);
    await sender.set(track("b"), true);
    expect(ended).toBe(1);
    expect(log).toEqual(["publish a", "publish b"]);
  });
});
