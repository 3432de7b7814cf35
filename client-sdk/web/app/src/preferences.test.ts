import { describe, expect, it } from "vitest";
import { DEFAULTS, parsePreferences } from "./preferences.js";

describe("preferences", () => {
  it("take what is usable of what was stored", () => {
    const stored = { ...DEFAULTS, name: "Ada", theme: "dark", cameraOn: false, shortcuts: false };
    expect(parsePreferences(JSON.stringify(stored))).toEqual(stored);
    expect(parsePreferences(JSON.stringify({ name: 7, theme: "pink", shortcuts: "no" }))).toEqual(DEFAULTS);
  });

  it("are the defaults when nothing is stored, or nonsense", () => {
    for (const stored of [null, "", "null", "[", "7"]) expect(parsePreferences(stored)).toEqual(DEFAULTS);
  });
});
