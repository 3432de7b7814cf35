import { describe, expect, it } from "vitest";
import { Sender, type Sent } from "./session-media.js";

function track(name: string): MediaStreamTrack {
  return { id: name } as MediaStreamTrack;
}

/** Refuses what is in `refused`. */
function publisher(log: string[], refused = new Set<string>()) {
  let end: (() => void) | undefined;
  const does = async (what: string) => {
    log.push(what);
    if (refused.has(what)) throw new Error(what);
  };
  return {
    end: () => end?.(),
    async publish(first: MediaStreamTrack): Promise<Sent> {
      await does(`publish ${first.id}`);
      return {
        replaceTrack: (next) => does(`replace ${next.id}`),
        setEnabled: (enabled) => does(`enabled ${enabled}`),
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
    const ended: string[] = [];
    sender.onEnded = (reason) => ended.push(reason);
    await sender.set(track("a"), true);
    made.end();
    await sender.set(undefined, false);
    await sender.set(track("b"), true);
    expect(ended).toEqual(["host"]);
    expect(log).toEqual(["publish a", "publish b"]);
  });

  it("says what was refused, and does not take it for done", async () => {
    const log: string[] = [];
    const refused = new Set(["publish a", "replace b", "enabled false"]);
    const sender = new Sender(publisher(log, refused), { type: "camera" }, false);
    await expect(sender.set(track("a"), true)).rejects.toThrow("publish a");
    refused.delete("publish a");
    const a = track("a");
    const b = track("b");
    await sender.set(a, true);
    await expect(sender.set(b, true)).rejects.toThrow("replace b");
    refused.delete("replace b");
    await sender.set(b, true);
    await expect(sender.set(undefined, false)).rejects.toThrow("enabled false");
    refused.delete("enabled false");
    await sender.set(undefined, false);
    expect(log).toEqual([
      "publish a",
      "publish a",
      "replace b",
      "replace b",
      "enabled false",
      "enabled false",
    ]);
  });

  it("goes on with the last wish when an earlier one is refused", async () => {
    const log: string[] = [];
    const sender = new Sender(publisher(log, new Set(["publish a"])), { type: "camera" }, false);
    const first = sender.set(track("a"), true);
    void sender.set(track("b"), true);
    await first;
    expect(log).toEqual(["publish a", "publish b"]);
  });

  it("loses no wish that comes just when it has done everything", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const log: string[] = [];
      const sender = new Sender(publisher(log), { type: "camera" }, false);
      void sender.set(track("a"), true);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await sender.set(undefined, false);
      expect(log).toEqual(["publish a", "enabled false"]);
    }
  });
});
