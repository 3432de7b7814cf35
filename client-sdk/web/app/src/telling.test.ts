import { type ErrorKind, MeetingError } from "@darktower/client";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Telling } from "./telling.js";
import { text } from "./text.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function toldOf(error: unknown): Promise<string[]> {
  const telling = new Telling();
  expect(await telling.attempt(Promise.reject(error))).toBe(false);
  telling.close();
  return telling.notices.value.map((notice) => notice.text);
}

describe("telling", () => {
  it("says in the words of the server, the system or the browser why something did not work", async () => {
    for (const kind of ["refused", "device", "unsupported"] satisfies ErrorKind[]) {
      expect(await toldOf(new MeetingError(kind, "because"))).toEqual(["because"]);
    }
    expect(await toldOf(new MeetingError("protocol", "a bug"))).toEqual([text.notices.failed]);
    expect(await toldOf(new TypeError("a bug"))).toEqual([text.notices.failed]);
  });

  it("says nothing when the meeting is over", async () => {
    expect(await toldOf(new MeetingError("closed", "over"))).toEqual([]);
  });
});
