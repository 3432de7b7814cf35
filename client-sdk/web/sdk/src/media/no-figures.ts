/** The figures of a stream of which nothing is known, and those that its kind does not have. */

import type { StreamStatistics } from "../types.js";

export const NO_FIGURES: Omit<StreamStatistics, "streamId" | "type" | "direction" | "codec"> = {
  participantId: "",
  layerId: "",
  bitrateBps: 0,
  width: 0,
  height: 0,
  framesPerSecond: 0,
  frames: 0,
  keyFrames: 0,
  framesDropped: 0,
  loss: 0,
  jitterMs: 0,
  bufferMs: 0,
  latencyP50Ms: 0,
  latencyP95Ms: 0,
  freezes: 0,
  freezeMs: 0,
  concealedMs: 0,
  underruns: 0,
  paused: false,
};
