/** A participant that is a page with nothing but the SDK. */

import type * as Sdk from "@darktower/client";
import type { Locator, Page } from "@playwright/test";
import { expect } from "@playwright/test";
import type { Guard } from "./guard.js";
import type { Grant } from "./server.js";
import type { StaticHost } from "./static-host.js";
import type { WatchedPage } from "./test.js";

/** An event of the meeting that the page has heard. */
export interface Heard {
  readonly name: keyof Sdk.MeetingEvents;
  /** `performance.now()` of the page. */
  readonly atMs: number;
  /** The event as JSON can carry it. */
  readonly event: unknown;
}

declare global {
  var sdk: typeof Sdk;
  var meeting: Sdk.Meeting;
  var heard: Heard[];
  var publications: Record<string, Sdk.Publication>;
  var subscriptions: Record<string, Sdk.Subscription>;
}

const JOIN_LIMIT_MS = 15_000;

export class SdkPage {
  readonly page: Page;
  readonly guard: Guard;

  private constructor(watched: WatchedPage) {
    this.page = watched.page;
    this.guard = watched.guard;
  }

  /** Opens the page, with the SDK loaded and no meeting yet. */
  static async open(watched: WatchedPage, site: StaticHost): Promise<SdkPage> {
    const self = new SdkPage(watched);
    await self.page.goto(`${site.url}/e2e/pages/sdk.html`);
    await self.page.waitForFunction(() => "sdk" in globalThis);
    return self;
  }

  /** Opens the page and joins. */
  static async join(watched: WatchedPage, site: StaticHost, grant: Grant): Promise<SdkPage> {
    const self = await SdkPage.open(watched, site);
    await self.join(grant);
    return self;
  }

  async join(grant: Grant): Promise<void> {
    await this.page.evaluate(
      async ({ grant, timeoutMs }) => {
        Object.assign(globalThis, { heard: [], publications: {}, subscriptions: {} });
        globalThis.meeting = await sdk.Meeting.join(grant, { timeoutMs });
        const names = [
          ...(["participantJoined", "participantLeft", "participantUpdated", "selfUpdated"] as const),
          ...(["streamPublished", "streamUnpublished", "rightsChanged", "activeSpeaker"] as const),
          ...(["chatMessage", "chatMessageUpdated", "waitingRoomChanged", "meetingUpdated"] as const),
          ...(["reconnecting", "reconnected", "closed", "mediaRefused", "audioBlocked"] as const),
        ];
        for (const name of names) {
          meeting.on(name, (event) => {
            heard.push({ name, atMs: performance.now(), event: JSON.parse(JSON.stringify(event)) });
          });
        }
        meeting.on("broadcast", ({ type, payload, participantId }) => {
          const text = new TextDecoder().decode(payload);
          heard.push({ name: "broadcast", atMs: performance.now(), event: { type, text, participantId } });
        });
      },
      { grant, timeoutMs: JOIN_LIMIT_MS },
    );
  }

  /** Publishes this person's camera. */
  async publishCamera(options: Sdk.PublishOptions = {}): Promise<void> {
    await this.page.evaluate(async (options) => {
      const track = await sdk.openCamera({ width: 640, height: 360, framerate: 30 });
      publications.camera = await meeting.publish(track, options);
    }, options);
  }

  async publishMicrophone(): Promise<void> {
    await this.page.evaluate(async () => {
      publications.audio = await meeting.publish(await sdk.openMicrophone());
    });
  }

  async publishScreen(): Promise<void> {
    await this.page.evaluate(async () => {
      const { video } = await sdk.openScreen();
      publications.screen = await meeting.publish(video, { type: "screen" });
    });
  }

  /** Pictures that say when they were painted (`Probe.clockTrack`), as a camera. */
  async publishClock(size: { width: number; height: number; framerate: number }): Promise<void> {
    await this.page.evaluate(async (size) => {
      const track = __probe.clockTrack({ ...size, colour: "green" });
      publications.camera = await meeting.publish(track, { type: "camera", simulcast: false });
    }, size);
  }

  /** Waits until somebody publishes such a stream, subscribes to it, and for pictures puts them on the page. */
  async subscribe(
    name: string,
    type: Sdk.StreamType = "camera",
    options: Sdk.SubscribeOptions = {},
  ): Promise<Locator> {
    const wanted = { name, type };
    await expect
      .poll(
        () =>
          this.page.evaluate(({ name, type }) => {
            const participant = meeting.state.participants.find((participant) => participant.name === name);
            return participant?.streams.some((stream) => stream.type === type) ?? false;
          }, wanted),
        `${name} publishes ${type}`,
      )
      .toBe(true);
    const key = `${name} ${type}`;
    await this.page.evaluate(
      async ({ name, type, key, options }) => {
        const participant = meeting.state.participants.find((participant) => participant.name === name);
        const stream = participant?.streams.find((stream) => stream.type === type);
        if (!stream) throw new Error("the stream is gone");
        const subscription = await meeting.subscribe(stream.streamId, options);
        subscriptions[key] = subscription;
        if (!subscription.element) return;
        subscription.element.dataset.of = key;
        document.body.append(subscription.element);
      },
      { ...wanted, key, options },
    );
    return this.page.locator(`canvas[data-of="${key}"]`);
  }

  state(): Promise<Sdk.MeetingState> {
    return this.page.evaluate(() => meeting.state);
  }

  statistics(): Promise<Sdk.Statistics> {
    return this.page.evaluate(() => meeting.statistics());
  }

  /** Events of one name, so far. */
  heard(name: Heard["name"]): Promise<Heard[]> {
    return this.page.evaluate((name) => heard.filter((event) => event.name === name), name);
  }

  /** Waits for an event whose JSON has all that `like` has. */
  async hears(name: Heard["name"], like: Record<string, unknown> = {}): Promise<void> {
    await expect
      .poll(async () => (await this.heard(name)).map(({ event }) => event), `hears ${name}`)
      .toContainEqual(expect.objectContaining(like));
  }

  /** After the end of a meeting: no pictures on the page. */
  async clear(): Promise<void> {
    await this.page.evaluate(() => document.body.replaceChildren());
  }

  async leave(): Promise<void> {
    await this.page.evaluate(() => meeting.leave());
  }
}
