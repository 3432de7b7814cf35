/** What exists in an AudioWorkletGlobalScope and is missing from TypeScript's DOM types (Web Audio API, section 1.32). */

declare abstract class AudioWorkletProcessor {
  readonly port: MessagePort;
}

interface AudioWorkletProcessorConstructor {
  /** Called with the options of the node; what is in them is between the processor and the maker of the node. */
  new (
    options: never,
  ): AudioWorkletProcessor & {
    process(
      inputs: Float32Array[][],
      outputs: Float32Array[][],
      parameters: Record<string, Float32Array>,
    ): boolean;
  };
}

declare function registerProcessor(name: string, processor: AudioWorkletProcessorConstructor): void;

/** Frames rendered before this quantum. */
declare const currentFrame: number;
/** The same in seconds. */
declare const currentTime: number;
/** Of the AudioContext, Hz. */
declare const sampleRate: number;
