/** How much later a picture is shown than the sound of the same moment is heard. */

import type { PictureSample } from "./probe.js";
import type { Sound } from "./sound.js";
import { onsets } from "./spectrum.js";

/** Brighter than this is a flash: the colour of the clip is far below. */
const FLASH_BRIGHTNESS = 190;
/** Flash and beep further apart than this do not belong together. */
const MAX_APART_MS = 450;

/** When flashes began to be seen. */
export function flashesAtMs(samples: readonly PictureSample[]): number[] {
  return samples.flatMap((sample, index) => {
    const before = samples[index - 1];
    const begins = before && before.brightness < FLASH_BRIGHTNESS && sample.brightness >= FLASH_BRIGHTNESS;
    return begins ? [sample.atMs] : [];
  });
}

/** Louder than this is a beep: the tone below it is far from it. */
const BEEP_LEVEL = 0.2;
const QUIET_BEFORE_BEEP_MS = 200;

/** When beeps began to be heard. */
export function beepsAtMs(sound: Sound): number[] {
  return onsets(sound.samples, sound.sampleRate, QUIET_BEFORE_BEEP_MS, BEEP_LEVEL).map((seconds) =>
    sound.heardAtMs(seconds),
  );
}

/** Milliseconds that each picture came after its sound; negative if before. Those without company are left out. */
export function skewsMs(flashesAtMs: readonly number[], beepsAtMs: readonly number[]): number[] {
  return flashesAtMs.flatMap((flash) => {
    const nearest = beepsAtMs.map((beep) => flash - beep).sort((a, b) => Math.abs(a) - Math.abs(b))[0];
    return nearest !== undefined && Math.abs(nearest) <= MAX_APART_MS ? [nearest] : [];
  });
}
