import { describe, expect, it } from "vitest";
import { type Own, OwnState } from "./own-state.js";

const START: Own = { name: "Ada", audioMuted: true, videoOn: false, screenSharing: false, handRaised: false };
const live: Own = { ...START, audioMuted: false };

describe("own state", () => {
  it("takes the echo of an own change for none of others", () => {
    const own = new OwnState(START);
    own.begin({ audioMuted: false });
    expect(own.heard(live)).toEqual({});
    expect(own.settle({ audioMuted: false }, true, live)).toEqual({});
    expect(own.heard(live)).toEqual({});
    expect(own.isNews({ audioMuted: false })).toBe(false);
  });

  it("notes that a host mutes, at once although something else is on its way", () => {
    const own = new OwnState(live);
    own.begin({ handRaised: true });
    expect(own.heard({ ...live, audioMuted: true })).toEqual({ audioMuted: true });
    expect(own.isNews({ audioMuted: true })).toBe(false);
    expect(own.isNews({ audioMuted: false })).toBe(true);
  });

  it("notes a mute that crosses the own unmuting as soon as that is answered", () => {
    const own = new OwnState(START);
    own.begin({ audioMuted: false });
    expect(own.heard(START)).toEqual({});
    expect(own.settle({ audioMuted: false }, true, START)).toEqual({ audioMuted: true });
  });

  it("waits for the last of several changes of the same", () => {
    const own = new OwnState(START);
    own.begin({ audioMuted: false });
    own.begin({ audioMuted: true });
    expect(own.settle({ audioMuted: false }, true, live)).toEqual({});
    expect(own.settle({ audioMuted: true }, true, START)).toEqual({});
  });

  it("is what it was after a refusal", () => {
    const own = new OwnState(START);
    own.begin({ name: "Eve" });
    expect(own.settle({ name: "Eve" }, false, START)).toEqual({});
    expect(own.isNews({ name: "Eve" })).toBe(true);
  });
});
