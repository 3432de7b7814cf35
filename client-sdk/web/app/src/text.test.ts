import { describe, expect, it } from "vitest";
import { chooseText, english } from "./text.js";

describe("text", () => {
  it("names few people in full, and counts the others", () => {
    expect(english.notices.joined(["Ada"])).toBe("Ada joined");
    expect(english.notices.joined(["Ada", "Bob"])).toBe("Ada and Bob joined");
    expect(english.notices.joined(["Ada", "Bob", "Cleo", "Dan"])).toBe("Ada, Bob and 2 more joined");
    expect(english.notices.waiting(["Ada"])).toBe("Ada wants to join");
    expect(english.notices.waiting(["Ada", "Bob"])).toBe("Ada and Bob want to join");
  });

  it("has plurals", () => {
    expect(english.controls.chatUnread(1)).toBe("Chat, 1 unread message");
    expect(english.controls.chatUnread(3)).toBe("Chat, 3 unread messages");
    expect(english.chat.charactersLeft(-2)).toBe("2 characters too many");
  });

  it("explains every error that a camera or microphone can have", () => {
    const titles = [
      "NotAllowedError",
      "NotFoundError",
      "NotReadableError",
      "OverconstrainedError",
      "AbortError",
    ].map((code) => english.devices.problem("camera", code).title);
    expect(new Set(titles).size).toBe(5);
  });

  it("falls back to English", () => {
    expect(chooseText(["xx", "en-GB"])).toBe(english);
    expect(chooseText([])).toBe(english);
  });
});
