import { resolve } from "node:path";
import { defineConfig } from "@playwright/test";
import { paths } from "./harness/programs.js";

/** Bounds that only a hang reaches: what is slow is judged by the tests themselves. */
const TEST_LIMIT_MS = 60_000;
const EXPECT_LIMIT_MS = 10_000;

export default defineConfig({
  testDir: "./tests",
  outputDir: resolve(paths.repository, "target/e2e-results"),
  globalSetup: "./harness/setup.ts",
  // Encoders, decoders and server of one test keep two cores busy: two tests at a time would only disturb each other.
  workers: 1,
  fullyParallel: false,
  retries: 0,
  forbidOnly: true,
  timeout: TEST_LIMIT_MS,
  expect: { timeout: EXPECT_LIMIT_MS },
  reporter: [["list"]],
  use: { screenshot: "only-on-failure" },
  projects: [
    { name: "parts", testMatch: "parts/*.spec.ts" },
    { name: "sdk", testMatch: "sdk/*.spec.ts" },
    { name: "app", testMatch: "app/*.spec.ts" },
    { name: "measure", testMatch: "measure/*.spec.ts" },
    // Not part of `npm test`: it writes to docs/screenshots.
    { name: "screenshots", testMatch: "screenshots/*.spec.ts" },
  ],
});
