import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { CaptureChunk, CapturePortMessage } from "../media/capture-messages.js";

class Port {
  onmessage: ((event: { data: unknown }) => void) | undefined;
  closed = false;
  readonly sent: unknown[] = [];
  postMessage(message: unknown): void {
    if (!this.closed) this.sent.push(message);
  }
  close(): void {
    this.closed = true;
  }
}

interface Processor {
  readonly port: Port;
  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean;
}

let make: new (options: object) => Processor;

beforeEach(async () => {
  vi.stubGlobal("sampleRate", 48_000);
  vi.stubGlobal("currentTime", 1);
  vi.stubGlobal(
    "AudioWorkletProcessor",
    class {
      readonly port = new Port();
    },
  );
  vi.stubGlobal("registerProcessor", (_: string, made: typeof make) => {
    make = made;
  });
  vi.resetModules();
  await import("./capture.js");
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("the capture processor sends chunks until it is told to end, and then lets go of everything", () => {
  const processor = new make({ processorOptions: { channels: 1 } });
  const worker = new Port();
  const tell = (data: CapturePortMessage) => processor.port.onmessage?.({ data });
  const run = () => Array.from({ length: 8 }, () => processor.process([[new Float32Array(128)]], []));
  tell({ type: "port", port: worker as unknown as MessagePort });
  expect(run()).toEqual(Array(8).fill(true));
  expect(worker.sent).toHaveLength(1);
  expect((worker.sent[0] as CaptureChunk).channels[0]).toHaveLength(960);
  worker.onmessage?.({ data: { type: "mute", muted: true } });
  run();
  expect(worker.sent).toHaveLength(1);
  tell({ type: "end" });
  expect(run()).toEqual(Array(8).fill(false));
  expect(worker).toMatchObject({ closed: true });
  expect(processor.port.closed).toBe(true);
});
