/** The eyes and ears of the tests themselves, on pictures and sounds that are known, in the real browser. */

import { CAMERA_RANGE, expectMoving, figures, follow, look } from "../../checks/picture.js";
import { beepsAtMs, flashesAtMs, skewsMs } from "../../checks/skew.js";
import { expectTone, listen, Sound } from "../../checks/sound.js";
import { PEOPLE, type PersonName } from "../../harness/clips.js";
import { expect, test } from "../../harness/test.js";

for (const person of Object.keys(PEOPLE) as PersonName[]) {
  test(`the camera of ${person} is recognised, its numbers are read, and it moves`, async ({
    open,
    site,
  }) => {
    const { page } = await open(person);
    await page.goto(`${site.url}/e2e/pages/blank.html`);
    await page.evaluate(async () => {
      const video = document.createElement("video");
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
      document.body.append(video);
      await video.play();
    });
    const seen = await expectMoving(page.locator("video"), PEOPLE[person].colour, 20);
    expect(seen.framesPerSecond).toBeLessThan(35);
    expect([seen.width, seen.height]).toEqual([640, 360]);
  });

  test(`the microphone of ${person} passes the noise suppression`, async ({ open, site }) => {
    const { page } = await open(person);
    await page.goto(`${site.url}/e2e/pages/blank.html`);
    await page.evaluate(async () => {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      const context = new AudioContext();
      context.createMediaStreamSource(stream).connect(context.destination);
      await context.resume();
    });
    await expectTone(page, PEOPLE[person].toneHz, 0.5);
    // And goes on passing it when that has had time to learn.
    await listen(page, 4000);
    await expectTone(page, PEOPLE[person].toneHz, 0.5);
  });
}

test("a picture that stands still has no frames per second", async ({ open, site }) => {
  const { page } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.getContext("2d")?.fillRect(0, 0, 50, 50);
    document.body.append(canvas);
  });
  const seen = figures(await follow(page.locator("canvas"), 500), CAMERA_RANGE);
  expect(seen.framesPerSecond).toBe(0);
  expect(seen.longestStillMs).toBeGreaterThan(400);
  expect(seen.colours).toEqual([]);
});

test("a canvas that a worker draws on is seen, and its clock tells how old a picture is", async ({
  open,
  site,
}) => {
  const { page } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  await page.evaluate(() => {
    const size = { width: 640, height: 360 };
    const track = __probe.clockTrack({ ...size, framerate: 30, colour: "green" }) as MediaStreamVideoTrack;
    const canvas = document.createElement("canvas");
    document.body.append(canvas);
    const offscreen = canvas.transferControlToOffscreen();
    const { readable } = new MediaStreamTrackProcessor({ track });
    const source = `onmessage = async ({ data: { readable, offscreen } }) => {
      const context = offscreen.getContext("2d");
      for await (const frame of readable) {
        offscreen.width = frame.displayWidth;
        offscreen.height = frame.displayHeight;
        context.drawImage(frame, 0, 0);
        frame.close();
      }
    };`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    worker.postMessage({ readable, offscreen }, [readable, offscreen]);
  });
  await expect.poll(async () => (await look(page.locator("canvas"))).colour).toBe("green");
  const samples = await follow(page.locator("canvas"), 1000);
  const seen = figures(samples, 2 ** 16);
  expect(seen.framesPerSecond).toBeGreaterThan(15);
  expect(seen.backwards).toBe(0);
  const originMs = await page.evaluate(() => performance.timeOrigin);
  const ages = samples.flatMap(({ atMs, number }) =>
    number === null ? [] : [(((originMs + atMs - number) % 2 ** 16) + 2 ** 16) % 2 ** 16],
  );
  expect(Math.min(...ages)).toBeLessThan(100);
});

test("a tone is heard, and only while the page plays it", async ({ open, site }) => {
  const { page } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  await page.evaluate(async () => {
    const context = new AudioContext();
    const gain = new GainNode(context, { gain: 0.3 });
    const oscillator = new OscillatorNode(context, { frequency: 523 });
    oscillator.connect(gain).connect(context.destination);
    oscillator.start();
    await context.resume();
    Object.assign(globalThis, { gain });
  });
  const sound = await expectTone(page, 523, 0.9);
  expect(sound.shareOf(440)).toBeLessThan(0.01);
  // The recorder is passed over when the machine is busy; it must say so, and not often.
  expect(sound.missed).toBeLessThan(0.3);
  expect(sound.levelDb).toBeCloseTo(20 * Math.log10(0.3) - 3, 0);
  await page.evaluate(() => {
    (globalThis as unknown as { gain: GainNode }).gain.gain.value = 0;
  });
  await expect.poll(async () => (await listen(page, 300)).levelDb).toBeLessThan(-90);
});

test("flashes and beeps that a page makes at one moment have no skew", async ({ open, site }) => {
  const { page } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    canvas.width = 320;
    canvas.height = 180;
    document.body.append(canvas);
    const paint = canvas.getContext("2d");
    const context = new AudioContext();
    await context.resume();
    const oscillator = new OscillatorNode(context, { frequency: 1000 });
    const gain = new GainNode(context, { gain: 0 });
    oscillator.connect(gain).connect(context.destination);
    oscillator.start();
    const begin = context.currentTime + 0.5;
    for (let beep = 0; beep < 8; beep += 1) {
      gain.gain.setValueAtTime(0.5, begin + beep * 0.7);
      gain.gain.setValueAtTime(0, begin + beep * 0.7 + 0.1);
    }
    const draw = () => {
      const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp();
      const heardS = contextTime + (performance.now() - performanceTime) / 1000 - begin;
      const flash = heardS >= 0 && heardS < 5.6 && heardS % 0.7 < 0.1;
      if (paint) {
        paint.fillStyle = flash ? "white" : "navy";
        paint.fillRect(0, 0, canvas.width, canvas.height);
      }
      requestAnimationFrame(draw);
    };
    draw();
  });
  const [samples, recording] = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    if (!canvas) throw new Error("no canvas");
    return Promise.all([__probe.follow(canvas, 5000), __probe.record(5000)]);
  });
  const skews = skewsMs(flashesAtMs(samples), beepsAtMs(new Sound(recording)));
  expect(skews.length).toBeGreaterThanOrEqual(5);
  // A flash begins at an animation frame: up to one later, and it is seen one later at most.
  for (const skew of skews) expect(Math.abs(skew)).toBeLessThan(45);
});
