/** Sound of a meeting in the window: the AudioContext, its worklet nodes, and its clock. */

import { microphoneNode, useSpeaker } from "./devices.js";
import { MeetingError } from "./error.js";
import { CAPTURE_PROCESSOR, type CapturePortMessage } from "./media/capture-messages.js";
import { PLAYOUT_PROCESSOR, type PlayoutPortMessage } from "./media/playout-messages.js";
import { SAMPLE_RATE } from "./media/sample-rate.js";
import { nowUs } from "./worker/link.js";

const CLOCK_INTERVAL_MS = 250;

/** Where two points of the context's clock stand, as `nowUs` has it. */
export interface ClockSample {
  /** What is captured and made now. */
  readonly capture: { readonly contextTimeS: number; readonly localUs: number };
  /** What is heard now. */
  readonly playout: { readonly contextTimeS: number; readonly localUs: number };
}

export class Sound {
  readonly context: AudioContext;
  /** Everything that is heard; connected to the speaker. */
  readonly output: GainNode;
  readonly #clock: ReturnType<typeof setInterval>;

  private constructor(
    context: AudioContext,
    playout: AudioWorkletNode,
    onClock: (sample: ClockSample) => void,
  ) {
    this.context = context;
    this.output = context.createGain();
    playout.connect(this.output).connect(context.destination);
    const tell = () => {
      if (context.state === "running") onClock(clockSample(context));
    };
    this.#clock = setInterval(tell, CLOCK_INTERVAL_MS);
    context.addEventListener("statechange", tell);
    tell();
  }

  /** `worker` is the port of the worker to the playout worklet, to be transferred to it. */
  static async open(onClock: (sample: ClockSample) => void): Promise<{ sound: Sound; worker: MessagePort }> {
    const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
    try {
      await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    } catch (cause) {
      void context.close();
      throw new MeetingError("unsupported", "the browser does not load the audio worklet", {
        code: "AudioWorklet",
        cause,
      });
    }
    const node = new AudioWorkletNode(context, PLAYOUT_PROCESSOR, {
      numberOfInputs: 0,
      numberOfOutputs: 1,
      outputChannelCount: [2],
    });
    const { port1, port2 } = new MessageChannel();
    const message: PlayoutPortMessage = { type: "port", port: port1 };
    node.port.postMessage(message, [port1]);
    return { sound: new Sound(context, node, onClock), worker: port2 };
  }

  /** Nothing is heard: before the first gesture, and on telephones also when another program has taken the sound (`interrupted`). */
  get isBlocked(): boolean {
    const { state } = this.context;
    return state !== "running" && state !== "closed";
  }

  /** To be called from a click: browsers let no sound play before. */
  async resume(): Promise<void> {
    await this.context.resume();
  }

  /** @throws MeetingError `unsupported` where speakers cannot be chosen, `device` if this one cannot be used */
  async setSpeaker(deviceId: string): Promise<void> {
    await useSpeaker(this.context, deviceId);
  }

  close(): void {
    clearInterval(this.#clock);
    void this.context.close().catch(() => {});
  }
}

/** Sound of a microphone on its way to the worker. */
export class AudioCapture {
  readonly #nodes: AudioNode[];
  readonly #port: MessagePort;
  /** To be transferred to the worker. */
  readonly worker: MessagePort;

  /** @throws MeetingError `unsupported` if the browser cannot bring this microphone to the context's rate */
  constructor(context: AudioContext, track: MediaStreamTrack, channels: 1 | 2) {
    const source = microphoneNode(context, track);
    const node = new AudioWorkletNode(context, CAPTURE_PROCESSOR, {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      processorOptions: { channels },
    });
    // Nodes that lead nowhere are not run by every browser.
    const silence = context.createGain();
    silence.gain.value = 0;
    source.connect(node).connect(silence).connect(context.destination);
    this.#nodes = [source, node, silence];
    const { port1, port2 } = new MessageChannel();
    const message: CapturePortMessage = { type: "port", port: port1 };
    node.port.postMessage(message, [port1]);
    this.#port = node.port;
    this.worker = port2;
  }

  close(): void {
    for (const node of this.#nodes) node.disconnect();
    // The processor closes the ports.
    const message: CapturePortMessage = { type: "end" };
    this.#port.postMessage(message);
  }
}

function clockSample(context: AudioContext): ClockSample {
  const capture = { contextTimeS: context.currentTime, localUs: nowUs() };
  const { contextTime, performanceTime } = context.getOutputTimestamp();
  // Some browsers know nothing of the device, and say 0.
  if (contextTime && performanceTime) {
    const localUs = Math.round((performance.timeOrigin + performanceTime) * 1000);
    return { capture, playout: { contextTimeS: contextTime, localUs } };
  }
  const latencyUs = (context.outputLatency || context.baseLatency || 0) * 1e6;
  return { capture, playout: { ...capture, localUs: capture.localUs + latencyUs } };
}
