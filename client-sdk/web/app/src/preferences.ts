/** What is remembered in this browser: name, devices, how the app looks. */

import { signal } from "@preact/signals";
import type { ViewMode } from "./stage/who-is-shown.js";
import { kept } from "./storage.js";

export type ThemeChoice = "system" | "dark" | "light";

export interface Preferences {
  readonly name: string;
  readonly theme: ThemeChoice;
  readonly view: ViewMode;
  /** Device ids; empty = the system's default. */
  readonly cameraId: string;
  readonly microphoneId: string;
  readonly speakerId: string;
  /** Whether they were on when a meeting was last joined. */
  readonly cameraOn: boolean;
  readonly microphoneOn: boolean;
  /** Whether single keys do something: who speaks to the computer, or hits keys by mistake, wants none (WCAG 2.1.4). */
  readonly shortcuts: boolean;
}

export const DEFAULTS: Preferences = {
  name: "",
  theme: "system",
  view: "grid",
  cameraId: "",
  microphoneId: "",
  speakerId: "",
  cameraOn: true,
  microphoneOn: true,
  shortcuts: true,
};

const KEY = "darktower.preferences";

/** Takes what is usable of what was stored: by an older app, or by somebody who changed it. */
export function parsePreferences(stored: string | null): Preferences {
  let value: unknown;
  try {
    value = JSON.parse(stored ?? "{}");
  } catch {
    return DEFAULTS;
  }
  if (typeof value !== "object" || value === null) return DEFAULTS;
  const found = value as Record<string, unknown>;
  const text = (key: "name" | "cameraId" | "microphoneId" | "speakerId") => {
    const field = found[key];
    return typeof field === "string" && field.length <= 256 ? field : DEFAULTS[key];
  };
  const flag = (key: "cameraOn" | "microphoneOn" | "shortcuts") => {
    const field = found[key];
    return typeof field === "boolean" ? field : DEFAULTS[key];
  };
  return {
    name: text("name"),
    theme: found.theme === "dark" || found.theme === "light" ? found.theme : "system",
    view: found.view === "speaker" ? "speaker" : "grid",
    cameraId: text("cameraId"),
    microphoneId: text("microphoneId"),
    speakerId: text("speakerId"),
    cameraOn: flag("cameraOn"),
    microphoneOn: flag("microphoneOn"),
    shortcuts: flag("shortcuts"),
  };
}

export const preferences = signal<Preferences>(parsePreferences(kept.get(KEY)));

export function remember(change: Partial<Preferences>): void {
  preferences.value = { ...preferences.peek(), ...change };
  kept.set(KEY, JSON.stringify(preferences.peek()));
}
