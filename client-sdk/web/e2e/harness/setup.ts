/** Before all tests: what they need is there, or it says what is missing. */

import { access } from "node:fs/promises";
import { join } from "node:path";
import { makeClips } from "./clips.js";
import { findInPath, paths } from "./programs.js";

export default async function setup(): Promise<void> {
  for (const program of ["chromium", "ffmpeg"]) findInPath(program);
  await need(paths.server, "build it with `cargo build -p darktower-server`");
  await need(paths.client, "build it with `cargo build -p darktower-client --bins`");
  await need(join(paths.clips, "manifest.json"), "make the clips with `cargo xtask media`");
  await makeClips();
}

async function need(file: string, what: string): Promise<void> {
  await access(file).catch(() => {
    throw new Error(`${file} is missing: ${what}`);
  });
}
