/** The `test` of all browser tests: servers, browsers and native clients, begun when needed and ended in order. */

import {
  type BrowserContext,
  type BrowserContextOptions,
  test as base,
  expect,
  type Page,
} from "@playwright/test";
import { installProbe, PROBE_CONFIG } from "../checks/probe.js";
import { Browsers, type Devices } from "./browsers.js";
import { Guard } from "./guard.js";
import { NativeClients } from "./native.js";
import { Relay } from "./relay.js";
import { Server } from "./server.js";
import { StaticHost } from "./static-host.js";

/** A page that is watched. */
export interface WatchedPage {
  readonly page: Page;
  readonly guard: Guard;
}

/** Opens a page in a context of its own, with that person's devices. */
export type Open = (devices: Devices, options?: BrowserContextOptions) => Promise<WatchedPage>;

interface TestFixtures {
  open: Open;
  native: NativeClients;
  /** A server of this test's own, which clients reach through the relay only. */
  remote: {
    readonly server: Server;
    readonly relay: Relay;
    readonly native: NativeClients;
    readonly site: StaticHost;
  };
}

interface WorkerFixtures {
  server: Server;
  browsers: Browsers;
  /** Pages and API of `server`, and the SDK, with shared memory. */
  site: StaticHost;
  /** The same without COOP and COEP for the SDK. */
  plainSite: StaticHost;
}

export const test = base.extend<TestFixtures, WorkerFixtures>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the names of the fixtures from this pattern.
    async ({}, use) => {
      const server = await Server.start();
      await use(server);
      await server.stop();
    },
    { scope: "worker" },
  ],
  browsers: [
    // biome-ignore lint/correctness/noEmptyPattern: as above.
    async ({}, use) => {
      const browsers = new Browsers();
      await use(browsers);
      await browsers.close();
    },
    { scope: "worker" },
  ],
  site: [
    async ({ server }, use) => {
      const site = await StaticHost.start({ serverUrl: server.url, isolated: true });
      await use(site);
      await site.close();
    },
    { scope: "worker" },
  ],
  plainSite: [
    async ({ server }, use) => {
      const site = await StaticHost.start({ serverUrl: server.url, isolated: false });
      await use(site);
      await site.close();
    },
    { scope: "worker" },
  ],
  native: async ({ server }, use) => {
    const clients = new NativeClients(server);
    await use(clients);
    await clients.stopAll();
  },
  // biome-ignore lint/correctness/noEmptyPattern: as above.
  remote: async ({}, use) => {
    const relay = await Relay.start();
    const server = await Server.start({ publicQuicUrl: relay.url });
    relay.connect(server.quicPort);
    const native = new NativeClients(server);
    const site = await StaticHost.start({ serverUrl: server.url, isolated: true });
    await use({ server, relay, native, site });
    await native.stopAll();
    await site.close();
    await server.stop();
    await relay.close();
  },
  // After the servers, so that pages are closed before these stop.
  open: async ({ browsers }, use) => {
    const opened: { context: BrowserContext; guard: Guard }[] = [];
    await use(async (devices, options = {}) => {
      const browser = await browsers.get(devices);
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      await context.addInitScript(installProbe, PROBE_CONFIG);
      const page = await context.newPage();
      const guard = new Guard(page);
      opened.push({ context, guard });
      return { page, guard };
    });
    const problems = opened.flatMap(({ guard }) => guard.problems);
    for (const { guard } of opened) guard.closing();
    await Promise.all(opened.map(({ context }) => context.close()));
    expect(problems, "what went wrong in the pages").toEqual([]);
  },
});

export { expect };
