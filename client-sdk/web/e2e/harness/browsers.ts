/** Debian's Chromium with devices that show and sound as a person of the tests. */

import { join } from "node:path";
import { type Browser, chromium } from "@playwright/test";
import { fakeDevices, type PersonName } from "./clips.js";
import { PORTRAITS, portraitCamera } from "./portraits.js";
import { findInPath, paths } from "./programs.js";

/**
 * `denied`: there are devices, but the user does not let pages use them. `none`: there are none. `portrait`: those of
 * somebody to look at.
 */
export type Devices = PersonName | "denied" | "none" | "portrait";

/** Starts a browser. The caller closes it. */
export function launch(devices: Devices): Promise<Browser> {
  return chromium.launch({
    executablePath: findInPath("chromium"),
    // Tests run as root in containers, where the sandbox does not start.
    chromiumSandbox: false,
    ...(devices === "portrait"
      ? { env: { ...process.env, FONTCONFIG_FILE: join(paths.e2e, "harness/fonts.conf") } }
      : {}),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...flags(devices),
    ],
  });
}

function flags(devices: Devices): string[] {
  switch (devices) {
    case "none":
      return ["--use-fake-ui-for-media-stream"];
    case "denied":
      // Without the fake dialogue nobody answers it, and a browser without windows takes that for a no.
      return ["--use-fake-device-for-media-stream"];
    default: {
      const files =
        devices === "portrait"
          ? { ...fakeDevices("Ada"), video: portraitCamera(PORTRAITS[0] ?? "Mira Novak") }
          : fakeDevices(devices);
      return [
        "--use-fake-device-for-media-stream=fps=30",
        "--use-fake-ui-for-media-stream",
        `--use-file-for-fake-video-capture=${files.video}`,
        `--use-file-for-fake-audio-capture=${files.audio}`,
        "--autoplay-policy=no-user-gesture-required",
      ];
    }
  }
}

/** The browsers of a worker, each started when it is first needed. */
export class Browsers {
  readonly #started = new Map<Devices, Promise<Browser>>();

  get(devices: Devices): Promise<Browser> {
    let browser = this.#started.get(devices);
    if (!browser) {
      browser = launch(devices);
      this.#started.set(devices, browser);
    }
    return browser;
  }

  async close(): Promise<void> {
    const browsers = await Promise.all(this.#started.values());
    this.#started.clear();
    await Promise.all(browsers.map((browser) => browser.close()));
  }
}
