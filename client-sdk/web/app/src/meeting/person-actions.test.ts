import type { MeetingState, Participant, Rights } from "@darktower/client";
import { describe, expect, it } from "vitest";
import { actionsFor, search } from "./person-actions.js";

function person(participantId: string, change: Partial<Participant> = {}): Participant {
  return {
    participantId,
    name: participantId,
    role: "participant",
    userId: "",
    joinedAtMs: 0,
    streams: [],
    state: { audioMuted: false, videoOn: true, screenSharing: false, handRaised: true },
    onStage: false,
    reconnecting: false,
    networkGrade: "notMeasured",
    ...change,
  };
}

const NO_RIGHTS: Rights = {
  preset: "",
  audio: "allowed",
  camera: "allowed",
  screen: "allowed",
  chatPublic: true,
  chatPrivate: false,
  kick: false,
  muteAudio: false,
  disableCamera: false,
  disableScreen: false,
  admit: false,
  manageStage: false,
  spotlight: false,
  setPreset: false,
  renameSelf: true,
  participantList: true,
  runMeeting: false,
  maxVideoStreams: 16,
};

function state(rights: Partial<Rights>): MeetingState {
  return {
    meetingId: "m",
    displayName: "",
    connection: "connected",
    self: person("me"),
    participants: [],
    rights: { ...NO_RIGHTS, ...rights },
    locked: false,
    spotlight: ["spot"],
    waiting: [],
    stage: { onStage: [], asking: ["asks"], invited: false },
    viewerCount: 0,
    participantCount: 1,
  };
}

describe("actions", () => {
  it("follow the rights", () => {
    expect(actionsFor(state({}), person("a"), false)).toEqual([]);
    expect(actionsFor(state({ muteAudio: true }), person("a"), false)).toEqual(["mute"]);
    expect(actionsFor(state({ muteAudio: true, kick: true }), person("a", { role: "host" }), false)).toEqual(
      [],
    );
    const host = state({
      chatPrivate: true,
      kick: true,
      muteAudio: true,
      disableCamera: true,
      manageStage: true,
      spotlight: true,
      runMeeting: true,
    });
    expect(actionsFor(host, person("a", { role: "host" }), false)).toEqual([
      "message",
      "spotlightOn",
      "mute",
      "cameraStop",
      "lowerHand",
      "rename",
      "remove",
    ]);
    expect(actionsFor(host, person("spot"), false)).toContain("spotlightOff");
    expect(actionsFor(host, person("asks"), false)).toContain("toStage");
    expect(actionsFor(host, person("a"), true)).toContain("toStage");
    const stream = {
      streamId: "s",
      type: "audio",
      codec: "Opus",
      maxBitrateBps: 32_000,
      layers: [],
    } as const;
    expect(actionsFor(host, person("panelist", { streams: [stream] }), true)).not.toContain("toStage");
  });

  it("are few for oneself", () => {
    expect(actionsFor(state({ spotlight: true, muteAudio: true, kick: true }), person("me"), false)).toEqual([
      "spotlightOn",
      "rename",
    ]);
  });
});

describe("search", () => {
  it("looks for all words, without accents and case", () => {
    const people = [person("1", { name: "Zoë Ångström" }), person("2", { name: "Ada Lovelace" })];
    const ids = (query: string) => search(people, query).map((p) => p.participantId);
    expect(ids("zoe")).toEqual(["1"]);
    expect(ids("LOVE ada")).toEqual(["2"]);
    expect(ids("  ")).toEqual(["1", "2"]);
    expect(ids("x")).toEqual([]);
  });
});
