/** Whatever goes wrong in a page that no test expects: console errors, uncaught exceptions, failed requests. */

import type { ConsoleMessage, Page, Worker } from "@playwright/test";

export class Guard {
  readonly #problems: string[] = [];
  readonly #expected: RegExp[] = [];
  #closing = false;

  constructor(page: Page) {
    page.on("console", (message) => this.#hear(message));
    page.on("pageerror", (error) => this.#add(`uncaught: ${error.stack ?? error.message}`));
    page.on("crash", () => this.#add("the page crashed"));
    page.on("worker", (worker: Worker) => worker.on("console", (message) => this.#hear(message)));
    page.on("requestfailed", (request) =>
      this.#add(`request failed: ${request.method()} ${request.url()}: ${request.failure()?.errorText}`),
    );
    page.on("response", (response) => {
      if (response.status() >= 400) {
        this.#add(`answer ${response.status()}: ${response.request().method()} ${response.url()}`);
      }
    });
  }

  /** What matches is expected from now on, and before. */
  expect(...patterns: readonly RegExp[]): void {
    this.#expected.push(...patterns);
  }

  /** The page is about to be closed: what it had begun is broken off. */
  closing(): void {
    this.#closing = true;
  }

  /** What nobody expected. */
  get problems(): readonly string[] {
    return this.#problems.filter((problem) => !this.#expected.some((pattern) => pattern.test(problem)));
  }

  #hear(message: ConsoleMessage): void {
    if (message.type() !== "error") return;
    const { url, lineNumber } = message.location();
    this.#add(`console: ${message.text()} (${url}:${lineNumber})`);
  }

  #add(problem: string): void {
    // A worker's message comes by the page, and may come by the worker.
    if (!this.#closing && this.#problems.at(-1) !== problem) this.#problems.push(problem);
  }
}

/** What the browser itself writes to the console when a session cannot be opened: no page can keep it from that. */
export const CONNECTION_ERRORS = /Failed to establish a connection to https:\/\/127\.0\.0\.1/;
