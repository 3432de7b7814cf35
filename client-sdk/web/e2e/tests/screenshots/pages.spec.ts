/** The pictures in docs/screenshots: every page that people meet, on a desktop and on a phone. */

import type { Meeting } from "@darktower/client";
import type { BrowserContextOptions, Page } from "@playwright/test";
import { expectPicture } from "../../checks/picture.js";
import { AppPage, text } from "../../harness/app-page.js";
import {
  makePortraits,
  PORTRAITS,
  type PortraitName,
  portraitClip,
  slideClip,
} from "../../harness/portraits.js";
import { paths } from "../../harness/programs.js";
import { takeScreenshot } from "../../harness/screenshot.js";
import { expect, test } from "../../harness/test.js";

const DEVICES = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
} as const satisfies Record<string, BrowserContextOptions>;

const [self = "Mira Novak", ...others] = PORTRAITS;
/** Who is heard. */
const SPEAKER: PortraitName = "Jonas Berg";
/** Before Mira writes. */
const CHAT = [
  ["Jonas Berg", "Good morning! Slides are in the usual place."],
  ["Amara Okafor", "Figures for Q3 are final, see page three."],
  ["Kenji Sato", "Great numbers 👏 Can we look at the waiting times first?"],
] as const;
const MEETING = "Quarterly review";

test.beforeAll(async () => {
  test.setTimeout(180_000);
  await makePortraits();
});

declare global {
  interface Window {
    /** The app's own, for those who look into it. */
    darktower?: { readonly meeting: Meeting };
  }
}

/** How many of these people's tiles have no picture yet, of as many as this participant may receive. */
function picturesMissing(page: Page, names: readonly string[]): Promise<number> {
  return page.evaluate((names) => {
    const wanted = [...document.querySelectorAll("section.tile[data-kind=camera]")].filter((tile) =>
      names.some((name) => tile.getAttribute("aria-label")?.startsWith(name)),
    );
    const shown = document.querySelectorAll("section.tile canvas").length;
    // Phones may receive less than fits on their screens.
    const most = window.darktower?.meeting.state.rights.maxVideoStreams ?? 0;
    return Math.max(0, Math.min(wanted.length, most) - shown);
  }, names);
}

for (const [device, options] of Object.entries(DEVICES)) {
  test(`the way into a meeting, and what is in it, ${device}`, async ({ server, native, open, site }) => {
    test.setTimeout(240_000);
    const created = await server.createMeeting({ display_name: MEETING });
    const mira = new AppPage(await open("portrait", { ...options, colorScheme: "dark" }), site);
    const { page } = mira;
    const shoot = async (name: string) => {
      // Nothing is pointed at, no button has the focus, and what was told is over.
      await page.mouse.move(1, 1);
      await page.evaluate(() => {
        if (document.activeElement instanceof HTMLButtonElement) document.activeElement.blur();
      });
      await expect(page.locator(".notice")).toHaveCount(0);
      await expect.poll(() => picturesMissing(page, withCamera)).toBe(0);
      for (const canvas of await page.locator("section.tile canvas").all()) {
        if (await canvas.isVisible()) await expectPicture(canvas);
      }
      // Nothing is on its way to where it belongs.
      await page.evaluate(() =>
        Promise.allSettled(
          document
            .getAnimations()
            .filter(({ effect }) => effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY)
            .map(({ finished }) => finished),
        ),
      );
      await takeScreenshot(page, `${name}-${device}`);
    };
    const withCamera: PortraitName[] = [];
    const come = async (names: readonly PortraitName[]) => {
      for (const name of names) {
        const sound = name === SPEAKER ? [`${paths.clips}/bot1-speech.ogg`] : [];
        await native.publish(created, [portraitClip(name), ...sound], { name });
        withCamera.push(name);
      }
    };

    const closePanel = async () => {
      const panel = page.getByRole("complementary");
      await panel.getByRole("button", { name: text.common.close }).click();
      await expect(panel).toHaveCount(0);
    };

    await mira.goto("/");
    await expect(page.getByRole("heading", { name: text.home.newMeeting })).toBeVisible();
    await shoot("home");

    await mira.openLobby(created);
    await page.getByLabel(text.lobby.yourName).fill(self);
    await expectPicture(page.locator("video"));
    await shoot("lobby");

    await mira.knock(self);
    await mira.expectInside();
    await mira.control(text.controls.mute).click();
    await expect(page.locator(".tile-speaking")).toHaveCount(0);
    await shoot("alone");

    await come(others.slice(0, 1));
    await expect(mira.picture(SPEAKER)).toBeVisible();
    await shoot("two");

    await come(others.slice(1, 3));
    await expect(mira.picture(others[2] ?? "")).toBeVisible();
    await shoot("four");
    await page.emulateMedia({ colorScheme: "light" });
    await shoot("light");
    await page.emulateMedia({ colorScheme: "dark" });

    for (const [name, words] of CHAT) await native.host(created, "say", words, "--name", name);
    await mira.control(/^Chat/).click();
    const field = page.getByLabel(text.chat.label, { exact: true });
    await field.fill("Thank you! On my way to page three 🎉");
    await page.getByRole("button", { name: text.chat.send }).click();
    await expect(field).toHaveValue("");
    await shoot("chat");
    await closePanel();

    const slides = await native.publish(created, [slideClip], { name: "Elif Kaya", screen: true });
    await expectPicture(mira.picture("Elif Kaya", "screen"));
    await shoot("share");
    await native.stop(slides);

    await come(others.slice(3));
    // A phone shows the others on its second page.
    await expect(mira.tile(others[3] ?? "")).toBeVisible();
    await shoot("nine");
    await page.keyboard.press("l");
    await shoot("speaker");
    await page.keyboard.press("l");
    await page.keyboard.press("p");
    await expect(page.getByRole("complementary", { name: text.people.title })).toBeVisible();
    await shoot("people");
    await closePanel();

    await native.host(created, "kick", self);
    await mira.expectEnding("kicked");
    await takeScreenshot(page, `kicked-${device}`);
  });

  test(`what cannot be joined, ${device}`, async ({ server, open, site }) => {
    const mira = new AppPage(await open("portrait", { ...options, colorScheme: "dark" }), site);
    mira.guard.expect(/404/);
    await mira.goto("/m/no-such-meeting");
    await mira.expectEnding("noSuchMeeting");
    await takeScreenshot(mira.page, `no-such-meeting-${device}`);
    const created = await server.createMeeting();
    await mira.page.addInitScript(() => {
      Reflect.deleteProperty(globalThis, "WebTransport");
    });
    await mira.goto(`/m/${created.slug}`);
    await mira.expectEnding("unsupported");
    await takeScreenshot(mira.page, `unsupported-${device}`);
  });
}
