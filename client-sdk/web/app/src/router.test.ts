import { describe, expect, it } from "vitest";
import { parseRoute, slugOf } from "./router.js";

describe("router", () => {
  it("knows the pages of the app", () => {
    expect(parseRoute("/", "")).toEqual({ page: "home" });
    expect(parseRoute("/m/h7k2mpqrst", "")).toEqual({ page: "meeting", slug: "h7k2mpqrst", asGuest: false });
    expect(parseRoute("/m/Team-Standup/", "?guest")).toEqual({
      page: "meeting",
      slug: "team-standup",
      asGuest: true,
    });
    expect(parseRoute("/m/", "")).toEqual({ page: "unknown" });
    expect(parseRoute("/m/a/b", "")).toEqual({ page: "unknown" });
  });

  it("finds the slug in links and codes", () => {
    expect(slugOf(" h7k2mpqrst ")).toBe("h7k2mpqrst");
    expect(slugOf("https://meet.example/m/h7k2mpqrst?guest#x")).toBe("h7k2mpqrst");
    expect(slugOf("meet.example/m/Team-Standup")).toBe("team-standup");
    expect(slugOf("")).toBeUndefined();
    expect(slugOf("two words")).toBeUndefined();
    expect(slugOf("https://meet.example/other")).toBeUndefined();
    expect(slugOf("-x")).toBeUndefined();
  });
});
