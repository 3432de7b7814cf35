/** Cameras, microphones, screens and speakers: opening them, and saying what is wrong in words that help. */

import { MeetingError } from "./error.js";
import { Emitter } from "./events.js";
import { levelDbov } from "./media/levels.js";

export interface Devices {
  readonly cameras: MediaDeviceInfo[];
  readonly microphones: MediaDeviceInfo[];
  readonly speakers: MediaDeviceInfo[];
}

export interface CameraOptions {
  readonly deviceId?: string;
  /** Pixels. Absent: what this machine can encode beside everything else. */
  readonly width?: number;
  readonly height?: number;
  readonly framerate?: number;
}

export interface ScreenOptions {
  /** Also what the shared tab or system plays, where the browser can. */
  readonly audio?: boolean;
  readonly framerate?: number;
}

type Source = "camera" | "microphone" | "screen";

/** Machines with up to so many cores have enough to do with small pictures. */
const FEW_CORES = 4;
const SMALL = { width: 640, height: 360 };
const LARGE = { width: 1280, height: 720 };
const CAMERA_FRAMERATE = 30;
/** Text moves little, and each frame is large. */
const SCREEN_FRAMERATE = 15;

/** The devices that there are. Before the user has permitted one of a kind, labels and ids of that kind are empty. */
export async function listDevices(): Promise<Devices> {
  const devices = await mediaDevices("camera")
    .enumerateDevices()
    .catch((error: unknown) => {
      throw deviceError(error, "camera");
    });
  const of = (kind: MediaDeviceKind) => devices.filter((device) => device.kind === kind);
  return { cameras: of("videoinput"), microphones: of("audioinput"), speakers: of("audiooutput") };
}

/** Calls `listener` when devices come, go or may be used, until the function that is returned is called. */
export function onDevicesChanged(listener: () => void): () => void {
  const devices = mediaDevices("camera");
  const changed = () => listener();
  devices.addEventListener("devicechange", changed);
  return () => devices.removeEventListener("devicechange", changed);
}

/** The size that suits this machine. */
function suitableSize(): { width: number; height: number } {
  return (navigator.hardwareConcurrency || FEW_CORES) <= FEW_CORES ? SMALL : LARGE;
}

/**
 * A camera, as near to what is wished as it can be.
 *
 * @throws MeetingError `device`, with the browser's name for it: `NotAllowedError`, `NotFoundError`, `NotReadableError`,
 *   `OverconstrainedError` …
 */
export async function openCamera(options: CameraOptions = {}): Promise<MediaStreamTrack> {
  const suitable = suitableSize();
  const video: MediaTrackConstraints = {
    width: { ideal: options.width ?? suitable.width },
    height: { ideal: options.height ?? suitable.height },
    frameRate: { ideal: options.framerate ?? CAMERA_FRAMERATE },
    ...(options.deviceId ? { deviceId: { exact: options.deviceId } } : { facingMode: "user" }),
  };
  const stream = await open("camera", () => mediaDevices("camera").getUserMedia({ video }));
  const track = firstTrack(stream.getVideoTracks(), "camera");
  track.contentHint = "motion";
  return track;
}

/** A microphone, cleaned of echo and noise; errors as of {@link openCamera}. */
export async function openMicrophone(options: { deviceId?: string } = {}): Promise<MediaStreamTrack> {
  const audio: MediaTrackConstraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    channelCount: { ideal: 1 },
    ...(options.deviceId && { deviceId: { exact: options.deviceId } }),
  };
  const stream = await open("microphone", () => mediaDevices("microphone").getUserMedia({ audio }));
  const track = firstTrack(stream.getAudioTracks(), "microphone");
  track.contentHint = "speech";
  return track;
}

/**
 * A screen, window or tab that the user chooses. To be called in a click handler.
 *
 * @throws MeetingError `device` with code `NotAllowedError` also if the user changes his mind: not worth a message
 */
export async function openScreen(
  options: ScreenOptions = {},
): Promise<{ video: MediaStreamTrack; audio?: MediaStreamTrack }> {
  const devices = mediaDevices("screen");
  if (typeof devices.getDisplayMedia !== "function") {
    throw new MeetingError("unsupported", "This browser cannot share a screen.", { code: "getDisplayMedia" });
  }
  const stream = await open("screen", () =>
    devices.getDisplayMedia({
      video: { frameRate: { ideal: options.framerate ?? SCREEN_FRAMERATE } },
      audio: options.audio === true,
    }),
  );
  const video = firstTrack(stream.getVideoTracks(), "screen");
  video.contentHint = "detail";
  const [audio] = stream.getAudioTracks();
  return audio ? { video, audio } : { video };
}

function mediaDevices(source: Source): MediaDevices {
  const devices: MediaDevices | undefined = navigator.mediaDevices;
  if (devices) return devices;
  const message = globalThis.isSecureContext
    ? `This browser does not give pages access to a ${source}.`
    : `A ${source} can only be used on a secure page: open this page with https.`;
  throw new MeetingError("unsupported", message, { code: "mediaDevices" });
}

async function open(source: Source, ask: () => Promise<MediaStream>): Promise<MediaStream> {
  try {
    return await ask();
  } catch (error) {
    throw error instanceof MeetingError ? error : deviceError(error, source);
  }
}

function firstTrack([track]: MediaStreamTrack[], source: Source): MediaStreamTrack {
  if (track) return track;
  throw new MeetingError("device", `The browser gave no ${source}.`, { code: "NotFoundError" });
}

/** What the browser's error means for a person, and what to do about it. */
export function deviceError(error: unknown, source: Source): MeetingError {
  const code = error instanceof Error ? error.name : "UnknownError";
  return new MeetingError("device", explanation(code, source), { code, cause: error });
}

function explanation(code: string, source: Source): string {
  switch (code) {
    case "NotAllowedError":
    case "SecurityError":
      return source === "screen"
        ? "The screen is not shared: sharing was cancelled, or the system does not allow it. " +
            "Try again, or allow screen recording for this browser in the settings of the system."
        : `The ${source} is blocked. Allow it with the icon beside the address of this page, ` +
            "and for this browser in the privacy settings of the system.";
    case "NotFoundError":
    case "DevicesNotFoundError":
      return source === "screen"
        ? "There is no screen that could be shared."
        : `No ${source} was found. Plug one in, or switch it on, and try again.`;
    case "NotReadableError":
    case "TrackStartError":
    case "AbortError":
      return source === "screen"
        ? "The screen cannot be captured. Choose another window or screen."
        : `The ${source} cannot be used at the moment. Close other programs and tabs that use it, or unplug it and plug it in again.`;
    case "OverconstrainedError":
      return `The chosen ${source} is not there any more, or cannot do what is asked. Choose another one.`;
    case "InvalidStateError":
      return `The ${source} can only be opened after a click on this page.`;
    default:
      return `The ${source} cannot be opened (${code}).`;
  }
}

/**
 * A track's sound in an AudioContext.
 *
 * @throws MeetingError `unsupported`, code `sampleRate`, where browsers do not convert the rate (Firefox) and the device has another
 *   one than the context
 */
export function microphoneNode(context: AudioContext, track: MediaStreamTrack): MediaStreamAudioSourceNode {
  try {
    return context.createMediaStreamSource(new MediaStream([track]));
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== "NotSupportedError") throw cause;
    const rate = `${context.sampleRate / 1000} kHz`;
    throw new MeetingError(
      "unsupported",
      `This browser takes sound only of a microphone that runs at ${rate}. Set it to ${rate} in the settings of the system, ` +
        "or choose another microphone or browser.",
      { code: "sampleRate", cause },
    );
  }
}

interface LevelEvents {
  /** dBov as in RFC 6464: 0 is the loudest, 127 silence. Fifteen times a second. */
  level: number;
}

const LEVEL_INTERVAL_MS = 66;
/** Samples that a level is taken of: 43 ms of 48 kHz. */
const LEVEL_SAMPLES = 2048;

/** How loud a microphone is before there is a meeting. The track stays the caller's. */
export class LevelMeter {
  readonly #emitter = new Emitter<LevelEvents>();
  readonly #context = new AudioContext();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #resume = () => void this.#context.resume().catch(() => {});

  /** @throws MeetingError `unsupported` if the browser cannot take the sound of this microphone */
  constructor(track: MediaStreamTrack) {
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = LEVEL_SAMPLES;
    try {
      microphoneNode(this.#context, track).connect(analyser);
    } catch (error) {
      void this.#context.close().catch(() => {});
      throw error;
    }
    const samples = new Float32Array(LEVEL_SAMPLES);
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / LEVEL_SAMPLES;
      this.#emitter.emit("level", levelDbov(power));
    }, LEVEL_INTERVAL_MS);
    // Browsers let no AudioContext run before the user has done something.
    for (const gesture of GESTURES) addEventListener(gesture, this.#resume);
    this.#resume();
  }

  on(name: "level", listener: (dBov: number) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const gesture of GESTURES) removeEventListener(gesture, this.#resume);
    void this.#context.close().catch(() => {});
  }
}

const GESTURES = ["pointerdown", "keydown"] as const;

/** Two notes, quiet and soft at both ends. */
const TEST_NOTES_HZ = [523.25, 659.26];
const NOTE_S = 0.35;
const NOTE_GAIN = 0.2;
const FADE_S = 0.03;

/**
 * Plays a short sound on the speaker, or on the default one; settles when it is over. To be called in a click handler.
 *
 * @throws MeetingError `unsupported` where speakers cannot be chosen, `device` if this one cannot be used
 */
export async function playTestSound(speakerDeviceId?: string): Promise<void> {
  const context = new AudioContext();
  try {
    if (speakerDeviceId) await useSpeaker(context, speakerDeviceId);
    await context.resume();
    await Promise.all(TEST_NOTES_HZ.map((hz, i) => playNote(context, hz, context.currentTime + i * NOTE_S)));
  } finally {
    void context.close().catch(() => {});
  }
}

/**
 * Lets an AudioContext be heard on this speaker; the empty id is that of the default one.
 *
 * @throws MeetingError `unsupported` where speakers cannot be chosen, `device` if this one cannot be used
 */
export async function useSpeaker(context: AudioContext, deviceId: string): Promise<void> {
  // Newer than the types, and not in every browser.
  const { setSinkId } = context as { setSinkId?: (deviceId: string) => Promise<void> };
  if (!setSinkId) {
    throw new MeetingError("unsupported", "This browser plays on the default speaker only.", {
      code: "setSinkId",
    });
  }
  try {
    await setSinkId.call(context, deviceId);
  } catch (cause) {
    const code = cause instanceof Error ? cause.name : "UnknownError";
    const message = "This speaker cannot be used. Choose another one.";
    throw new MeetingError("device", message, { code, cause });
  }
}

function playNote(context: AudioContext, hz: number, startS: number): Promise<void> {
  const oscillator = context.createOscillator();
  const gain = context.createGain();
  oscillator.frequency.value = hz;
  gain.gain.setValueAtTime(0, startS);
  gain.gain.linearRampToValueAtTime(NOTE_GAIN, startS + FADE_S);
  gain.gain.setValueAtTime(NOTE_GAIN, startS + NOTE_S - FADE_S);
  gain.gain.linearRampToValueAtTime(0, startS + NOTE_S);
  oscillator.connect(gain).connect(context.destination);
  return new Promise((resolve) => {
    oscillator.onended = () => resolve();
    oscillator.start(startS);
    oscillator.stop(startS + NOTE_S);
  });
}
