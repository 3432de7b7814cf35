/** Accessibility, by axe-core. */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import { expect } from "@playwright/test";
import type * as Axe from "axe-core";

const source = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What the rules are of: WCAG 2.2 A and AA, and what is good practice. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

declare global {
  var axe: typeof Axe;
}

/** Fails if anything on the page violates a rule. Waits for what moves: colours are judged when they stand still. */
export async function expectAccessible(page: Page, what: string): Promise<void> {
  // As text, not as a script element, which the page's policy would block.
  await page.evaluate(await source);
  await page.evaluate(async () => {
    const finite = document.getAnimations().filter((animation) => {
      const { iterations = 1 } = animation.effect?.getTiming() ?? {};
      return iterations !== Number.POSITIVE_INFINITY && animation.playState === "running";
    });
    await Promise.allSettled(finite.map((animation) => animation.finished));
  });
  const violations = await page.evaluate(async (tags) => {
    const { violations } = await axe.run(document, { runOnly: { type: "tag", values: tags } });
    return violations.map(({ id, help, nodes }) => ({
      id,
      help,
      where: nodes.slice(0, 5).map(({ target, failureSummary }) => `${target.join(" ")}: ${failureSummary}`),
    }));
  }, TAGS);
  expect(violations, `violations on ${what}`).toEqual([]);
}
