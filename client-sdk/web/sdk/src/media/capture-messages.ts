/** Messages between the `darktower-capture` worklet and the worker that encodes audio. */

/** Name of the AudioWorkletProcessor. */
export const CAPTURE_PROCESSOR = "darktower-capture";

/** `processorOptions` of the AudioWorkletNode. */
export interface CaptureOptions {
  /** 1 if absent: of stereo the mean is taken. */
  readonly channels?: 1 | 2;
}

/** Window → worklet, over the port of the AudioWorkletNode. */
export type CapturePortMessage =
  /** First: the port (transferred) to the worker. */
  | { readonly type: "port"; readonly port: MessagePort }
  /** Last: the processor is not needed any more. Browsers keep one that does not say so until its context closes. */
  | { readonly type: "end" };

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
