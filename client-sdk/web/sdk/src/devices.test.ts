import { afterEach, describe, expect, test, vi } from "vitest";
import { deviceError, openCamera, openScreen } from "./devices.js";
import { MeetingError } from "./error.js";

const GIVEN: MediaStreamConstraints[] = [];

function withCamera(cores: number, getUserMedia: () => Promise<unknown>): void {
  GIVEN.length = 0;
  vi.stubGlobal("navigator", {
    hardwareConcurrency: cores,
    mediaDevices: {
      getUserMedia: (constraints: MediaStreamConstraints) => {
        GIVEN.push(constraints);
        return getUserMedia();
      },
      getDisplayMedia: () => Promise.reject(new DOMException("Permission denied", "NotAllowedError")),
    },
  });
}

const ONE_TRACK = async () => ({ getVideoTracks: () => [{ contentHint: "" }] });

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("cameras", () => {
  test.each([
    [2, 640, 360],
    [4, 640, 360],
    [8, 1280, 720],
  ])("of a machine of %i cores are asked for %i×%i", async (cores, width, height) => {
    withCamera(cores, ONE_TRACK);
    await openCamera();
    expect(GIVEN[0]?.video).toMatchObject({
      width: { ideal: width },
      height: { ideal: height },
      frameRate: { ideal: 30 },
    });
  });

  test("that were chosen are asked for exactly", async () => {
    withCamera(2, ONE_TRACK);
    await openCamera({ deviceId: "abc", width: 320, height: 240, framerate: 15 });
    expect(GIVEN[0]?.video).toEqual({
      deviceId: { exact: "abc" },
      width: { ideal: 320 },
      height: { ideal: 240 },
      frameRate: { ideal: 15 },
    });
  });

  test.each(["NotAllowedError", "NotFoundError", "NotReadableError", "OverconstrainedError"])(
    "that fail with %s say so, and what to do",
    async (name) => {
      withCamera(2, () => Promise.reject(new DOMException("from the browser", name)));
      const error = await openCamera().catch((error: unknown) => error);
      expect(error).toBeInstanceOf(MeetingError);
      expect(error).toMatchObject({ kind: "device", code: name });
      expect((error as MeetingError).message).toContain("camera");
      expect((error as MeetingError).message).not.toContain("from the browser");
    },
  );

  test("need a secure page", async () => {
    vi.stubGlobal("navigator", {});
    vi.stubGlobal("isSecureContext", false);
    await expect(openCamera()).rejects.toMatchObject({ kind: "unsupported", code: "mediaDevices" });
    await expect(openCamera()).rejects.toThrow("https");
  });
});

test("a screen that the user does not share is told by the browser's name for it", async () => {
  withCamera(2, ONE_TRACK);
  await expect(openScreen()).rejects.toMatchObject({ kind: "device", code: "NotAllowedError" });
});

test("what is no error of the browser still is an error of a device", () => {
  expect(deviceError("?", "microphone")).toMatchObject({ kind: "device", code: "UnknownError" });
});
