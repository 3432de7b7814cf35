/** Own camera, microphone and speaker: what is wished, and what there is. Shared by the lobby and the meeting. */

import {
  type Devices,
  listDevices,
  MeetingError,
  onDevicesChanged,
  openCamera,
  openMicrophone,
} from "@darktower/client";
import { signal } from "@preact/signals";
import { preferences, remember } from "./preferences.js";

export type DeviceKind = "camera" | "microphone";

/** Opens a device; `""` is the system's default. */
export type Opener = (deviceId: string) => Promise<MediaStreamTrack>;

/** The name of the browser's error, as in `NotAllowedError`. */
export function deviceErrorCode(error: unknown): string {
  if (error instanceof MeetingError) return error.code;
  return error instanceof Error ? error.name : "";
}

/**
 * One device that can be turned on and off. Wishes may change at any time, also while the device is being opened: what
 * was wished last is what comes about.
 */
export class Device {
  readonly kind: DeviceKind;
  /** Whether it is wished to be on. Goes off by itself when the device fails. */
  readonly on = signal(false);
  /** Undefined while it is off (a microphone may stay open) or being opened. */
  readonly track = signal<MediaStreamTrack | undefined>(undefined);
  readonly starting = signal(false);
  /** Why it is not on although it was wished: the name of the browser's error. */
  readonly problem = signal<string | undefined>(undefined);
  /** Called when the device goes away while it is on. */
  onLost: () => void = () => undefined;

  readonly #open: Opener;
  readonly #release: boolean;
  #deviceId: string;
  #openedId = "";
  #running = false;
  #closed = false;

  /** `release`: an off device is closed, so that its light goes out; else it is only silenced, and on again at once. */
  constructor(kind: DeviceKind, open: Opener, deviceId: string, release: boolean) {
    this.kind = kind;
    this.#open = open;
    this.#deviceId = deviceId;
    this.#release = release;
  }

  /** Resolves when it is on or off, or has failed. */
  set(on: boolean): Promise<void> {
    this.on.value = on;
    if (on) this.problem.value = undefined;
    return this.#reconcile();
  }

  choose(deviceId: string): Promise<void> {
    this.#deviceId = deviceId;
    this.problem.value = undefined;
    return this.#reconcile();
  }

  close(): void {
    this.#closed = true;
    this.on.value = false;
    this.#stop();
  }

  #stop(): void {
    const track = this.track.peek();
    this.track.value = undefined;
    track?.stop();
  }

  async #reconcile(): Promise<void> {
    const silent = this.track.peek();
    if (silent) silent.enabled = this.on.peek();
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#closed) {
        const track = this.track.peek();
        const on = this.on.peek();
        if (on && (track === undefined || this.#openedId !== this.#deviceId)) await this.#start();
        else if (!on && track !== undefined && this.#release) this.#stop();
        else break;
      }
    } finally {
      this.#running = false;
      this.starting.value = false;
    }
  }

  async #start(): Promise<void> {
    this.starting.value = true;
    const deviceId = this.#deviceId;
    // Most systems give a camera to one capture at a time.
    if (this.#release) this.#stop();
    let track: MediaStreamTrack;
    try {
      track = await this.#open(deviceId);
    } catch (error) {
      const code = deviceErrorCode(error);
      if (code === "OverconstrainedError" && deviceId !== "" && this.#deviceId === deviceId) {
        // The device that was remembered is not plugged in today.
        this.#deviceId = "";
        return;
      }
      // Another one has been chosen meanwhile: it is tried.
      if (this.#deviceId !== deviceId && this.on.peek()) return;
      this.#stop();
      this.on.value = false;
      this.problem.value = code;
      return;
    }
    if (this.#closed) {
      track.stop();
      return;
    }
    this.#stop();
    this.#openedId = deviceId;
    track.enabled = this.on.peek();
    track.addEventListener("ended", () => {
      if (this.track.peek() !== track) return;
      this.track.value = undefined;
      this.on.value = false;
      this.onLost();
    });
    this.track.value = track;
  }
}

const NO_DEVICES: Devices = { cameras: [], microphones: [], speakers: [] };

/** Camera, microphone and speaker of this page. */
export class LocalMedia {
  readonly camera = new Device(
    "camera",
    (deviceId) => openCamera({ ...(deviceId ? { deviceId } : {}), width: 1280, height: 720, framerate: 30 }),
    preferences.peek().cameraId,
    true,
  );
  readonly microphone = new Device(
    "microphone",
    (deviceId) => openMicrophone(deviceId ? { deviceId } : {}),
    preferences.peek().microphoneId,
    false,
  );
  readonly devices = signal<Devices>(NO_DEVICES);
  readonly #off: () => void;

  constructor() {
    this.#off = onDevicesChanged(() => void this.refreshDevices());
    void this.refreshDevices();
  }

  /** Labels are known only after a permission: ask again then. */
  async refreshDevices(): Promise<void> {
    try {
      this.devices.value = await listDevices();
    } catch {
      // Without a list there is the system's default.
      this.devices.value = NO_DEVICES;
    }
  }

  async set(kind: DeviceKind, on: boolean): Promise<void> {
    await this[kind].set(on);
    if (on) await this.refreshDevices();
  }

  async choose(kind: DeviceKind, deviceId: string): Promise<void> {
    remember(kind === "camera" ? { cameraId: deviceId } : { microphoneId: deviceId });
    await this[kind].choose(deviceId);
  }

  close(): void {
    this.#off();
    this.camera.close();
    this.microphone.close();
  }
}
