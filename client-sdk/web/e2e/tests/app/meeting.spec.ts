/** What people do in a meeting, in two tabs of the app and with native clients. */

import { expectMoving, look } from "../../checks/picture.js";
import { expectNoTone, expectTone } from "../../checks/sound.js";
import { AppPage, text } from "../../harness/app-page.js";
import { CLIP, clips, PEOPLE } from "../../harness/clips.js";
import type { CreatedMeeting } from "../../harness/server.js";
import type { StaticHost } from "../../harness/static-host.js";
import { expect, type Open, test } from "../../harness/test.js";

/** Ada is a host, Ben a guest. */
async function together(open: Open, site: StaticHost, created: CreatedMeeting) {
  const ada = new AppPage(await open("Ada"), site);
  await ada.enter(created, "Ada");
  const ben = new AppPage(await open("Ben"), site);
  await ben.enter(created, "Ben", { guest: true });
  return { ada, ben };
}

test("two tabs and a native client see and hear each other", async ({ server, native, open, site }) => {
  const created = await server.createMeeting();
  await native.publish(created, [clips.steadyVideo, clips.steadyAudio], { name: "Nat" });
  const { ada, ben } = await together(open, site, created);
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
  await expectTone(ada.page, PEOPLE.Ben.toneHz, 0.1);
  await expectTone(ben.page, PEOPLE.Ada.toneHz, 0.1);
  await expectTone(ben.page, CLIP.steady.toneHz, 0.1);
  await expectMoving(ada.picture("Nat"), CLIP.steady.colour);
  await expectMoving(ben.picture("Nat"), CLIP.steady.colour);
  await ada.leave();
  await expect(ben.tile("Ada")).toHaveCount(0);
  await expectMoving(ben.picture("Nat"), CLIP.steady.colour);
});

test("what is written is read by everybody, as text", async ({ server, native, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await ben.control(text.controls.chat).click();
  const field = ben.page.getByLabel(text.chat.label, { exact: true });
  await field.fill("<img src=x onerror=alert(1)> hello");
  await field.press("Enter");
  await expect(field).toHaveValue("");
  await ada.control(text.controls.chatUnread(1)).click();
  const panel = ada.page.getByRole("complementary", { name: text.chat.title });
  await expect(panel.getByText("<img src=x onerror=alert(1)> hello")).toBeVisible();
  await native.host(created, "say", "from a terminal");
  await expect(panel.getByText("from a terminal")).toBeVisible();
  // Who comes late reads what was written before.
  const eve = new AppPage(await open("Ben"), site);
  await eve.enter(created, "Eve", { guest: true });
  await eve.control(/^Chat/).click();
  await expect(eve.page.getByText("from a terminal")).toBeVisible();
});

test("who mutes is not heard, a host can mute, and the camera can be turned off", async ({
  server,
  open,
  site,
}) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await expectTone(ada.page, PEOPLE.Ben.toneHz);
  await ben.control(text.controls.mute).click();
  await expectNoTone(ada.page, PEOPLE.Ben.toneHz);
  await expect(ada.tile("Ben")).toHaveAccessibleName(new RegExp(text.tile.muted));
  await ben.control(text.controls.unmute).click();
  await expectTone(ada.page, PEOPLE.Ben.toneHz);

  await ada.choose("Ben", text.tile.mute);
  await expect(ben.notice(text.notices.mutedByHost)).toBeVisible();
  await expect(ben.control(text.controls.unmute)).toBeVisible();
  await expectNoTone(ada.page, PEOPLE.Ben.toneHz);
  await ben.control(text.controls.unmute).click();
  await expectTone(ada.page, PEOPLE.Ben.toneHz);

  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await ben.control(text.controls.cameraOff).click();
  await expect(ada.picture("Ben")).toHaveCount(0);
  await ben.control(text.controls.cameraOn).click();
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
});

test("a screen is shared, shown large, and ended", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await ada.control(text.controls.share).click();
  const screen = ben.picture("Ada", "screen");
  await expect(screen).toBeVisible();
  // The browser's own made-up screen: neither of the cameras, and it moves.
  await expect
    .poll(async () => (await look(screen)).brightness, { message: "a picture of the screen" })
    .toBeGreaterThan(10);
  const first = await look(screen);
  await expect.poll(async () => (await look(screen)).fingerprint).not.toBe(first.fingerprint);
  expect(first.colour).toBeNull();
  expect(first.number).toBeNull();
  const [large, small] = [await screen.boundingBox(), await ben.picture("Ada").boundingBox()];
  expect((large?.width ?? 0) * (large?.height ?? 0)).toBeGreaterThan(
    (small?.width ?? 0) * (small?.height ?? 0),
  );
  await ada.control(text.controls.stopShare).click();
  await expect(ben.tile("Ada", "screen")).toHaveCount(0);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
});

test("a host removes somebody, who is told so and cannot come back", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await ada.choose("Ben", text.tile.remove);
  await ada.page.getByRole("dialog").getByRole("button", { name: text.people.remove, exact: true }).click();
  await ben.expectEnding("kicked");
  await expect(ada.tile("Ben")).toHaveCount(0);
});

test("who waits is let in or turned away", async ({ server, open, site }) => {
  const created = await server.createMeeting({ settings: { waiting_room: "admission" } });
  const ada = new AppPage(await open("Ada"), site);
  await ada.enter(created, "Ada");
  const ben = new AppPage(await open("Ben"), site);
  await ben.openLobby(created, { guest: true });
  await ben.knock("Ben");
  await expect(ben.page.getByRole("heading", { name: text.waiting.title })).toBeVisible();
  await ada.page.getByRole("button", { name: text.people.admit, exact: true }).click();
  await ben.expectInside();
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);

  const eve = new AppPage(await open("Ben"), site);
  await eve.openLobby(created, { guest: true });
  await eve.knock("Eve");
  await ada.control(text.controls.peopleAsking(2, 1)).click();
  await ada.page.getByRole("button", { name: text.people.rejectPerson("Eve") }).click();
  await eve.expectEnding("rejected");
});

test("the layer that arrives is that which the tile needs", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ben } = await together(open, site, created);
  const picture = ben.picture("Ada");
  await expectMoving(picture, PEOPLE.Ada.colour);
  await expect.poll(async () => (await look(picture)).width).toBe(640);
  // Low enough that 180 lines are as many as the tile shows.
  await ben.page.setViewportSize({ width: 400, height: 270 });
  await expect.poll(async () => (await look(picture)).width).toBe(320);
  await expectMoving(picture, PEOPLE.Ada.colour);
  await ben.page.setViewportSize({ width: 1280, height: 800 });
  await expect.poll(async () => (await look(picture)).width).toBe(640);
  await expectMoving(picture, PEOPLE.Ada.colour);
});

test("who reloads the page comes back by the lobby, with the same name", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await ben.page.reload();
  await expect(ada.tile("Ben")).toHaveCount(0);
  await expect(ben.page.getByLabel(text.lobby.yourName)).toHaveValue("Ben");
  await ben.page.getByRole("button", { name: text.lobby.join }).click();
  await ben.expectInside();
  await expectMoving(ada.picture("Ben"), PEOPLE.Ben.colour);
  await expectMoving(ben.picture("Ada"), PEOPLE.Ada.colour);
});

test("keys do what the buttons do, but not while one writes", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  const { page } = ada;
  await page.keyboard.press("m");
  await expect(ada.control(text.controls.unmute)).toBeVisible();
  await expect(ben.tile("Ada")).toHaveAccessibleName(new RegExp(text.tile.muted));
  // Held, Space lets one talk.
  await page.keyboard.down(" ");
  await expect(page.getByText(text.meeting.talking)).toBeVisible();
  await expectTone(ben.page, PEOPLE.Ada.toneHz);
  await page.keyboard.up(" ");
  await expectNoTone(ben.page, PEOPLE.Ada.toneHz);
  await page.keyboard.press("m");
  await expect(ada.control(text.controls.mute)).toBeVisible();
  await page.keyboard.press("v");
  await expect(ada.control(text.controls.cameraOn)).toBeVisible();
  await page.keyboard.press("v");
  await expect(ada.control(text.controls.cameraOff)).toBeVisible();
  await page.keyboard.press("h");
  await expect(ada.control(text.controls.lowerHand)).toBeVisible();
  await expect(ben.tile("Ada")).toHaveAccessibleName(new RegExp(text.tile.handRaised));
  await page.keyboard.press("p");
  await expect(page.getByRole("complementary", { name: text.people.title })).toBeVisible();
  await page.keyboard.press("c");
  const field = page.getByLabel(text.chat.label, { exact: true });
  await expect(field).toBeFocused();
  await page.keyboard.type("mvhp?");
  await expect(field).toHaveValue("mvhp?");
  await expect(ada.control(text.controls.mute)).toBeVisible();
  await field.fill("");
  await page.keyboard.press("Escape");
  await expect(field).toHaveCount(0);
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: text.shortcuts.title });
  await expect(help).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(help).toHaveCount(0);
});

test("reactions and raised hands are seen by the others", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const { ada, ben } = await together(open, site, created);
  await ben.control(text.controls.raiseHand).click();
  await expect(ada.notice(text.notices.handRaised(["Ben"]))).toBeVisible();
  await ben.control(text.controls.reactions).click();
  const reaction = ben.page
    .getByRole("dialog", { name: text.controls.reactions })
    .getByRole("button")
    .first();
  const emoji = (await reaction.textContent()) ?? "";
  const seen = expect(ada.tile("Ben").getByText(emoji)).toBeVisible();
  await reaction.click();
  await seen;
});
