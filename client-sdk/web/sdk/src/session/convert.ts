/** Messages of the server as the types of the SDK. What makes no sense is left out, as unknown fields are. */

import {
  type MediaStream as MediaStreamMessage,
  Role as RoleMessage,
  type StreamMetadata,
  StreamType as StreamTypeMessage,
} from "../protocol/gen/darktower/v1/common_pb.js";
import {
  type ChatMessage as ChatMessageMessage,
  LeaveReason as LeaveReasonMessage,
  NetworkGrade as NetworkGradeMessage,
  type Participant as ParticipantMessage,
  Produce as ProduceMessage,
  type Rights as RightsMessage,
} from "../protocol/gen/darktower/v1/signaling_pb.js";
import { isUuid, layerStreamId } from "../protocol/ids.js";
import type {
  ChatMessage,
  Layer,
  LeaveReason,
  NetworkGrade,
  Participant,
  Produce,
  Rights,
  Role,
  StreamDescription,
  StreamType,
} from "../types.js";

const STREAM_TYPES: Record<StreamTypeMessage, StreamType> = {
  [StreamTypeMessage.AUDIO]: "audio",
  [StreamTypeMessage.VIDEO_CAMERA]: "camera",
  [StreamTypeMessage.VIDEO_SCREEN]: "screen",
};

const GRADES: Record<NetworkGradeMessage, NetworkGrade> = {
  [NetworkGradeMessage.NOT_MEASURED]: "notMeasured",
  [NetworkGradeMessage.EXCELLENT]: "excellent",
  [NetworkGradeMessage.GOOD]: "good",
  [NetworkGradeMessage.FAIR]: "fair",
  [NetworkGradeMessage.POOR]: "poor",
};

const PRODUCE: Record<ProduceMessage, Produce> = {
  [ProduceMessage.NOT_ALLOWED]: "notAllowed",
  [ProduceMessage.ALLOWED]: "allowed",
  [ProduceMessage.CAN_REQUEST]: "canRequest",
};

const LEAVE_REASONS: Record<LeaveReasonMessage, LeaveReason> = {
  [LeaveReasonMessage.VOLUNTARY]: "voluntary",
  [LeaveReasonMessage.KICKED]: "kicked",
  [LeaveReasonMessage.CONNECTION_LOST]: "connectionLost",
  [LeaveReasonMessage.MEETING_ENDED]: "meetingEnded",
  [LeaveReasonMessage.REJECTED]: "rejected",
  [LeaveReasonMessage.DUPLICATE]: "duplicate",
  [LeaveReasonMessage.TIMEOUT]: "timeout",
  [LeaveReasonMessage.MOVED]: "moved",
};

/** Values that a newer server may send are taken for the most harmless one. */
export function networkGrade(grade: NetworkGradeMessage): NetworkGrade {
  return GRADES[grade] ?? "notMeasured";
}

export function leaveReason(reason: LeaveReasonMessage): LeaveReason {
  return LEAVE_REASONS[reason] ?? "voluntary";
}

export function role(role: RoleMessage): Role {
  return role === RoleMessage.HOST ? "host" : "participant";
}

export function streamTypeMessage(type: StreamType): StreamTypeMessage {
  switch (type) {
    case "audio":
      return StreamTypeMessage.AUDIO;
    case "camera":
      return StreamTypeMessage.VIDEO_CAMERA;
    case "screen":
      return StreamTypeMessage.VIDEO_SCREEN;
  }
}

/** Microseconds since the Unix epoch, as milliseconds. */
export function milliseconds(us: bigint): number {
  return Number(us) / 1000;
}

/** Undefined for a stream that this version does not understand. */
export function streamDescription(message: MediaStreamMessage): StreamDescription | undefined {
  const type = STREAM_TYPES[message.streamType];
  if (type === undefined || !isUuid(message.streamId)) return undefined;
  const streamId = message.streamId.toLowerCase();
  const metadata = message.metadata;
  return {
    streamId,
    type,
    codec: metadata?.codec ?? "",
    maxBitrateBps: metadata?.maxBitrate ?? 0,
    ...(type === "audio"
      ? {
          audio: {
            sampleRate: metadata?.audio?.sampleRate || 48_000,
            channels: metadata?.audio?.channels || 1,
          },
        }
      : {
          video: {
            width: metadata?.video?.width ?? 0,
            height: metadata?.video?.height ?? 0,
            framerate: metadata?.video?.framerate ?? 0,
          },
        }),
    layers: layers(streamId, metadata),
  };
}

function layers(streamId: string, metadata: StreamMetadata | undefined): Layer[] {
  const video = metadata?.video;
  const declared = (video?.simulcastLayers ?? []).map((layer) => ({
    layerId: layer.layerId,
    wireStreamId: isUuid(layer.streamId)
      ? layer.streamId.toLowerCase()
      : layerStreamId(streamId, layer.layerId),
    width: layer.width,
    height: layer.height,
    maxBitrateBps: layer.maxBitrate,
  }));
  if (declared.length > 0)
    return declared.sort((a, b) => a.maxBitrateBps - b.maxBitrateBps || a.height - b.height);
  return [
    {
      layerId: "",
      wireStreamId: streamId,
      width: video?.width ?? 0,
      height: video?.height ?? 0,
      maxBitrateBps: metadata?.maxBitrate ?? 0,
    },
  ];
}

/** Undefined if it has no id. */
export function participant(message: ParticipantMessage): Participant | undefined {
  if (!isUuid(message.participantId)) return undefined;
  return {
    participantId: message.participantId.toLowerCase(),
    name: message.name,
    role: role(message.role),
    userId: message.userId,
    joinedAtMs: milliseconds(message.joinedAt),
    streams: message.streams.map(streamDescription).filter((stream) => stream !== undefined),
    state: {
      audioMuted: message.state?.audioMuted ?? false,
      videoOn: message.state?.videoOn ?? false,
      screenSharing: message.state?.screenSharing ?? false,
      handRaised: message.state?.handRaised ?? false,
    },
    onStage: message.onStage,
    reconnecting: message.reconnecting,
    networkGrade: networkGrade(message.networkGrade),
  };
}

export const NO_RIGHTS: Rights = {
  preset: "",
  audio: "notAllowed",
  camera: "notAllowed",
  screen: "notAllowed",
  chatPublic: false,
  chatPrivate: false,
  kick: false,
  muteAudio: false,
  disableCamera: false,
  disableScreen: false,
  admit: false,
  manageStage: false,
  spotlight: false,
  setPreset: false,
  renameSelf: false,
  participantList: false,
  runMeeting: false,
  maxVideoStreams: 0,
};

export function rights(message: RightsMessage | undefined): Rights {
  if (!message) return NO_RIGHTS;
  const { $typeName: _, $unknown: __, ...fields } = message;
  return {
    ...fields,
    audio: PRODUCE[message.audio] ?? "notAllowed",
    camera: PRODUCE[message.camera] ?? "notAllowed",
    screen: PRODUCE[message.screen] ?? "notAllowed",
  };
}

export function chatMessage(message: ChatMessageMessage): ChatMessage {
  return {
    messageId: Number(message.messageId),
    participantId: message.participantId.toLowerCase(),
    name: message.name,
    text: message.text,
    ...(message.toParticipantId ? { toParticipantId: message.toParticipantId.toLowerCase() } : {}),
    sentAtMs: milliseconds(message.sentAt),
    ...(message.editedAt > 0n ? { editedAtMs: milliseconds(message.editedAt) } : {}),
    pinned: message.pinned,
    deleted: message.deleted,
  };
}
