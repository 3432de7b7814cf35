import { beforeEach, describe, expect, it, vi } from "vitest";
import { ScreenShare } from "./screen-share.js";
import type { Sent } from "./session-media.js";
import { Telling } from "./telling.js";
import { text } from "./text.js";

class FakeTrack extends EventTarget {
  stopped = false;

  stop(): void {
    this.stopped = true;
  }
}

let chosen: { choose(audio: boolean): FakeTrack }[];

beforeEach(() => {
  chosen = [];
  vi.useFakeTimers();
  vi.stubGlobal("navigator", {
    mediaDevices: {
      getDisplayMedia: () =>
        new Promise((resolve) => {
          chosen.push({
            choose: (audio) => {
              const video = new FakeTrack();
              resolve({
                getVideoTracks: () => [video],
                getAudioTracks: () => (audio ? [new FakeTrack()] : []),
              });
              return video;
            },
          });
        }),
    },
  });
  return () => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

function scene() {
  const published: (string | undefined)[] = [];
  const told: unknown[] = [];
  const listeners: ((event: { reason: string }) => void)[] = [];
  const telling = new Telling();
  const share = new ScreenShare(
    {
      async publish(_track, options): Promise<Sent> {
        published.push(options?.type);
        return {
          replaceTrack: async () => undefined,
          setEnabled: async () => undefined,
          stop: async () => undefined,
          on: (_name, listener) => {
            listeners.push(listener as (event: { reason: string }) => void);
            return () => undefined;
          },
        };
      },
    },
    { telling, maySend: () => true, tell: async (change) => void told.push(change) },
  );
  const notices = () => telling.notices.value.map((notice) => notice.text);
  return { share, published, told, notices, listeners };
}

describe("sharing a screen", () => {
  it("asks once, however often the button is pressed", async () => {
    const { share, published, told } = scene();
    const first = share.toggle();
    await share.toggle();
    expect(chosen).toHaveLength(1);
    chosen[0]?.choose(false);
    await first;
    expect(published).toEqual(["screen"]);
    expect(told).toEqual([{ screenSharing: true }]);
    await share.stop();
    void share.toggle();
    expect(chosen).toHaveLength(2);
  });

  it("says that its sound is not heard of who is muted", async () => {
    const { share, published, notices } = scene();
    const shared = share.toggle();
    chosen[0]?.choose(true);
    await shared;
    expect(published).toEqual(["screen", "audio"]);
    expect(notices()).toEqual([text.notices.soundNeedsMicrophone]);
  });

  it("captures nothing when the meeting is over by the time that a screen is chosen", async () => {
    const { share, published } = scene();
    const shared = share.toggle();
    share.close();
    const video = chosen[0]?.choose(false);
    await shared;
    expect(video?.stopped).toBe(true);
    expect(published).toEqual([]);
  });

  it("says why it was ended by others", async () => {
    const { share, notices, listeners } = scene();
    const shared = share.toggle();
    const video = chosen[0]?.choose(false);
    await shared;
    listeners[0]?.({ reason: "the encoder failed" });
    expect(notices()).toEqual([text.notices.sendingEnded("screen", "the encoder failed")]);
    expect(share.on.value).toBe(false);
    expect(video?.stopped).toBe(true);
  });
});
