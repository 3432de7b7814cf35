/** The page of the SDK's README, as it stands there: it publishes a camera and shows another stream. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expectMoving } from "../../checks/picture.js";
import { PEOPLE } from "../../harness/clips.js";
import { paths } from "../../harness/programs.js";
import type { StaticHost } from "../../harness/static-host.js";
import { expect, test } from "../../harness/test.js";

/** What the README shows, with the package's name made an address: a page without a bundler needs an import map. */
async function readmePage(link: string): Promise<string> {
  const readme = await readFile(join(paths.web, "sdk/README.md"), "utf8");
  const [, html] = /```html\n([\s\S]*?)```/.exec(readme) ?? [];
  if (!html) throw new Error("the README has no page");
  // The one thing that everybody has to put in.
  const example = "http://127.0.0.1:8080/m/SLUG";
  expect(html).toContain(example);
  expect(html.trim().split("\n").length).toBeLessThanOrEqual(12);
  const map = { imports: { "@darktower/client": "/e2e/sdk/index.js" } };
  return `<link rel="icon" href="data:,"><script type="importmap">${JSON.stringify(map)}</script>\n${html.replace(example, link)}`;
}

for (const isolated of [true, false]) {
  test(`the README's page works ${isolated ? "with" : "without"} shared memory`, async ({
    server,
    native,
    open,
    site,
    plainSite,
  }) => {
    const host: StaticHost = isolated ? site : plainSite;
    const created = await server.createMeeting();
    host.add("/e2e/readme", await readmePage(`${host.url}/m/${created.slug}`));
    const pages = await Promise.all([open("Ada"), open("Ben")]);
    for (const { page } of pages) await page.goto(`${host.url}/e2e/readme`);
    for (const [index, { page }] of pages.entries()) {
      const other = index === 0 ? PEOPLE.Ben : PEOPLE.Ada;
      await expectMoving(page.locator("canvas").first(), other.colour, 15);
    }
    expect(await native.host(created, "list")).toContain("Ada");
  });
}
