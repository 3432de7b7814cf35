/** That axe runs under a strict policy and finds what is wrong. */

import { expectAccessible } from "../../checks/accessibility.js";
import { expect, test } from "../../harness/test.js";

const page = (
  body: string,
) => `<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,">
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:"></head><body>${body}</body></html>`;

test("a good page passes, a bad one does not, under a policy that allows no script", async ({
  open,
  site,
}) => {
  const { page: tab } = await open("Ada");
  site.add("/e2e/good", page("<main><h1>Good</h1><button>Press</button></main>"));
  site.add(
    "/e2e/bad",
    page('<main><h1>Bad</h1><button></button><p><font color="#ddd">faint</font></p></main>'),
  );
  await tab.goto(`${site.url}/e2e/good`);
  await expectAccessible(tab, "the good page");
  await tab.goto(`${site.url}/e2e/bad`);
  const failure = await expectAccessible(tab, "the bad page").catch((error: Error) => error.message);
  expect(failure).toContain("button-name");
  expect(failure).toContain("color-contrast");
});
