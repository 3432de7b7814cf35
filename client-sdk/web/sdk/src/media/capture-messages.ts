/** Messages between the `darktower-capture` worklet and the worker that encodes audio. */

/** Name of the AudioWorkletProcessor. */
export const CAPTURE_PROCESSOR = "darktower-capture";

/** `processorOptions` of the AudioWorkletNode. */
export interface CaptureOptions {
  /** 1 if absent: of stereo the mean is taken. */
  readonly channels?: 1 | 2;
}

/** To the port of the AudioWorkletNode, once: the port (transferred) over which everything else goes. */
export interface CapturePortMessage {
  readonly type: "port";
  readonly port: MessagePort;
}

/** Worker → worklet. */
export type CaptureCommand = { readonly type: "mute"; readonly muted: boolean };

/** Worklet → worker: 20 ms of sound. */
export interface CaptureChunk {
  readonly type: "chunk";
  /** Time of the first sample by the clock of the AudioContext, seconds. Follows the chunk before unless there was a pause. */
  readonly contextTimeS: number;
  /** 960 samples of 48 kHz each; their buffers transferred. */
  readonly channels: readonly Float32Array[];
  /** Root mean square, dBov (RFC 6464): 0 is the loudest, 127 silence. */
  readonly levelDbov: number;
}
