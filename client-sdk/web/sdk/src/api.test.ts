import { afterEach, describe, expect, test, vi } from "vitest";
import { grantForLink } from "./api.js";

const LINK = "https://meet.example.org/m/h7k2mpqrst";
const GRANT = {
  meeting_id: "meeting",
  participant_id: "participant",
  join_token: "token",
  meeting_controller_url: "https://meet.example.org:4433",
  certificate_hashes: [],
};

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

/** Answers requests in turn; what was asked. */
function answering(...answers: (() => Response | Promise<Response>)[]): Asked[] {
  const asked: Asked[] = [];
  vi.stubGlobal("fetch", async (url: URL, init: RequestInit) => {
    asked.push({ method: init.method ?? "", path: url.pathname, body: init.body });
    init.signal?.throwIfAborted();
    const answer = answers.shift();
    if (!answer) throw new TypeError("nobody answers");
    return answer();
  });
  return asked;
}

const json =
  (body: unknown, status = 200) =>
  () =>
    Response.json(body, { status });
const meeting = (join: string) => json({ meeting_id: "meeting", join });

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("a grant for a link", () => {
  test("of a guest", async () => {
    const asked = answering(meeting("guest"), json(GRANT));
    expect(await grantForLink(LINK, { name: "Ada" })).toEqual(GRANT);
    expect(asked).toEqual([
      { method: "GET", path: "/api/v1/slugs/h7k2mpqrst", body: undefined },
      { method: "POST", path: "/api/v1/meetings/meeting/guest-join", body: '{"name":"Ada"}' },
    ]);
  });

  test("that is none of a meeting is invalid", async () => {
    await expect(grantForLink("https://meet.example.org/about", { name: "Ada" })).rejects.toMatchObject({
      kind: "invalid",
    });
  });

  test("is refused with the code of the API", async () => {
    answering(json({ error: { code: "MEETING_NOT_FOUND", message: "there is none" } }, 404));
    await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({
      kind: "refused",
      code: "MEETING_NOT_FOUND",
      message: "there is none",
    });
    answering(meeting("none"));
    await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({ code: "MEETING_ENDED" });
    answering(meeting("sign_in"));
    await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    answering(() => new Response("null", { status: 502 }));
    await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({ kind: "refused", code: "" });
  });

  test("of a server that cannot be reached", async () => {
    answering();
    await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({ kind: "unreachable" });
  });

  test("rejects with the signal's reason when it is aborted, before an answer or while it comes", async () => {
    const reason = new Error("no longer wanted");
    answering(meeting("guest"));
    await expect(grantForLink(LINK, { name: "Ada", signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    answering(meeting("guest"), () => {
      abort.abort(reason);
      return new Response('{"half":');
    });
    await expect(grantForLink(LINK, { name: "Ada", signal: abort.signal })).rejects.toBe(reason);
  });

  test.each(["<!doctype html>", "", "null", '"text"'])(
    "that is answered with %j is no grant",
    async (body) => {
      answering(meeting("guest"), () => new Response(body));
      await expect(grantForLink(LINK, { name: "Ada" })).rejects.toMatchObject({ kind: "protocol" });
    },
  );
});
