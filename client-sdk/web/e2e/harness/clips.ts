/**
 * Media that the tests make for themselves, once per run: what fake devices show and sound like, and clips that native
 * clients publish.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ColourName, drawPicture, type PictureSize } from "./patterns.js";
import { findInPath, paths } from "./programs.js";

const SIZE: PictureSize = { width: 640, height: 360 };
const FRAMERATE = 30;
/** Frames of a fake camera's file, which is shown over and over. */
const CAMERA_FRAMES = 300;
/** A clip makes no key frames on demand: who subscribes while it is paused waits for the next one, so they are close. */
const CLIP_KEY_FRAME_EVERY = 15;
const SAMPLE_RATE = 48_000;
/** Samples by which an Opus decoder is late (RFC 7845 section 4.2, libopus at 48 kHz). */
const OPUS_DELAY_SAMPLES = 312;
/** Part of every file's name: another when what they hold changes. */
const RECIPE = 4;

/** Whoever takes part with a browser: a camera of one colour, a microphone of one tone. */
export interface Person {
  readonly colour: ColourName;
  readonly toneHz: number;
}

export const PEOPLE = {
  Ada: { colour: "red", toneHz: 440 },
  Ben: { colour: "blue", toneHz: 880 },
} as const satisfies Record<string, Person>;
export type PersonName = keyof typeof PEOPLE;

/** What the clips of native clients are like. */
export const CLIP = {
  /** A moving picture and a tone that never stops. */
  steady: { colour: "green", toneHz: 620, videoSeconds: 20, audioSeconds: 90 },
  /** Once a second, at the same moment, a white picture and a beep, over a faint tone that never stops. */
  flash: {
    colour: "violet",
    toneHz: 620,
    beepHz: 1000,
    seconds: 80,
    everyFrames: 30,
    flashFrames: 3,
    beepMs: 100,
  },
} as const;

/** Files of a fake camera and a fake microphone. */
export interface FakeDevices {
  readonly video: string;
  readonly audio: string;
}

export const fakeDevices = (name: PersonName): FakeDevices => ({
  video: made(`camera-${name}.mjpeg`),
  audio: made(`microphone-${name}.wav`),
});

/** Files to publish by a native client. */
export const clips = {
  steadyVideo: made("steady.ivf"),
  steadyAudio: made("steady.ogg"),
  flashVideo: made("flash.ivf"),
  flashAudio: made("flash.ogg"),
} as const;

function made(name: string): string {
  return join(paths.made, `${RECIPE}-${name}`);
}

/** Makes what is missing. */
export async function makeClips(): Promise<void> {
  await mkdir(paths.made, { recursive: true });
  for (const name of Object.keys(PEOPLE) as PersonName[]) {
    const { colour, toneHz } = PEOPLE[name];
    const files = fakeDevices(name);
    await unlessThere(files.video, (file) =>
      encode(CAMERA_FRAMES, (frame) => drawPicture(SIZE, colour, frame), [
        ...["-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p", "-f", "mjpeg"],
        file,
      ]),
    );
    await unlessThere(files.audio, (file) => writeFile(file, wav(interruptedTone(toneHz, 4))));
  }
  const { steady, flash } = CLIP;
  const vp8 = [
    "-c:v",
    "libvpx",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    "-g",
    String(CLIP_KEY_FRAME_EVERY),
  ];
  await unlessThere(clips.steadyVideo, (file) =>
    encode(steady.videoSeconds * FRAMERATE, (frame) => drawPicture(SIZE, steady.colour, frame), [
      ...[...vp8, "-b:v", "900k", "-f", "ivf"],
      file,
    ]),
  );
  await unlessThere(clips.flashVideo, (file) =>
    encode(
      flash.seconds * FRAMERATE,
      (frame) => drawPicture(SIZE, flash.colour, frame, frame % flash.everyFrames < flash.flashFrames),
      [...vp8, "-b:v", "900k", "-f", "ivf", file],
    ),
  );
  await unlessThere(clips.steadyAudio, (file) => encodeOpus(tone(steady.toneHz, steady.audioSeconds), file));
  await unlessThere(clips.flashAudio, (file) => encodeOpus(beeps(), file));
}

/** Makes a file under another name first: a file that is there is whole. */
async function unlessThere(file: string, make: (unfinished: string) => Promise<void>): Promise<void> {
  if (
    await stat(file).then(
      () => true,
      () => false,
    )
  )
    return;
  const unfinished = `${file}.${process.pid}.part`;
  await make(unfinished);
  await rename(unfinished, file);
}

/** A tone that never stops, as samples from -1 to 1. */
function tone(toneHz: number, seconds: number): Float32Array {
  return Float32Array.from({ length: seconds * SAMPLE_RATE }, (_, index) => 0.4 * sine(toneHz, index));
}

/**
 * A tone of 300 ms in every 400 ms. What never stops is noise for the noise suppression of a microphone.
 */
function interruptedTone(toneHz: number, seconds: number): Float32Array {
  const [on, period] = [0.3 * SAMPLE_RATE, 0.4 * SAMPLE_RATE];
  return Float32Array.from({ length: seconds * SAMPLE_RATE }, (_, index) =>
    index % period < on ? 0.5 * faded(index % period, on) * sine(toneHz, index) : 0,
  );
}

/** A tone, and a beep at every flash: what a decoder hands out is as much later as the decoder is late. */
function beeps(): Float32Array {
  const { toneHz, beepHz, seconds, everyFrames, beepMs } = CLIP.flash;
  const period = (everyFrames * SAMPLE_RATE) / FRAMERATE;
  const length = (beepMs * SAMPLE_RATE) / 1000;
  return Float32Array.from({ length: seconds * SAMPLE_RATE }, (_, index) => {
    const position = (index + OPUS_DELAY_SAMPLES) % period;
    return 0.06 * sine(toneHz, index) + (position < length ? 0.6 * sine(beepHz, position) : 0);
  });
}

function sine(toneHz: number, index: number): number {
  return Math.sin((2 * Math.PI * toneHz * index) / SAMPLE_RATE);
}

/** Without clicks: 5 ms at both ends. */
function faded(position: number, length: number): number {
  return Math.min(1, position / 240, (length - position) / 240);
}

function wav(samples: Float32Array): Buffer {
  const header = Buffer.alloc(44);
  const bytes = samples.length * 2;
  header.write("RIFF", 0);
  header.writeUInt32LE(36 + bytes, 4);
  header.write("WAVEfmt ", 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(SAMPLE_RATE, 24);
  header.writeUInt32LE(SAMPLE_RATE * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36);
  header.writeUInt32LE(bytes, 40);
  return Buffer.concat([header, pcm(samples)]);
}

function pcm(samples: Float32Array): Buffer {
  return Buffer.from(Int16Array.from(samples, (sample) => Math.round(sample * 32_767)).buffer);
}

async function encode(frames: number, draw: (frame: number) => Buffer, output: string[]): Promise<void> {
  const source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", `${SIZE.width}x${SIZE.height}`];
  await ffmpeg([...source, "-r", String(FRAMERATE), "-i", "-"], output, frames, draw);
}

async function encodeOpus(samples: Float32Array, file: string): Promise<void> {
  const output = [
    "-c:a",
    "libopus",
    "-b:a",
    "48k",
    "-application",
    "audio",
    "-frame_duration",
    "20",
    "-f",
    "ogg",
    file,
  ];
  await ffmpeg(["-f", "s16le", "-ar", String(SAMPLE_RATE), "-ac", "1", "-i", "-"], output, 1, () =>
    pcm(samples),
  );
}

/** Runs ffmpeg on `count` pieces of input. */
async function ffmpeg(
  input: string[],
  output: string[],
  count: number,
  piece: (index: number) => Buffer,
): Promise<void> {
  const quiet = ["-hide_banner", "-loglevel", "error", "-y"];
  const child = spawn(findInPath("ffmpeg"), [...quiet, ...input, ...output], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let complaints = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (text: string) => {
    complaints += text;
  });
  const ended = once(child, "close");
  // If it ends early, writing fails, and its status says why.
  child.stdin.on("error", () => {});
  for (let index = 0; index < count && child.exitCode === null; index += 1) {
    if (!child.stdin.write(piece(index))) await Promise.race([once(child.stdin, "drain"), ended]);
  }
  child.stdin.end();
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw new Error(`ffmpeg failed (status ${code}): ${complaints}`);
}
