import { MeetingError } from "@darktower/client";
import { describe, expect, it } from "vitest";
import { Device } from "./local-media.js";

class FakeTrack extends EventTarget {
  enabled = true;
  readyState = "live";

  stop(): void {
    this.readyState = "ended";
  }
}

/** Opens when the test says so. */
function opener() {
  const opened: { id: string; track: FakeTrack; open(): void; fail(code: string): void }[] = [];
  const open = (id: string) =>
    new Promise<MediaStreamTrack>((resolve, reject) => {
      const track = new FakeTrack();
      opened.push({
        id,
        track,
        open: () => resolve(track as unknown as MediaStreamTrack),
        fail: (code) => reject(new MeetingError("device", "no", { code })),
      });
    });
  return { opened, open };
}

describe("device", () => {
  it("ends up as was wished last, although it opens slowly", async () => {
    const { opened, open } = opener();
    const camera = new Device("camera", open, "", true);
    const on = camera.set(true);
    expect(camera.starting.value).toBe(true);
    void camera.set(false);
    opened[0]?.open();
    await on;
    expect(camera.track.value).toBeUndefined();
    expect(opened[0]?.track.readyState).toBe("ended");
    expect(camera.starting.value).toBe(false);
    expect(opened).toHaveLength(1);
  });

  it("opens the device that is chosen meanwhile, and closes the first", async () => {
    const { opened, open } = opener();
    const camera = new Device("camera", open, "a", true);
    const on = camera.set(true);
    void camera.choose("b");
    opened[0]?.open();
    await Promise.resolve();
    await Promise.resolve();
    opened[1]?.open();
    await on;
    expect(opened.map(({ id, track }) => [id, track.readyState])).toEqual([
      ["a", "ended"],
      ["b", "live"],
    ]);
    expect(camera.track.value).toBe(opened[1]?.track);
  });

  it("only silences a microphone, so that it is on again at once", async () => {
    const { opened, open } = opener();
    const microphone = new Device("microphone", open, "", false);
    const on = microphone.set(true);
    opened[0]?.open();
    await on;
    await microphone.set(false);
    expect(opened[0]?.track).toMatchObject({ enabled: false, readyState: "live" });
    await microphone.set(true);
    expect(opened[0]?.track.enabled).toBe(true);
    expect(opened).toHaveLength(1);
  });

  it("says why it does not start, and goes off", async () => {
    const { opened, open } = opener();
    const camera = new Device("camera", open, "", true);
    const on = camera.set(true);
    opened[0]?.fail("NotAllowedError");
    await on;
    expect(camera.on.value).toBe(false);
    expect(camera.problem.value).toBe("NotAllowedError");
    const again = camera.set(true);
    expect(camera.problem.value).toBeUndefined();
    opened[1]?.open();
    await again;
    expect(camera.track.value).toBeDefined();
  });

  it("takes the default when the remembered device is gone", async () => {
    const { opened, open } = opener();
    const camera = new Device("camera", open, "gone", true);
    const on = camera.set(true);
    opened[0]?.fail("OverconstrainedError");
    await Promise.resolve();
    await Promise.resolve();
    await Promise.resolve();
    opened[1]?.open();
    await on;
    expect(opened.map(({ id }) => id)).toEqual(["gone", ""]);
    expect(camera.problem.value).toBeUndefined();
  });

  it("tells when the device goes away", async () => {
    const { opened, open } = opener();
    const camera = new Device("camera", open, "", true);
    let lost = 0;
    camera.onLost = () => lost++;
    const on = camera.set(true);
    opened[0]?.open();
    await on;
    opened[0]?.track.dispatchEvent(new Event("ended"));
    expect([camera.on.value, camera.track.value, lost]).toEqual([false, undefined, 1]);
  });
});
