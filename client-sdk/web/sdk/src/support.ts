/** What this browser can do, by trying, not by its name. */

import { decodableCodecs, encodableCodecs } from "./media/codec.js";
import { SAMPLE_RATE } from "./media/sample-rate.js";

export interface Support {
  /** Whether meetings work here: nothing is missing. */
  readonly supported: boolean;
  /** What is missing, by the names of the platform: `WebTransport`, `AudioEncoder`, `secure context` … */
  readonly missing: string[];
  readonly canShareScreen: boolean;
  readonly canChooseSpeaker: boolean;
  /** Codecs that it encodes and decodes, in the order in which they are tried. */
  readonly videoCodecs: string[];
}

/** What the SDK cannot do without, by the names of globals. */
const NEEDED = [
  "WebTransport",
  "Worker",
  "VideoEncoder",
  "VideoDecoder",
  "AudioEncoder",
  "AudioDecoder",
  "AudioContext",
  "AudioWorkletNode",
  "OffscreenCanvas",
  "ReadableStream",
] as const;

/** Asks the browser; nothing is opened, no permission is asked for. */
export async function checkSupport(): Promise<Support> {
  const missing: string[] = [];
  // Without one most of the others are not there either, but this is the reason.
  if (!globalThis.isSecureContext) missing.push("secure context");
  missing.push(...NEEDED.filter((name) => !(name in globalThis)));
  if (typeof navigator.mediaDevices?.getUserMedia !== "function") missing.push("getUserMedia");
  const [encodable, decodable, hasOpus] = await Promise.all([
    encodableCodecs(),
    decodableCodecs(),
    handlesOpus(),
  ]);
  const videoCodecs = encodable.filter((codec) => decodable.includes(codec));
  if (videoCodecs.length === 0 && !missing.includes("VideoEncoder")) missing.push("video codec");
  if (!hasOpus && !missing.includes("AudioEncoder")) missing.push("Opus");
  return {
    supported: missing.length === 0,
    missing,
    canShareScreen: typeof navigator.mediaDevices?.getDisplayMedia === "function",
    canChooseSpeaker: canChooseSpeaker(),
    videoCodecs,
  };
}

/** Whether sound of an AudioContext can be sent to a chosen device. */
export function canChooseSpeaker(): boolean {
  return typeof AudioContext !== "undefined" && "setSinkId" in AudioContext.prototype;
}

async function handlesOpus(): Promise<boolean> {
  if (typeof AudioEncoder === "undefined" || typeof AudioDecoder === "undefined") return false;
  const config = { codec: "opus", sampleRate: SAMPLE_RATE, numberOfChannels: 1 };
  try {
    const [encoder, decoder] = await Promise.all([
      AudioEncoder.isConfigSupported({ ...config, bitrate: 32_000 }),
      AudioDecoder.isConfigSupported(config),
    ]);
    return encoder.supported === true && decoder.supported === true;
  } catch {
    return false;
  }
}
