/** What a picture in a page shows: whose it is, whether it moves, how many pictures a second. */

import type { ElementHandle, Locator } from "@playwright/test";
import { expect } from "@playwright/test";
import type { ColourName } from "../harness/patterns.js";
import type { PictureSample } from "./probe.js";

/** A canvas or video in a page. */
export type Picture = Locator | ElementHandle;

type PictureElement = HTMLCanvasElement | HTMLVideoElement;

/** One look at it. */
export async function look(picture: Picture): Promise<PictureSample> {
  return (picture as Locator).evaluate((element) => __probe.look(element as PictureElement));
}

/** What it shows for so long, at every animation frame. */
export async function follow(picture: Picture, durationMs: number): Promise<PictureSample[]> {
  return (picture as Locator).evaluate(
    (element, duration) => __probe.follow(element as PictureElement, duration),
    durationMs,
  );
}

/** What was seen in a row of looks. */
export interface PictureFigures {
  /** Different pictures per second. */
  readonly framesPerSecond: number;
  /** Longest time without a new picture. */
  readonly longestStillMs: number;
  /** Colours that were seen, without repetition. */
  readonly colours: readonly ColourName[];
  /** Share of looks whose number could be read, 0 to 1. */
  readonly readable: number;
  /** How often the number went back by less than half of its range: pictures in the wrong order. */
  readonly backwards: number;
  readonly width: number;
  readonly height: number;
}

/** `range`: at which number the sender begins anew. */
export function figures(samples: readonly PictureSample[], range: number): PictureFigures {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || last.atMs <= first.atMs) throw new Error("a picture was looked at less than twice");
  let [changes, changedAtMs, longestStillMs, backwards] = [0, first.atMs, 0, 0];
  let [fingerprint, number] = [first.fingerprint, first.number];
  for (const sample of samples.slice(1)) {
    if (sample.fingerprint !== fingerprint) {
      changes += 1;
      longestStillMs = Math.max(longestStillMs, sample.atMs - changedAtMs);
      changedAtMs = sample.atMs;
      fingerprint = sample.fingerprint;
    }
    if (sample.number !== null) {
      if (number !== null) {
        const step = (((sample.number - number) % range) + range) % range;
        if (step > range / 2) backwards += 1;
      }
      number = sample.number;
    }
  }
  longestStillMs = Math.max(longestStillMs, last.atMs - changedAtMs);
  const colours = new Set(samples.flatMap((sample) => (sample.colour ? [sample.colour] : [])));
  return {
    framesPerSecond: (changes * 1000) / (last.atMs - first.atMs),
    longestStillMs,
    colours: [...colours],
    readable: samples.filter((sample) => sample.number !== null).length / samples.length,
    backwards,
    width: last.width,
    height: last.height,
  };
}

/** Pictures of 300 numbers, as fake cameras send them; 2^16 for those that show the time. */
export const CAMERA_RANGE = 300;

/** Waits for a picture, whatever it shows. */
export async function expectPicture(picture: Picture): Promise<void> {
  await expect
    .poll(async () => (await look(picture)).brightness, { message: "a picture" })
    .toBeGreaterThan(10);
}

/** Waits until the picture is of that colour and moves, then proves that it goes on so. */
export async function expectMoving(
  picture: Picture,
  colour: ColourName,
  minFps = 10,
): Promise<PictureFigures> {
  await expect
    .poll(async () => (await look(picture)).colour, { message: `a ${colour} picture` })
    .toBe(colour);
  // The first picture may be an old one of the server's cache.
  await expect
    .poll(async () => figures(await follow(picture, 300), CAMERA_RANGE).framesPerSecond, {
      message: `a ${colour} picture that moves`,
    })
    .toBeGreaterThanOrEqual(minFps);
  const samples = await follow(picture, 1500);
  const seen = figures(samples, CAMERA_RANGE);
  expect(seen.colours).toEqual([colour]);
  expect(seen.framesPerSecond).toBeGreaterThanOrEqual(minFps);
  expect(seen.readable).toBeGreaterThan(0.8);
  const numbers = samples.map(({ number }) => number).join(" ");
  expect(seen.backwards, `pictures in order: ${numbers}`).toBe(0);
  return seen;
}
