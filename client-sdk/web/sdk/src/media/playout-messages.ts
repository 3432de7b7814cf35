/** Messages between the worker that decodes audio and the `darktower-playout` worklet. */

import type { PlayoutStatistics } from "./playout.js";

/** Name of the AudioWorkletProcessor. */
export const PLAYOUT_PROCESSOR = "darktower-playout";

/** To the port of the AudioWorkletNode, once: the port (transferred) over which everything else goes. */
export interface PlayoutPortMessage {
  readonly type: "port";
  readonly port: MessagePort;
}

/** Worker → worklet. */
export type PlayoutCommand =
  | {
      readonly type: "pcm";
      readonly streamId: string;
      /** Capture time of the first sample, µs. */
      readonly timestampUs: number;
      /** One or two, of equal length, 48 kHz; their buffers transferred. */
      readonly channels: readonly Float32Array[];
      /** Packets between this one and the one before are missing (`ArrivalJitter.arrived` said `after-loss`). */
      readonly afterLoss: boolean;
      /** `ArrivalJitter.targetMs`. */
      readonly targetMs: number;
    }
  | { readonly type: "remove"; readonly streamId: string }
  /** Linear, 0 to 4; 0 is mute. */
  | { readonly type: "gain"; readonly streamId: string; readonly gain: number }
  /** Delay that is held at least, 0 to 1500 ms. */
  | { readonly type: "minTarget"; readonly streamId: string; readonly ms: number };

/** One stream at the time of a report. */
export interface PlayoutStreamReport extends PlayoutStatistics {
  readonly streamId: string;
  /** Capture time of the sample at `contextTimeS`, µs; undefined while nothing plays. */
  readonly playingTimestampUs: number | undefined;
  /** Buffered now, ms. */
  readonly depthMs: number;
  /** Buffered right after a packet that came without delay, ms, and what that is aimed to be. */
  readonly delayMs: number;
  readonly targetMs: number;
  /** Level since the last report before the gain, dBov (RFC 6464): 0 is the loudest, 127 silence. */
  readonly levelDbov: number;
}

/** Worklet → worker, every 100 ms. */
export interface PlayoutReport {
  readonly type: "report";
  /** `currentTime` of the AudioContext, seconds: when the samples named here leave for the device. */
  readonly contextTimeS: number;
  readonly streams: readonly PlayoutStreamReport[];
}
