import { describe, expect, it } from "vitest";
import * as format from "./format.js";

describe("format", () => {
  it("shows durations as clocks do", () => {
    expect(format.duration(0)).toBe("0:00");
    expect(format.duration(65_900)).toBe("1:05");
    expect(format.duration(3_723_000)).toBe("1:02:03");
    expect(format.duration(-5)).toBe("0:00");
  });

  it("shows the day of what was not today", () => {
    const now = Date.UTC(2026, 10, 27, 12, 0);
    expect(format.moment(Date.UTC(2026, 10, 27, 9, 5), now, "en-GB", "UTC")).toBe("09:05");
    expect(format.moment(Date.UTC(2026, 10, 26, 9, 5), now, "en-GB", "UTC")).toContain("26 Nov");
  });

  it("rounds bit rates, shares and times", () => {
    expect(format.bitrate(0)).toBe("–");
    expect(format.bitrate(839_600)).toBe("840 kbit/s");
    expect(format.bitrate(2_410_000)).toBe("2.4 Mbit/s");
    expect(format.percent(0)).toBe("0 %");
    expect(format.percent(0.004)).toBe("0.4 %");
    expect(format.percent(0.25)).toBe("25 %");
    expect(format.milliseconds(12.6)).toBe("13 ms");
    expect(format.milliseconds(0)).toBe("–");
  });

  it("takes initials from first and last name, in any script", () => {
    expect(format.initials("Ada Lovelace")).toBe("AL");
    expect(format.initials("Jean-Luc van der Berg")).toBe("JB");
    expect(format.initials("zoë")).toBe("Z");
    expect(format.initials("李小龍")).toBe("李");
    expect(format.initials("(Bob) 😀 ")).toBe("B");
    expect(format.initials("👩🏽‍🚀🚀")).toBe("👩🏽‍🚀");
    expect(format.initials(" ")).toBe("?");
  });

  it("gives each participant one of the colours, always the same", () => {
    const ids = Array.from({ length: 200 }, (_, i) => `participant-${i}`);
    const colours = new Set(ids.map(format.avatarColour));
    expect(colours.size).toBe(format.AVATAR_COLOURS);
    expect(format.avatarColour("a")).toBe(format.avatarColour("a"));
  });

  it("counts characters by code points", () => {
    expect(format.characters("aé😀")).toBe(3);
  });
});
