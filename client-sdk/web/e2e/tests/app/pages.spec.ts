/** Every page of the app: what it says, that it is accessible in both themes, and that it fits a phone. */

import { expectAccessible } from "../../checks/accessibility.js";
import { expectMoving } from "../../checks/picture.js";
import { AppPage, text } from "../../harness/app-page.js";
import { clips, PEOPLE } from "../../harness/clips.js";
import { expect, test } from "../../harness/test.js";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

for (const colorScheme of ["light", "dark"] as const) {
  test(`start page, lobby and meeting are accessible, ${colorScheme}`, async ({
    server,
    native,
    open,
    site,
  }) => {
    const created = await server.createMeeting();
    await native.publish(created, [clips.steadyVideo, clips.steadyAudio], { name: "Nat" });
    const ada = new AppPage(await open("Ada", { colorScheme }), site);
    const { page } = ada;
    await ada.goto("/");
    await expect(page.getByRole("heading", { name: text.home.newMeeting })).toBeVisible();
    await expectAccessible(page, "the start page");
    await page.getByRole("textbox", { name: text.home.link }).fill("no link, this");
    await page.getByRole("button", { name: text.home.join, exact: true }).click();
    await expect(page.getByText(text.home.badLink)).toBeVisible();
    await expectAccessible(page, "the start page with an error");
    await page.getByRole("textbox", { name: text.home.link }).fill(`${site.url}/m/${created.slug}`);
    await page.getByRole("button", { name: text.home.join, exact: true }).click();
    await expect(page.getByRole("heading", { name: text.lobby.title })).toBeVisible();
    await expectMoving(page.locator("video"), PEOPLE.Ada.colour);
    await page.getByText(text.lobby.deviceSettings).click();
    await expectAccessible(page, "the lobby");
    await ada.knock("Ada");
    await ada.expectInside();
    await expect(ada.tile("Nat")).toBeVisible();
    await expectAccessible(page, "the meeting");
    await page.keyboard.press("c");
    await page.getByLabel(text.chat.label, { exact: true }).fill("hello");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("complementary").getByText("hello")).toBeVisible();
    await expectAccessible(page, "the meeting with its chat");
    await page.keyboard.press("Escape");
    await page.keyboard.press("p");
    await expect(page.getByRole("complementary", { name: text.people.title })).toBeVisible();
    await expectAccessible(page, "the meeting with its people");
    await page.keyboard.press("Escape");
    for (const item of [text.controls.settings, text.controls.statistics, text.controls.shortcuts]) {
      await ada.control(text.controls.more).click();
      await expect(page.getByRole("menu")).toBeVisible();
      if (item === text.controls.settings) await expectAccessible(page, "an open menu");
      await page.getByRole("menuitem", { name: item }).click();
      await expect(page.getByRole("dialog", { name: item })).toBeVisible();
      await expectAccessible(page, `the dialog ${item}`);
      await page.keyboard.press("Escape");
    }
    await page.keyboard.press("l");
    await expectAccessible(page, "the speaker view");
    await ada.leave();
    await expectAccessible(page, "the page after leaving");
  });

  test(`pages of errors say what to do and are accessible, ${colorScheme}`, async ({
    server,
    native,
    open,
    site,
  }) => {
    const ada = new AppPage(await open("Ada", { colorScheme }), site);
    // The API says so with its status, which the browser writes to the console.
    ada.guard.expect(/404/, /409/, /410/, /429/);
    await ada.goto("/m/no-such-meeting");
    await ada.expectEnding("noSuchMeeting");
    await expectAccessible(ada.page, "no such meeting");

    const over = await server.createMeeting();
    const first = new AppPage(await open("Ben", { colorScheme }), site);
    await first.enter(over, "Ben");
    await native.host(over, "end");
    await first.expectEnding("ended");
    await expectAccessible(first.page, "the meeting is over");
    await ada.goto(`/m/${over.slug}`);
    await ada.expectEnding("ended");

    const small = await server.createMeeting({ max_participants: 1 });
    await first.enter(small, "Ben");
    await ada.openLobby(small);
    await ada.knock("Ada");
    await ada.expectEnding("full");
    await expectAccessible(ada.page, "the meeting is full");
    await first.leave();
    await ada.page.getByRole("button", { name: text.common.tryAgain }).click();
    await ada.page.getByRole("button", { name: text.lobby.join }).click();
    await ada.expectInside();

    const locked = await server.createMeeting();
    await first.enter(locked, "Ben");
    await first.page.keyboard.press("p");
    await first.page.getByRole("button", { name: text.people.lock }).click();
    await expect(first.page.getByLabel(text.meeting.locked)).toBeVisible();
    await ada.openLobby(locked, { guest: true });
    await ada.knock("Ada");
    await ada.expectEnding("locked");
    await expectAccessible(ada.page, "the meeting is locked");
  });
}

test("a browser that lacks what meetings need is told what", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  const old = new AppPage(await open("Ada"), site);
  await old.page.addInitScript(() => {
    Reflect.deleteProperty(globalThis, "WebTransport");
  });
  await old.goto(`/m/${created.slug}`);
  await old.expectEnding("unsupported");
  await expect(old.page.getByRole("listitem").filter({ hasText: "WebTransport" })).toBeVisible();
  await expectAccessible(old.page, "the unsupported browser");
});

test("who lets nobody use devices is told how to, and can join without", async ({ server, open, site }) => {
  const created = await server.createMeeting();
  for (const [devices, code] of [
    ["denied", "NotAllowedError"],
    ["none", "NotFoundError"],
  ] as const) {
    const shy = new AppPage(await open(devices), site);
    await shy.openLobby(created, { guest: true });
    for (const kind of ["camera", "microphone"] as const) {
      const problem = text.devices.problem(kind, code);
      const alert = shy.page.getByRole("alert").filter({ hasText: problem.title });
      await expect(alert.getByText(problem.text)).toBeVisible();
    }
    await expectAccessible(shy.page, `the lobby with ${code}`);
    await shy.knock("Shy");
    await shy.expectInside();
    await expect(shy.control(text.controls.cameraOn)).toBeVisible();
    await shy.leave();
  }
});

test("on a phone everything fits, in lobby and meeting", async ({ server, native, open, site }) => {
  const created = await server.createMeeting();
  await native.publish(created, [clips.steadyVideo], { name: "Nat" });
  const phone = new AppPage(await open("Ada", PHONE), site);
  const { page } = phone;
  const expectFits = async (what: string) => {
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(excess, `pixels that ${what} is too wide`).toBeLessThanOrEqual(0);
  };
  await phone.goto("/");
  await expect(page.getByRole("heading", { name: text.home.newMeeting })).toBeVisible();
  await expectFits("the start page");
  await phone.openLobby(created);
  await expectFits("the lobby");
  await phone.knock("Ada");
  await phone.expectInside();
  await expect(phone.tile("Nat")).toBeInViewport({ ratio: 0.9 });
  await expectFits("the meeting");
  for (const button of await phone.controls.getByRole("button").all()) {
    if (!(await button.isVisible())) continue;
    await expect(button).toBeInViewport({ ratio: 1 });
    const box = await button.boundingBox();
    // WCAG 2.2, 2.5.8: at least 24 px for fingers.
    expect(Math.min(box?.width ?? 0, box?.height ?? 0)).toBeGreaterThanOrEqual(24);
  }
  await phone.control(/^Chat/).click();
  await expect(page.getByLabel(text.chat.label, { exact: true })).toBeInViewport({ ratio: 1 });
  await expectFits("the chat");
  await expectAccessible(page, "the chat on a phone");
});
