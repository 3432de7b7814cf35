import { afterEach, expect, test, vi } from "vitest";
import { AudioCapture, Sound } from "./audio.js";

class Node {
  disconnected = false;
  readonly gain = { value: 1 };
  readonly port = {
    sent: [] as { type: string }[],
    postMessage: (message: { type: string }) => void this.port.sent.push(message),
  };
  connect(to: Node): Node {
    return to;
  }
  disconnect(): void {
    this.disconnected = true;
  }
}

class Context extends EventTarget {
  state = "suspended";
  readonly sampleRate = 48_000;
  readonly currentTime = 0;
  readonly destination = new Node();
  readonly audioWorklet = { addModule: async () => {} };
  createGain(): Node {
    return new Node();
  }
  createMediaStreamSource(): Node {
    return new Node();
  }
  getOutputTimestamp(): object {
    return {};
  }
  async close(): Promise<void> {
    this.state = "closed";
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test("sound is blocked while its context does not run, for whichever reason, and not when it is closed", async () => {
  vi.stubGlobal("AudioContext", Context);
  vi.stubGlobal("AudioWorkletNode", Node);
  const { sound } = await Sound.open(() => {});
  const context = sound.context as unknown as Context;
  const blocked = ["suspended", "interrupted", "running", "closed"].map((state) => {
    context.state = state;
    return sound.isBlocked;
  });
  expect(blocked).toEqual([true, true, false, false]);
  sound.close();
});

test("a capture that is closed ends its processor", () => {
  const nodes: Node[] = [];
  vi.stubGlobal("MediaStream", class {});
  vi.stubGlobal(
    "AudioWorkletNode",
    class extends Node {
      constructor() {
        super();
        nodes.push(this);
      }
    },
  );
  const capture = new AudioCapture(new Context() as unknown as AudioContext, {} as MediaStreamTrack, 1);
  capture.close();
  expect(nodes[0]?.disconnected).toBe(true);
  expect(nodes[0]?.port.sent.map(({ type }) => type)).toEqual(["port", "end"]);
});
