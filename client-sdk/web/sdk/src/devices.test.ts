import { afterEach, describe, expect, test, vi } from "vitest";
import { deviceError, microphoneNode, openCamera, openScreen, useSpeaker } from "./devices.js";
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

describe("a microphone in an AudioContext", () => {
  const contextThat = (fails: Error) =>
    ({
      sampleRate: 48_000,
      createMediaStreamSource: () => {
        throw fails;
      },
    }) as unknown as AudioContext;
  const track = {} as MediaStreamTrack;

  test("that runs at another rate is said to be what does not work", () => {
    vi.stubGlobal("MediaStream", class {});
    const context = contextThat(new DOMException("different sample-rate", "NotSupportedError"));
    const taken = () => microphoneNode(context, track);
    expect(taken).toThrow(MeetingError);
    expect(taken).toThrow(expect.objectContaining({ kind: "unsupported", code: "sampleRate" }));
    expect(taken).toThrow(/48 kHz/);
  });

  test("fails with what else is wrong", () => {
    vi.stubGlobal("MediaStream", class {});
    const wrong = new DOMException("there is no track", "InvalidStateError");
    expect(() => microphoneNode(contextThat(wrong), track)).toThrow(wrong);
  });
});

describe("a speaker", () => {
  test("is used", async () => {
    const used: string[] = [];
    const context = { setSinkId: async (id: string) => void used.push(id) } as unknown as AudioContext;
    await useSpeaker(context, "left");
    expect(used).toEqual(["left"]);
  });

  test("that is gone is told by the browser's name for it", async () => {
    const gone = () => Promise.reject(new DOMException("no such device", "NotFoundError"));
    const context = { setSinkId: gone } as unknown as AudioContext;
    await expect(useSpeaker(context, "left")).rejects.toMatchObject({
      kind: "device",
      code: "NotFoundError",
    });
  });

  test("cannot be chosen everywhere", async () => {
    const context = {} as AudioContext;
    await expect(useSpeaker(context, "left")).rejects.toMatchObject({
      kind: "unsupported",
      code: "setSinkId",
    });
  });
});
