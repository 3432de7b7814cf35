/** Server, relay and native clients as the harness starts them, without a browser. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { clips } from "../../harness/clips.js";
import { ApiError } from "../../harness/server.js";
import { expect, test } from "../../harness/test.js";

test("native clients meet through the relay, which names itself as the server", async ({
  remote,
}, testInfo) => {
  const { server, relay, native } = remote;
  const meeting = await server.createMeeting();
  const grant = await server.grant(meeting, "Ada");
  expect(new URL(grant.meeting_controller_url).port).toBe(String(relay.port));
  const folder = testInfo.outputPath("recorded");
  await native.publish(meeting, [clips.steadyVideo, clips.steadyAudio], { name: "Nat" });
  relay.label("Nat");
  const recorder = await native.record(meeting, folder);
  await expect
    .poll(async () => (await readdir(folder).catch(() => [])).sort().map((file) => file.split("-")[1]))
    .toEqual(["Opus", "VP8"]);
  const [, video = ""] = (await readdir(folder)).sort();
  await expect.poll(async () => (await stat(join(folder, video))).size).toBeGreaterThan(20_000);
  // Signaling and media of each have flows of their own.
  expect(relay.flows.filter(({ label }) => label === "Nat").length).toBeGreaterThanOrEqual(2);
  expect(relay.flows.filter(({ label, down }) => label === "" && down > 10).length).toBeGreaterThanOrEqual(1);
  await native.stop(recorder);
});

test("a control of a host says what it did, and what the API refuses is an error", async ({
  server,
  native,
}) => {
  const meeting = await server.createMeeting({ display_name: "Controls" });
  expect(await native.host(meeting, "lock")).toContain("locked the meeting");
  await expect(native.host(meeting, "kick", "Nobody")).rejects.toThrow("failed (status 1)");
  await expect(server.grant({ ...meeting, meeting_id: meeting.slug }, "Ada")).rejects.toThrow(ApiError);
});
