/** Commands of the application as requests of the protocol (docs/protocol.md 5.5). */

import { StageRequest_Action } from "../protocol/gen/darktower/v1/signaling_pb.js";
import { streamTypeMessage } from "../session/convert.js";
import type { AutoOptions, ParticipantState, StreamDescription, SubscribeOptions } from "../types.js";
import type { Command, StageAction } from "./port.js";
import type { Request } from "./signaling.js";

const STAGE_ACTIONS: Record<StageAction, StageRequest_Action> = {
  ask: StageRequest_Action.ASK,
  leave: StageRequest_Action.LEAVE,
  approve: StageRequest_Action.APPROVE,
  deny: StageRequest_Action.DENY,
  invite: StageRequest_Action.INVITE,
  remove: StageRequest_Action.REMOVE,
};

/** The request for a command; `state` is this participant's, the change included. */
export function commandRequest(command: Command, state: ParticipantState): Request {
  switch (command.do) {
    case "setState":
      // The whole is for servers that do not know changes.
      return { case: "updateParticipant", value: { change: { ...command.change }, state: { ...state } } };
    case "rename":
      return {
        case: "updateParticipant",
        value: { name: command.name, participantId: command.participantId },
      };
    case "kick":
      return { case: "kickParticipant", value: { participantId: command.participantId } };
    case "mute":
      return {
        case: "muteParticipant",
        value: { participantId: command.participantId, streamType: streamTypeMessage(command.type) },
      };
    case "lock":
      return { case: "lockMeeting", value: { locked: command.locked } };
    case "end":
      return { case: "endMeeting", value: {} };
    case "admit":
      return {
        case: "admitParticipant",
        value: { participantId: command.participantId, admit: command.admit },
      };
    case "setPreset":
      return { case: "setPreset", value: { participantId: command.participantId, preset: command.preset } };
    case "spotlight":
      return {
        case: "spotlightParticipant",
        value: { participantId: command.participantId, on: command.on },
      };
    case "lowerHands":
      return { case: "lowerHands", value: { participantId: command.participantId } };
    case "stage":
      return {
        case: "stageRequest",
        value: { action: STAGE_ACTIONS[command.action], participantId: command.participantId },
      };
    case "sendChat":
      return {
        case: "sendChatMessage",
        value: { text: command.text, toParticipantId: command.toParticipantId },
      };
    case "editChat":
      return {
        case: "editChatMessage",
        value: { messageId: BigInt(command.messageId), text: command.text },
      };
    case "deleteChat":
      return { case: "deleteChatMessage", value: { messageId: BigInt(command.messageId) } };
    case "pinChat":
      return {
        case: "pinChatMessage",
        value: { messageId: BigInt(command.messageId), pinned: command.pinned },
      };
    case "broadcast":
      return {
        case: "broadcastMessage",
        value: {
          type: command.type,
          payload: command.payload,
          toParticipantIds: [...command.toParticipantIds],
        },
      };
  }
}

export function publishRequest(stream: StreamDescription): Request {
  const { streamId, type, codec, maxBitrateBps, video, audio, layers } = stream;
  // The only layer of a stream without simulcast is not named.
  const simulcastLayers = layers
    .filter((layer) => layer.layerId !== "")
    .map((layer) => ({
      layerId: layer.layerId,
      width: layer.width,
      height: layer.height,
      maxBitrate: Math.round(layer.maxBitrateBps),
      streamId: layer.wireStreamId,
    }));
  return {
    case: "publishStream",
    value: {
      streamId,
      streamType: streamTypeMessage(type),
      metadata: {
        codec,
        maxBitrate: Math.round(maxBitrateBps),
        ...(video ? { video: { ...video, framerate: Math.round(video.framerate), simulcastLayers } } : {}),
        ...(audio ? { audio } : {}),
      },
    },
  };
}

export function unpublishRequest(streamId: string): Request {
  return { case: "unpublishStream", value: { streamId } };
}

export function subscribeRequest(streamId: string, options: SubscribeOptions): Request {
  return { case: "subscribeStream", value: { streamId, options: subscriptionOptions(options) } };
}

export function unsubscribeRequest(streamId: string): Request {
  return { case: "unsubscribeStream", value: { streamId } };
}

/** Undefined: no more. */
export function autoRequest(options: AutoOptions | undefined): Request {
  if (!options) return { case: "subscribeAuto", value: { on: false } };
  return {
    case: "subscribeAuto",
    value: {
      on: true,
      streamTypes: (options.types ?? []).map(streamTypeMessage),
      maxVideoStreams: options.maxVideoStreams ?? 0,
      cameraOptions: subscriptionOptions(options.cameras ?? {}),
      pinnedParticipantIds: [...(options.pinned ?? [])],
    },
  };
}

function subscriptionOptions(options: SubscribeOptions) {
  return { preferredLayer: options.preferredLayer ?? "", maxBitrate: Math.round(options.maxBitrateBps ?? 0) };
}
