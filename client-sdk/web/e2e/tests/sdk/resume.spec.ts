/** The network goes away for three seconds, and comes back. */

import { percentile, report } from "../../checks/figures.js";
import { CAMERA_RANGE, expectMoving, figures, follow, look } from "../../checks/picture.js";
import { expectTone } from "../../checks/sound.js";
import { CLIP, clips, PEOPLE } from "../../harness/clips.js";
import { CONNECTION_ERRORS } from "../../harness/guard.js";
import { SdkPage } from "../../harness/sdk-page.js";
import { expect, test } from "../../harness/test.js";

const CUT_MS = 3000;
/** A promise for a quiet machine is 1000 ms; this one is shared. */
const MAX_BACK_MS = 3000;

test("after a cut of three seconds pictures and sound come back both ways", async ({ remote, open }) => {
  const { server, relay, native, site } = remote;
  const created = await server.createMeeting();
  await native.publish(created, [clips.steadyVideo, clips.steadyAudio], { name: "Nat" });
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  relay.label("spared");
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  ada.guard.expect(CONNECTION_ERRORS);
  await ada.publishCamera();
  const received = await ada.subscribe("Nat");
  await ada.subscribe("Nat", "audio");
  const sent = await ben.subscribe("Ada");
  await expectMoving(received, CLIP.steady.colour);
  await expectMoving(sent, PEOPLE.Ada.colour);
  const { participantId } = (await ada.state()).self;

  // Both pages look at their pictures from before the cut until well after it.
  const watchMs = CUT_MS + MAX_BACK_MS + 1500;
  const watching = Promise.all([follow(received, watchMs), follow(sent, watchMs)]);
  const origins = await Promise.all(
    [ada, ben].map(({ page }) => page.evaluate(() => performance.timeOrigin)),
  );
  relay.cut((flow) => flow.label !== "spared");
  // The cut itself is what this time is for.
  await ada.page.waitForTimeout(CUT_MS);
  const restoredMs = relay.restore();
  const [down, up] = await watching;

  const backMs = [down, up].map((samples, index) => {
    const origin = origins[index] ?? 0;
    const after = samples.filter(({ atMs }) => origin + atMs > restoredMs);
    const still = samples.findLast(({ atMs }) => origin + atMs <= restoredMs);
    const back = after.find(({ fingerprint }) => fingerprint !== still?.fingerprint);
    return back ? origin + back.atMs - restoredMs : Number.POSITIVE_INFINITY;
  });
  report("resume after a cut of 3 s", { received_ms: backMs[0] ?? 0, sent_ms: backMs[1] ?? 0 });
  expect(Math.max(...backMs)).toBeLessThan(MAX_BACK_MS);
  // It really was cut: the picture stood still for most of the time.
  expect(figures(down, CAMERA_RANGE).longestStillMs).toBeGreaterThan(CUT_MS - 1000);
  await expectTone(ada.page, CLIP.steady.toneHz);
  await ada.hears("reconnected", { rejoined: false });
  expect((await ada.state()).self.participantId).toBe(participantId);
  expect(await ben.heard("participantLeft")).toEqual([]);
  expect((await look(sent)).colour).toBe(PEOPLE.Ada.colour);
});

test("a path that is slow and loses packets carries pictures and sound", async ({ remote, open }) => {
  const { server, relay, site } = remote;
  relay.setDelay(40);
  relay.setLoss(0.02);
  const created = await server.createMeeting();
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await ada.publishCamera();
  await ada.publishMicrophone();
  const picture = await ben.subscribe("Ada");
  await ben.subscribe("Ada", "audio");
  const seen = await expectMoving(picture, PEOPLE.Ada.colour);
  await expectTone(ben.page, PEOPLE.Ada.toneHz);
  const rounds = await Promise.all([1, 2, 3].map(() => ben.statistics()));
  report("2 % loss, 80 ms round trip", {
    fps: seen.framesPerSecond,
    longest_still_ms: seen.longestStillMs,
    rtt_ms: percentile(
      rounds.map(({ rttMs }) => rttMs),
      50,
    ),
  });
  relay.setLoss(0);
});
