/** That what goes wrong in pages is noticed: a guard that sleeps would let every test pass. */

import { expect, test } from "../../harness/test.js";

test("errors of page and worker, failed requests and violations of the policy are problems", async ({
  open,
  site,
}) => {
  const { page, guard } = await open("Ada");
  site.add(
    "/e2e/strict",
    `<!doctype html><meta http-equiv="Content-Security-Policy" content="script-src 'self' blob:"><link rel="icon" href="data:,"><title>Strict</title>
     <script>globalThis.ran = true;</script>`,
  );
  await page.goto(`${site.url}/e2e/strict`);
  expect(await page.evaluate(() => "ran" in globalThis)).toBe(false);
  await page.evaluate(async () => {
    console.error("said by the page");
    setTimeout(() => {
      throw new Error("thrown by the page");
    });
    void Promise.reject(new Error("rejected by the page"));
    const worker = (source: string) =>
      new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    worker(`console.error("said by the worker")`);
    worker(`throw new Error("thrown by the worker")`);
    await fetch("/e2e/nothing-here");
    await fetch("http://127.0.0.1:9/").catch(() => {});
  });
  const wanted = [
    /Content Security Policy/i,
    /console: said by the page/,
    /uncaught: .*thrown by the page/,
    /uncaught: .*rejected by the page/,
    /console: said by the worker/,
    /thrown by the worker/,
    /answer 404: GET .*nothing-here/,
    /request failed: GET http:\/\/127\.0\.0\.1:9/,
  ];
  for (const pattern of wanted) {
    await expect
      .poll(() => guard.problems.some((problem) => pattern.test(problem)), String(pattern))
      .toBe(true);
  }
  guard.expect(/./s);
  expect(guard.problems).toEqual([]);
});

test("a page without faults has no problems, isolated or not", async ({ open, site, plainSite }) => {
  const { page, guard } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  await page.goto(`${plainSite.url}/e2e/pages/blank.html`);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
  expect(guard.problems).toEqual([]);
});

test("a browser whose user says no, and one without devices, refuse in their ways", async ({
  open,
  site,
}) => {
  const nameOf = async (devices: "denied" | "none") => {
    const { page } = await open(devices);
    await page.goto(`${site.url}/e2e/pages/blank.html`);
    return page.evaluate(() =>
      navigator.mediaDevices.getUserMedia({ video: true }).then(
        () => "granted",
        (error: DOMException) => error.name,
      ),
    );
  };
  expect(await nameOf("denied")).toBe("NotAllowedError");
  expect(await nameOf("none")).toBe("NotFoundError");
});

test("the host passes requests on to the meeting server", async ({ open, site }) => {
  const { page } = await open("Ada");
  await page.goto(`${site.url}/e2e/pages/blank.html`);
  const answer = await page.evaluate(async () => {
    const response = await fetch("/api/v1/meetings", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ display_name: "By a page", access_policy: "open" }),
    });
    return { status: response.status, body: (await response.json()) as { join_token?: string } };
  });
  expect(answer.status).toBe(201);
  expect(answer.body.join_token).toBeTruthy();
});
