import { MeetingError } from "@darktower/client";
import { describe, expect, it } from "vitest";
import { ApiError, errorOf } from "./api.js";
import { endingOfJoin, endingOfSession, isOutdated } from "./ending.js";

const refused = (code: string, close: string) =>
  new MeetingError("refused", "no", { code, details: { close_code: close } });

describe("endings", () => {
  it("tell a page that is older than its server from a browser that lacks something", () => {
    const worklet = new MeetingError("unsupported", "no worklet", { code: "AudioWorklet" });
    const worker = new MeetingError("protocol", "worker.js could not be loaded: 404");
    const others = [
      new MeetingError("unsupported", "no", { code: "Worker" }),
      new MeetingError("protocol", "nonsense"),
      new Error("no"),
    ];
    expect([worklet, worker].map(isOutdated)).toEqual([true, true]);
    expect(others.map(isOutdated)).toEqual([false, false, false]);
    expect([worklet, worker].map((error) => endingOfJoin(error, false))).toEqual(["failed", "failed"]);
    expect(endingOfJoin(others[0], false)).toBe("unsupported");
  });

  it("say how a session ended", () => {
    const of = (code: string) => endingOfSession({ code, message: "" });
    expect(["NO_ERROR", "KICKED", "MEETING_ENDED", "DUPLICATE", "GOING_AWAY", "TIMED_OUT"].map(of)).toEqual([
      "left",
      "kicked",
      "ended",
      "elsewhere",
      "stopped",
      "lost",
    ]);
  });

  it("say why one cannot join, by the table of the protocol", () => {
    expect(endingOfJoin(refused("FORBIDDEN", "KICKED"), false)).toBe("kicked");
    expect(endingOfJoin(refused("FORBIDDEN", "UNAUTHORIZED"), false)).toBe("locked");
    expect(endingOfJoin(refused("FORBIDDEN", "UNAUTHORIZED"), true)).toBe("rejected");
    expect(endingOfJoin(refused("NOT_FOUND", "MEETING_ENDED"), false)).toBe("ended");
    expect(endingOfJoin(refused("CONFLICT", "UNAUTHORIZED"), false)).toBe("notBegun");
    expect(endingOfJoin(refused("CONFLICT", "DUPLICATE"), false)).toBe("elsewhere");
    expect(endingOfJoin(refused("CAPACITY_EXCEEDED", "CAPACITY_EXCEEDED"), false)).toBe("full");
    expect(endingOfJoin(new MeetingError("unreachable", ""), false)).toBe("unreachable");
    expect(endingOfJoin(new MeetingError("closed", "", { code: "MEETING_ENDED" }), true)).toBe("ended");
    expect(endingOfJoin(new TypeError("x"), false)).toBe("failed");
  });

  it("say what the API refused", () => {
    expect(endingOfJoin(new ApiError(0, "UNREACHABLE", ""), false)).toBe("unreachable");
    const body = { error: { code: "GUESTS_NOT_ALLOWED", message: "Guests may not join." } };
    expect(endingOfJoin(errorOf(403, body, null), false)).toBe("signIn");
    expect(endingOfJoin(errorOf(502, "<html>", null), false)).toBe("unreachable");
    expect(errorOf(429, { error: { code: "RATE_LIMITED" } }, "7").retryAfterS).toBe(7);
    expect(errorOf(400, { error: { code: "INVALID_REQUEST", details: { field: "name" } } }, null).field).toBe(
      "name",
    );
  });
});
