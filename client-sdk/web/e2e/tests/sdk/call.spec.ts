/** Two tabs and a native client in one meeting, with the SDK alone. */

import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { CAMERA_RANGE, expectMoving, figures, follow, look } from "../../checks/picture.js";
import { expectNoTone, expectTone } from "../../checks/sound.js";
import { CLIP, clips, PEOPLE } from "../../harness/clips.js";
import { COLOURS } from "../../harness/patterns.js";
import { findInPath } from "../../harness/programs.js";
import { SdkPage } from "../../harness/sdk-page.js";
import { expect, test } from "../../harness/test.js";

test("everybody sees and hears everybody else: two tabs and a native client", async ({
  server,
  native,
  open,
  site,
}, testInfo) => {
  const created = await server.createMeeting();
  const folder = testInfo.outputPath("recorded");
  const recorder = await native.record(created, folder);
  const publisher = await native.publish(created, [clips.steadyVideo, clips.steadyAudio], { name: "Nat" });
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  for (const person of [ada, ben]) {
    await person.publishCamera();
    await person.publishMicrophone();
  }

  const seenBy = {
    ada: { Ben: await ada.subscribe("Ben"), Nat: await ada.subscribe("Nat") },
    ben: { Ada: await ben.subscribe("Ada"), Nat: await ben.subscribe("Nat") },
  };
  await expectMoving(seenBy.ada.Ben, PEOPLE.Ben.colour);
  await expectMoving(seenBy.ada.Nat, CLIP.steady.colour);
  await expectMoving(seenBy.ben.Ada, PEOPLE.Ada.colour);
  await expectMoving(seenBy.ben.Nat, CLIP.steady.colour);

  for (const [person, other] of [
    [ada, "Ben"],
    [ben, "Ada"],
  ] as const) {
    await person.subscribe(other, "audio");
    await expectTone(person.page, PEOPLE[other].toneHz);
    await person.subscribe("Nat", "audio");
    const sound = await expectTone(person.page, CLIP.steady.toneHz);
    // Nobody hears oneself.
    expect(sound.shareOf(PEOPLE[other === "Ben" ? "Ada" : "Ben"].toneHz)).toBeLessThan(0.01);
  }

  // What the native client got of the tabs is real video of theirs.
  await native.stop(publisher);
  await native.stop(recorder);
  const files = await readdir(folder);
  for (const name of ["Ada", "Ben"] as const) {
    const file = files.find((file) => file.startsWith(`${name}-`) && !file.endsWith(".ogg"));
    expect(file, `a recording of ${name}'s camera among ${files.join(", ")}`).toBeTruthy();
    expect(await middleColour(join(folder, file ?? ""))).toBe(PEOPLE[name].colour);
    expect(files.some((file) => file.startsWith(`${name}-`) && file.endsWith(".ogg"))).toBe(true);
  }
});

/** Which of the colours the twentieth picture of a file has, decoded by ffmpeg. */
async function middleColour(file: string): Promise<string | undefined> {
  const run = promisify(execFile);
  const { stdout } = await run(
    findInPath("ffmpeg"),
    [
      ...["-hide_banner", "-loglevel", "error", "-i", file],
      // The middle of rows 2 to 4, as one pixel.
      ...["-vf", "select=gte(n\\,20),crop=iw*0.8:ih*0.2:iw*0.1:ih*0.28,scale=1:1:flags=area"],
      ...["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
    ],
    { encoding: "buffer" },
  );
  const [red = 0, green = 0, blue = 0] = stdout;
  return Object.entries(COLOURS).find(
    ([, wanted]) => Math.hypot(red - wanted.red, green - wanted.green, blue - wanted.blue) < 60,
  )?.[0];
}

test("who comes late sees the picture at once, and who wants a smaller layer gets it", async ({
  server,
  open,
  site,
}) => {
  const created = await server.createMeeting();
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  await ada.publishCamera();
  const [stream] = (await ada.state()).self.streams;
  expect(stream?.layers.map(({ layerId, width }) => [layerId, width])).toEqual([
    ["low", 320],
    ["high", 640],
  ]);
  const early = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await expectMoving(await early.subscribe("Ada"), PEOPLE.Ada.colour);

  const late = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Eve"));
  const firstMs = await late.page.evaluate(async () => {
    const stream = meeting.state.participants.find(({ name }) => name === "Ada")?.streams[0];
    if (!stream) throw new Error("Ada is not in the roster");
    const began = performance.now();
    const subscription = await meeting.subscribe(stream.streamId);
    subscriptions.late = subscription;
    const element = subscription.element;
    if (!element) throw new Error("no picture");
    element.dataset.of = "late";
    document.body.append(element);
    if (__probe.look(element).colour === null) await subscription.once("firstFrame");
    return performance.now() - began;
  });
  console.log(JSON.stringify({ measure: "late join, first picture", ms: Math.round(firstMs) }));
  expect(firstMs).toBeLessThan(2000);

  const picture = late.page.locator('canvas[data-of="late"]');
  await expectMoving(picture, PEOPLE.Ada.colour);
  await expect.poll(async () => (await look(picture)).width).toBe(640);
  const switching = late.page.evaluate(async () => {
    const { late } = subscriptions;
    if (!late) throw new Error("no subscription");
    const switched = late.once("layer");
    await late.setOptions({ preferredLayer: "low" });
    return (await switched).layerId;
  });
  // A switch is seamless: the picture never stands still for long, and never goes back.
  const samples = await follow(picture, 2500);
  expect(await switching).toBe("low");
  await expect.poll(async () => (await look(picture)).width).toBe(320);
  const seen = figures(samples, CAMERA_RANGE);
  expect(seen.backwards).toBe(0);
  expect(seen.longestStillMs).toBeLessThan(700);
  await late.page.evaluate(() => subscriptions.late?.setOptions({ preferredLayer: "high" }));
  await expect.poll(async () => (await look(picture)).width).toBe(640);
});

test("who subscribes when told of a stream sees and hears it", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const subscribed = ada.page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const types: string[] = [];
        meeting.on("streamPublished", async ({ participant, stream }) => {
          try {
            const known = meeting.state.participants
              .find(({ participantId }) => participantId === participant.participantId)
              ?.streams.some(({ streamId }) => streamId === stream.streamId);
            if (!known) throw new Error("the event came before the state");
            const { element } = await meeting.subscribe(stream.streamId);
            if (element) document.body.append(element);
            types.push(stream.type);
            if (types.length === 2) resolve();
          } catch (error) {
            reject(error);
          }
        });
      }),
  );
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await ben.publishCamera();
  await ben.publishMicrophone();
  await subscribed;
  await expectMoving(ada.page.locator("canvas"), PEOPLE.Ben.colour);
  await expectTone(ada.page, PEOPLE.Ben.toneHz);
});

test("who is muted is not heard, and a camera that is paused stands still", async ({
  server,
  native,
  open,
  site,
}) => {
  const created = await server.createMeeting();
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await ada.publishCamera();
  await ada.publishMicrophone();
  const picture = await ben.subscribe("Ada");
  await ben.subscribe("Ada", "audio");
  await expectTone(ben.page, PEOPLE.Ada.toneHz);

  await native.host(created, "mute", "Ada");
  await ada.hears("selfUpdated");
  expect((await ada.state()).self.state.audioMuted).toBe(true);
  await expectNoTone(ben.page, PEOPLE.Ada.toneHz);
  await ada.page.evaluate(() => meeting.setState({ audioMuted: false }));
  await expectTone(ben.page, PEOPLE.Ada.toneHz);

  await expectMoving(picture, PEOPLE.Ada.colour);
  await ada.page.evaluate(() => publications.camera?.setEnabled(false));
  await expect.poll(async () => figures(await follow(picture, 500), CAMERA_RANGE).framesPerSecond).toBe(0);
  await ada.page.evaluate(() => publications.camera?.setEnabled(true));
  await expectMoving(picture, PEOPLE.Ada.colour);
});

test("chat, reactions and hands reach the others, native ones too", async ({
  server,
  native,
  open,
  site,
}) => {
  const created = await server.createMeeting();
  const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await native.host(created, "say", "from a terminal");
  await ada.hears("chatMessage", { message: expect.objectContaining({ text: "from a terminal" }) });
  const messageId = await ada.page.evaluate(() => meeting.sendChat("<b>hello</b>"));
  await ben.hears("chatMessage", {
    message: expect.objectContaining({ messageId, text: "<b>hello</b>", name: "Ada" }),
  });
  await ada.page.evaluate((id) => meeting.editChat(id, "hello"), messageId);
  await ben.hears("chatMessageUpdated", { message: expect.objectContaining({ messageId, text: "hello" }) });
  const history = await ben.page.evaluate(() => meeting.chatHistory());
  expect(history.messages.map(({ text }) => text)).toEqual(["from a terminal", "hello"]);
  await ben.page.evaluate(() => meeting.broadcast("reaction", new TextEncoder().encode("👍")));
  await ada.hears("broadcast", { type: "reaction", text: "👍" });
  await ben.page.evaluate(() => meeting.raiseHand(true));
  await expect
    .poll(async () => (await ada.state()).participants.find(({ name }) => name === "Ben")?.state.handRaised)
    .toBe(true);
});

test("who is kicked, and who is in a meeting that ends, is told so and cannot come back", async ({
  server,
  native,
  open,
  site,
}) => {
  const created = await server.createMeeting();
  const grant = await server.grant(created, "Ada");
  const ada = await SdkPage.join(await open("Ada"), site, grant);
  const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
  await native.host(created, "kick", "Ada");
  await ada.hears("closed", { code: "KICKED" });
  await ben.hears("participantLeft", { reason: "kicked" });
  const again = await ada.page.evaluate(
    (grant) =>
      sdk.Meeting.join(grant).then(
        () => "joined",
        (error: { kind?: string; details?: Record<string, string> }) =>
          `${error.kind} ${error.details?.close_code}`,
      ),
    grant,
  );
  expect(again).toBe("refused KICKED");
  await native.host(created, "end");
  await ben.hears("closed", { code: "MEETING_ENDED" });
});

test("who has to wait is told so, and is in when let in", async ({ server, native, open, site }) => {
  const created = await server.createMeeting({ settings: { waiting_room: "admission" } });
  const ada = await SdkPage.open(await open("Ada"), site);
  const grant = await server.grant(created, "Ada");
  const joining = ada.page.evaluate(async (grant) => {
    Object.assign(globalThis, { waiting: "" });
    const joined = await sdk.Meeting.join(grant, {
      onWaiting: (name) => {
        Object.assign(globalThis, { waiting: `in ${name}` });
      },
    });
    return joined.state.self.name;
  }, grant);
  await expect
    .poll(() => ada.page.evaluate(() => (globalThis as unknown as { waiting: string }).waiting))
    .toBe("in Browser test");
  await native.host(created, "admit", "--all");
  expect(await joining).toBe("Ada");
});

for (const codec of ["H264", "VP9", "AV1"] as const) {
  test(`${codec} is published and shown`, async ({ server, open, site }) => {
    const created = await server.createMeeting();
    const ada = await SdkPage.join(await open("Ada"), site, await server.grant(created, "Ada"));
    const ben = await SdkPage.join(await open("Ben"), site, await server.grant(created, "Ben"));
    await ada.publishCamera({ codec, simulcast: false });
    await expectMoving(await ben.subscribe("Ada"), PEOPLE.Ada.colour);
    const { streams } = await ben.statistics();
    expect(streams.find(({ type }) => type === "camera")?.codec).toBe(codec);
  });
}
