/** A participant that uses the meeting app: what people do on its pages, by the words that they see. */

import type { Locator, Page } from "@playwright/test";
import { expect } from "@playwright/test";
import { english as text } from "../../app/src/text.js";
import type { Guard } from "./guard.js";
import type { CreatedMeeting } from "./server.js";
import type { StaticHost } from "./static-host.js";
import type { WatchedPage } from "./test.js";

export { text };

/** Joining takes a fraction of a second; a busy machine gets more. */
const JOIN_LIMIT_MS = 20_000;

export interface EnterOptions {
  /** As somebody without an account: with the development server everybody else is a host. */
  readonly guest?: boolean;
}

export class AppPage {
  readonly page: Page;
  readonly guard: Guard;
  readonly #site: StaticHost;

  constructor(watched: WatchedPage, site: StaticHost) {
    this.page = watched.page;
    this.guard = watched.guard;
    this.#site = site;
  }

  /** Goes to a path of the app. */
  async goto(path: string): Promise<void> {
    await this.page.goto(this.#site.url + path);
  }

  /** Opens the link of a meeting and waits for its lobby. */
  async openLobby(meeting: CreatedMeeting, options: EnterOptions = {}): Promise<void> {
    await this.goto(`/m/${meeting.slug}${options.guest ? "?guest" : ""}`);
    await expect(this.page.getByRole("heading", { name: text.lobby.title })).toBeVisible();
  }

  /** Fills in the name and presses the button of the lobby, whatever it says. */
  async knock(name: string): Promise<void> {
    await this.page.getByLabel(text.lobby.yourName).fill(name);
    await this.page.locator("form button[type=submit]").click();
  }

  /** From the link into the meeting. */
  async enter(meeting: CreatedMeeting, name: string, options: EnterOptions = {}): Promise<void> {
    await this.openLobby(meeting, options);
    await this.knock(name);
    await this.expectInside();
  }

  async expectInside(): Promise<void> {
    await expect(this.controls).toBeVisible({ timeout: JOIN_LIMIT_MS });
  }

  get controls(): Locator {
    return this.page.getByLabel(text.meeting.controls);
  }

  /** A button of the bar at the bottom. */
  control(name: string | RegExp): Locator {
    return this.controls.getByRole("button", typeof name === "string" ? { name, exact: true } : { name });
  }

  /** A tile; of oneself by `text.common.youAfterName`. Its label goes on with what else there is to say. */
  tile(name: string, kind: "camera" | "screen" = "camera"): Locator {
    const label = JSON.stringify(kind === "screen" ? text.tile.screenOf(name) : name);
    return this.page.locator(`section.tile[data-kind=${kind}][aria-label^=${label}]`);
  }

  /** The picture in the tile of somebody else. */
  picture(name: string, kind: "camera" | "screen" = "camera"): Locator {
    return this.tile(name, kind).locator("canvas");
  }

  /** A notice at the edge of the stage. Screen readers are told the same elsewhere. */
  notice(words: string): Locator {
    return this.page.getByRole("main").getByText(words, { exact: true });
  }

  /** Opens the menu of somebody's tile and picks an item. */
  async choose(name: string, item: string): Promise<void> {
    const tile = this.tile(name);
    await tile.hover();
    await tile.getByRole("button", { name: text.tile.actions(name) }).click();
    await this.page.getByRole("menuitem", { name: item }).click();
  }

  /** Leaves by the button, as a host or not. */
  async leave(): Promise<void> {
    const plain = this.control(text.controls.leaveMeeting);
    if (await plain.isVisible()) {
      await plain.click();
    } else {
      await this.control(text.controls.leave).click();
      await this.page.getByRole("menuitem", { name: text.controls.leaveMeeting }).click();
    }
    await this.expectEnding("left");
  }

  async expectEnding(ending: keyof typeof text.endings): Promise<void> {
    await expect(this.page.getByRole("heading", { name: text.endings[ending].title })).toBeVisible();
  }
}
