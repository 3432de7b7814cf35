/**
 * How well media arrives: two tabs and one native client. Figures are printed, one line of JSON each; what is asserted is
 * generous, because machines that run tests are busy. `DARKTOWER_MEASURE_SECONDS=60` measures for longer.
 */

import type { StreamStatistics } from "@darktower/client";
import { percentile, report } from "../../checks/figures.js";
import { CAMERA_RANGE, expectMoving, figures } from "../../checks/picture.js";
import { beepsAtMs, flashesAtMs, skewsMs } from "../../checks/skew.js";
import { Sound } from "../../checks/sound.js";
import { gaps } from "../../checks/spectrum.js";
import { CLIP, clips, PEOPLE } from "../../harness/clips.js";
import { SdkPage } from "../../harness/sdk-page.js";
import { expect, test } from "../../harness/test.js";

const SECONDS = Number(process.env.DARKTOWER_MEASURE_SECONDS ?? 10);
/** What a number in a picture counts up to. */
const CLOCK_RANGE_MS = 2 ** 16;
/** A gap in sound that ears notice; what is shorter is the seam of a concealment. */
const GAP_MS = 5;

test("two tabs and a native client: frames per second, latency, sound without gaps, skew", async ({
  server,
  native,
  open,
  site,
}) => {
  test.setTimeout(60_000 + SECONDS * 2000);
  const created = await server.createMeeting();
  await native.publish(created, [clips.flashVideo, clips.flashAudio], { name: "Nat", loop: false });
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await ada.publishClock({ width: 640, height: 360, framerate: 30 });
  await ben.publishCamera();
  for (const person of [ada, ben]) {
    await person.publishMicrophone();
    await person.subscribe("Nat");
    await person.subscribe("Nat", "audio");
  }
  await expectMoving(await ada.subscribe("Ben"), PEOPLE.Ben.colour, 1);
  await expectMoving(await ben.subscribe("Ada"), "green", 1);
  await expectMoving(ben.page.locator('canvas[data-of="Nat camera"]'), CLIP.flash.colour, 1);

  const before = await ben.statistics();
  const watchingAda = ada.page.evaluate(async (durationMs) => {
    const canvas = document.querySelector<HTMLCanvasElement>('canvas[data-of="Ben camera"]');
    if (!canvas) throw new Error("no picture of Ben");
    return __probe.follow(canvas, durationMs);
  }, SECONDS * 1000);
  const [clock, [flash, after], recording] = await ben.page.evaluate(async (durationMs) => {
    const canvas = (name: string) => {
      const found = document.querySelector<HTMLCanvasElement>(`canvas[data-of="${name} camera"]`);
      if (!found) throw new Error(`no picture of ${name}`);
      return found;
    };
    const { audioOutput } = meeting;
    return Promise.all([
      __probe.follow(canvas("Ada"), durationMs),
      // Before the recording is handed over, which keeps the page busy for a moment.
      __probe
        .follow(canvas("Nat"), durationMs)
        .then(async (samples) => [samples, await meeting.statistics()] as const),
      __probe.record(durationMs, [audioOutput]),
    ]);
  }, SECONDS * 1000);
  const seenByAda = await watchingAda;

  const originMs = await ben.page.evaluate(() => performance.timeOrigin);
  /** The first look at each picture: how old it was. */
  const latenciesMs = clock.flatMap(({ atMs, number }, index) => {
    if (number === null || number === clock[index - 1]?.number) return [];
    return [(((originMs + atMs - number) % CLOCK_RANGE_MS) + CLOCK_RANGE_MS) % CLOCK_RANGE_MS];
  });
  const sound = new Sound(recording);
  const skews = skewsMs(flashesAtMs(flash), beepsAtMs(sound));
  const soundGaps = gaps(sound.samples, sound.sampleRate, GAP_MS);
  const nat = (await ben.state()).participants.find(({ name }) => name === "Nat");
  const audioOf = (streams: readonly StreamStatistics[]) =>
    streams.find(({ type, participantId }) => type === "audio" && participantId === nat?.participantId);
  const [soundBefore, soundAfter] = [audioOf(before.streams), audioOf(after.streams)];
  if (!soundBefore || !soundAfter) throw new Error("no statistics of the sound");
  const result = {
    seconds: SECONDS,
    fps_tab_to_tab: figures(seenByAda, CAMERA_RANGE).framesPerSecond,
    fps_painted_tab_to_tab: figures(clock, CLOCK_RANGE_MS).framesPerSecond,
    fps_native_to_tab: figures(flash, CLOCK_RANGE_MS).framesPerSecond,
    longest_still_ms: figures(seenByAda, CAMERA_RANGE).longestStillMs,
    latency_p50_ms: percentile(latenciesMs, 50),
    latency_p95_ms: percentile(latenciesMs, 95),
    audio_underruns: soundAfter.underruns - soundBefore.underruns,
    audio_concealed_ms: soundAfter.concealedMs - soundBefore.concealedMs,
    audio_gaps: soundGaps.length,
    audio_longest_gap_ms: Math.max(0, ...soundGaps),
    audio_latency_p50_ms: soundAfter.latencyP50Ms,
    skew_p50_ms: percentile(skews, 50),
    skew_max_ms: Math.max(...skews.map(Math.abs)),
    skews: skews.length,
  };
  report("two tabs and a native client, 640x360", result);
  expect(
    Math.min(result.fps_tab_to_tab, result.fps_painted_tab_to_tab, result.fps_native_to_tab),
  ).toBeGreaterThan(15);
  expect(result.latency_p50_ms).toBeLessThan(500);
  expect(result.skews).toBeGreaterThan(SECONDS / 2);
  expect(Math.abs(result.skew_p50_ms)).toBeLessThan(120);
  expect(result.audio_longest_gap_ms).toBeLessThan(500);
});
