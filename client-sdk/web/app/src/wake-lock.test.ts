import { describe, expect, it } from "vitest";
import { keepAwake, type Page } from "./wake-lock.js";

class FakePage extends EventTarget implements Page {
  visibilityState: DocumentVisibilityState = "visible";

  show(visible: boolean): void {
    this.visibilityState = visible ? "visible" : "hidden";
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

/** Requests are answered at once, or refused. */
function locks(refusing = false) {
  const given: { released: boolean }[] = [];
  return {
    given,
    async request(): Promise<WakeLockSentinel> {
      if (refusing) throw new DOMException("no", "NotAllowedError");
      const lock = {
        released: false,
        release: async () => {
          lock.released = true;
        },
      };
      given.push(lock);
      return lock as unknown as WakeLockSentinel;
    },
  };
}

const settled = () => new Promise((done) => setTimeout(done, 0));

describe("keeping the screen on", () => {
  it("asks again when the page is seen again, and releases at the end", async () => {
    const page = new FakePage();
    const made = locks();
    const end = keepAwake(page, made);
    await settled();
    page.show(true);
    await settled();
    expect(made.given).toEqual([expect.objectContaining({ released: false })]);
    page.show(false);
    for (const lock of made.given) lock.released = true;
    page.show(true);
    await settled();
    expect(made.given.map((lock) => lock.released)).toEqual([true, false]);
    end();
    page.show(true);
    await settled();
    expect(made.given.map((lock) => lock.released)).toEqual([true, true]);
  });

  it("releases a lock that comes after the end", async () => {
    const made = locks();
    keepAwake(new FakePage(), made)();
    await settled();
    expect(made.given.map((lock) => lock.released)).toEqual([true]);
  });

  it("does without where it is refused or unknown", async () => {
    const end = keepAwake(new FakePage(), locks(true));
    await settled();
    end();
    keepAwake(new FakePage(), undefined)();
  });
});
