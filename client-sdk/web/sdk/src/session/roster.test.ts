import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { MeetingEvent } from "../events.js";
import { StreamType } from "../protocol/gen/darktower/v1/common_pb.js";
import {
  EnvelopeSchema,
  JoinResponseSchema,
  LeaveReason,
  NetworkGrade,
  type ParticipantSchema,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { Roster } from "./roster.js";

const OWN = "00000000-0000-4000-8000-000000000000";
const ADA = "00000000-0000-4000-8000-00000000000a";
const BOB = "00000000-0000-4000-8000-00000000000b";
const CAMERA = "00000000-0000-4000-8000-0000000000ca";
const VOICE = "00000000-0000-4000-8000-0000000000fe";

type ParticipantInit = MessageInitShape<typeof ParticipantSchema>;
type Message = NonNullable<MessageInitShape<typeof EnvelopeSchema>["message"]>;

const camera = {
  streamId: CAMERA,
  streamType: StreamType.VIDEO_CAMERA,
  metadata: { codec: "VP8", video: { width: 640, height: 360, framerate: 30 } },
};
const voice = { streamId: VOICE, streamType: StreamType.AUDIO, metadata: { codec: "Opus" } };

function roster(
  existing: ParticipantInit[] = [],
  more: MessageInitShape<typeof JoinResponseSchema> = {},
): Roster {
  const joined = create(JoinResponseSchema, { participantId: OWN, existingParticipants: existing, ...more });
  return new Roster("meeting", "Me", joined);
}

function apply(roster: Roster, message: Message): MeetingEvent[] {
  return [...roster.apply(create(EnvelopeSchema, { message }).message).events];
}

const names = (events: readonly MeetingEvent[]) => events.map((event) => event.name);

describe("Roster", () => {
  it("begins with the answer to the join, without oneself", () => {
    const state = roster([{ participantId: OWN }, { participantId: ADA, name: "Ada", streams: [camera] }], {
      meetingDisplayName: "Stand-up",
      locked: true,
      rights: { preset: "video_host", kick: true },
    }).state();
    expect(state.participants.map(({ name }) => name)).toEqual(["Ada"]);
    expect(state.participants[0]?.streams[0]).toMatchObject({ type: "camera", video: { width: 640 } });
    expect(state).toMatchObject({ displayName: "Stand-up", locked: true, self: { name: "Me" } });
    expect(state.rights).toMatchObject({ preset: "video_host", kick: true });
  });

  it("is the same object until something changes", () => {
    const of = roster();
    const before = of.state();
    expect(of.state()).toBe(before);
    apply(of, { case: "activeSpeakerChanged", value: { participantId: ADA } });
    expect(of.state()).not.toBe(before);
    expect(of.state().activeSpeakerId).toBe(ADA);
  });

  it("sees nobody join twice, and nobody unknown leave", () => {
    const of = roster();
    const joined: Message = { case: "participantJoined", value: { participant: { participantId: ADA } } };
    expect(names(apply(of, joined))).toEqual(["participantJoined"]);
    expect(apply(of, joined)).toEqual([]);
    const renamed: Message = {
      case: "participantJoined",
      value: { participant: { participantId: ADA, name: "Ada" } },
    };
    expect(names(apply(of, renamed))).toEqual(["participantUpdated"]);
    const left = (participantId: string): Message => ({
      case: "participantLeft",
      value: { participantId, reason: LeaveReason.KICKED },
    });
    expect(apply(of, left(BOB))).toEqual([]);
    expect(apply(of, left(ADA))).toMatchObject([
      { event: { reason: "kicked", participant: { name: "Ada" } } },
    ]);
    expect(of.state().participants).toEqual([]);
  });

  it("tells of streams that come and go with their participant", () => {
    const of = roster();
    const joined = (streams: (typeof camera | typeof voice)[]): Message => ({
      case: "participantJoined",
      value: { participant: { participantId: ADA, streams } },
    });
    expect(names(apply(of, joined([camera])))).toEqual(["participantJoined", "streamPublished"]);
    const changed = apply(of, joined([voice]));
    expect(names(changed)).toEqual(["participantUpdated", "streamUnpublished", "streamPublished"]);
    expect(changed[2]).toMatchObject({ event: { stream: { streamId: VOICE } } });
  });

  it("ends the streams of whoever leaves, and those that are not named any more", () => {
    const of = roster([{ participantId: ADA, streams: [camera, voice] }]);
    const updated = create(EnvelopeSchema, {
      message: {
        case: "participantUpdated",
        value: { participant: { participantId: ADA, streams: [voice] } },
      },
    });
    expect(of.apply(updated.message).endedStreams).toEqual([CAMERA]);
    const left = create(EnvelopeSchema, {
      message: { case: "participantLeft", value: { participantId: ADA } },
    });
    expect(of.apply(left.message).endedStreams).toEqual([VOICE]);
  });

  it("adds and takes away streams, once", () => {
    const of = roster([{ participantId: ADA }]);
    const published: Message = { case: "streamPublished", value: { participantId: ADA, stream: camera } };
    expect(names(apply(of, published))).toEqual(["streamPublished"]);
    expect(apply(of, published)).toEqual([]);
    expect(of.stream(CAMERA)?.participant.participantId).toBe(ADA);
    const unpublished: Message = {
      case: "streamUnpublished",
      value: { participantId: ADA, streamId: CAMERA },
    };
    expect(names(apply(of, unpublished))).toEqual(["streamUnpublished"]);
    expect(apply(of, unpublished)).toEqual([]);
    expect(of.stream(CAMERA)).toBeUndefined();
  });

  it("sorts the layers of a stream and fills in their ids", () => {
    const layered = {
      ...camera,
      metadata: {
        codec: "VP8",
        video: {
          simulcastLayers: [
            { layerId: "high", height: 720, maxBitrate: 900_000 },
            { layerId: "low", height: 180, maxBitrate: 100_000 },
          ],
        },
      },
    };
    const layers = roster([{ participantId: ADA, streams: [layered] }]).stream(CAMERA)?.stream.layers ?? [];
    expect(layers.map(({ layerId }) => layerId)).toEqual(["low", "high"]);
    expect(new Set(layers.map(({ wireStreamId }) => wireStreamId)).size).toBe(2);
  });

  it("says that one's own stream was ended by a host", () => {
    const of = roster();
    of.setOwnStreams([{ streamId: CAMERA, type: "camera", codec: "VP8", maxBitrateBps: 0, layers: [] }]);
    const message = create(EnvelopeSchema, {
      message: { case: "streamUnpublished", value: { participantId: OWN, streamId: CAMERA } },
    }).message;
    expect(of.apply(message)).toMatchObject({ endedPublication: CAMERA, endedStreams: [] });
    expect(of.state().self.streams).toEqual([]);
  });

  it("takes back what the server refused, but not what a host has done meanwhile", () => {
    const of = roster();
    const undo = of.changeOwnState({ audioMuted: true, handRaised: true });
    expect(of.ownState).toMatchObject({ audioMuted: true, handRaised: true });
    apply(of, {
      case: "participantUpdated",
      value: { participant: { participantId: OWN, state: { audioMuted: true, videoOn: true } } },
    });
    undo();
    expect(of.ownState).toEqual({
      audioMuted: false,
      videoOn: true,
      screenSharing: false,
      handRaised: false,
    });
  });

  it("tells a grade of others always, and the own one with its score only", () => {
    const of = roster([{ participantId: ADA }]);
    const changed = (participantId: string, score: number): Message => ({
      case: "networkQualityChanged",
      value: { participants: [{ participantId, grade: NetworkGrade.FAIR, score }] },
    });
    expect(names(apply(of, changed(ADA, 0)))).toEqual(["networkQuality"]);
    expect(apply(of, changed(OWN, 0))).toEqual([]);
    expect(apply(of, changed(OWN, 3.5))).toMatchObject([{ event: { score: 3.5, grade: "fair" } }]);
    expect(apply(of, changed(BOB, 0))).toEqual([]);
    expect(of.state().self.networkGrade).toBe("fair");
  });

  it("forgets who waits with the right to admit", () => {
    const of = roster([], { rights: { admit: true } });
    apply(of, { case: "waitingRoomChanged", value: { waiting: [{ participantId: BOB, name: "Bob" }] } });
    expect(of.state().waiting).toEqual([{ participantId: BOB, name: "Bob" }]);
    apply(of, { case: "rightsChanged", value: { rights: { admit: false } } });
    expect(of.state().waiting).toEqual([]);
  });

  it("says what is different when everything is told anew", () => {
    const of = roster([
      { participantId: ADA, name: "Ada", streams: [camera] },
      { participantId: BOB, name: "Bob" },
    ]);
    const undo = of.changeOwnState({ handRaised: true });
    expect(undo).toBeTypeOf("function");
    const change = of.replace(
      create(JoinResponseSchema, {
        participantId: OWN,
        locked: true,
        rights: { kick: true },
        existingParticipants: [
          { participantId: ADA, name: "Ada L." },
          { participantId: VOICE, name: "Cleo" },
        ],
      }),
    );
    expect(names(change.events)).toEqual([
      "participantLeft",
      "participantUpdated",
      "streamUnpublished",
      "participantJoined",
      "rightsChanged",
      "meetingUpdated",
    ]);
    expect(change.endedStreams).toEqual([CAMERA]);
    expect(of.state()).toMatchObject({ locked: true, self: { state: { handRaised: true } } });
    expect(of.state().participants.map(({ name }) => name)).toEqual(["Ada L.", "Cleo"]);
  });

  it("ignores what makes no sense, and what it does not know", () => {
    const of = roster();
    const before = of.state();
    expect(apply(of, { case: "participantJoined", value: { participant: { participantId: "me" } } })).toEqual(
      [],
    );
    expect(apply(of, { case: "streamPublished", value: { participantId: ADA, stream: camera } })).toEqual([]);
    expect(of.apply({ case: undefined }).events).toEqual([]);
    expect(of.state()).toBe(before);
  });
});
