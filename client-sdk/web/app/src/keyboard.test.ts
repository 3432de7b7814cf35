import { describe, expect, it } from "vitest";
import { shortcutOf } from "./keyboard.js";

const key = (key: string, held: Partial<Record<"ctrlKey" | "metaKey" | "altKey", boolean>> = {}) => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  ...held,
});

describe("shortcuts", () => {
  it("are single letters, in either case", () => {
    expect(shortcutOf(key("m"))).toBe("microphone");
    expect(shortcutOf(key("V"))).toBe("camera");
    expect(shortcutOf(key("?"))).toBe("help");
    expect(shortcutOf(key(" "))).toBe("talk");
    expect(shortcutOf(key("x"))).toBeUndefined();
    expect(shortcutOf(key("Enter"))).toBeUndefined();
  });

  it("leave the browser's own alone", () => {
    expect(shortcutOf(key("c", { ctrlKey: true }))).toBeUndefined();
    expect(shortcutOf(key("l", { metaKey: true }))).toBeUndefined();
    expect(shortcutOf(key("s", { altKey: true }))).toBeUndefined();
  });
});
