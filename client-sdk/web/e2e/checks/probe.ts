/**
 * What the tests see and hear inside a page: an init script, so that a strict content security policy is no obstacle.
 *
 * `installProbe` is sent to the page as text. It must not use anything from outside itself but its argument.
 */

import { COLOURS, type ColourName, GRID, NUMBER_BITS } from "../harness/patterns.js";

/** One look at a picture. */
export interface PictureSample {
  /** Of the page: `performance.now()`. */
  readonly atMs: number;
  /** The picture's own size. */
  readonly width: number;
  readonly height: number;
  /** Which number it shows; null if none can be read. */
  readonly number: number | null;
  /** Whose colour it is; null if nobody's. */
  readonly colour: ColourName | null;
  /** Brightness of the coloured part, 0 to 255. */
  readonly brightness: number;
  /** Differs for different pictures, also for those that have no number. */
  readonly fingerprint: number;
}

/** What was heard. */
export interface Recording {
  readonly sampleRate: number;
  /** Context time of the first sample, seconds. */
  readonly startS: number;
  /** Signed 16-bit little-endian samples, all channels added up, in pieces of base64. */
  readonly pcm: readonly string[];
  /** Samples that the recorder was not given, and that are repeated from before: not a fault of what is recorded. */
  readonly missed: number;
  /** When something of the context is at the output: pairs of context time and `performance.now()`. */
  readonly clock: readonly { readonly contextS: number; readonly atMs: number }[];
}

export interface Probe {
  /** Looks once. */
  look(element: HTMLCanvasElement | HTMLVideoElement): PictureSample;
  /** Looks at every animation frame for so long. */
  follow(element: HTMLCanvasElement | HTMLVideoElement, durationMs: number): Promise<PictureSample[]>;
  /** How many outputs of sound the page has. */
  outputs(): number;
  /** Records what the page's outputs play from now on; of `nodes`, if given. The context must run. */
  record(durationMs: number, nodes?: AudioNode[]): Promise<Recording>;
  /**
   * A camera whose pictures show when they were painted: milliseconds of `Date.now()`'s clock, modulo 2^16, as their number.
   */
  clockTrack(size: {
    width: number;
    height: number;
    framerate: number;
    colour: ColourName;
  }): MediaStreamTrack;
  /** Milliseconds since the epoch, with fractions. */
  nowMs(): number;
}

declare global {
  var __probe: Probe;
}

/** Where the page finds the recorder's worklet; the harness serves it. */
export const TAP_PATH = "/e2e/tap.js";

/** The recorder's worklet: hands on what it hears, in pieces of 8 quanta. */
export const TAP_SOURCE = `
registerProcessor("probe-tap", class extends AudioWorkletProcessor {
  #block = new Float32Array(1024);
  #length = 0;
  #frame = 0;
  process([input]) {
    if (this.#length === 0) this.#frame = currentFrame;
    for (let index = 0; index < 128; index += 1) {
      let sample = 0;
      for (const channel of input) sample += channel[index];
      this.#block[this.#length + index] = sample;
    }
    this.#length += 128;
    if (this.#length === this.#block.length) {
      this.port.postMessage({ frame: this.#frame, samples: this.#block.slice() });
      this.#length = 0;
    }
    return true;
  }
});
`;

export interface ProbeConfig {
  readonly columns: number;
  readonly rows: number;
  readonly bits: number;
  readonly colours: Record<string, { red: number; green: number; blue: number }>;
  readonly tapPath: string;
}

export const PROBE_CONFIG: ProbeConfig = {
  columns: GRID.columns,
  rows: GRID.rows,
  bits: NUMBER_BITS,
  colours: COLOURS,
  tapPath: TAP_PATH,
};

export function installProbe(config: ProbeConfig): void {
  const { columns, rows, bits } = config;
  /** Pixels of a cell when a picture is looked at. */
  const cell = 8;
  /** How far a colour may be from the one that was drawn: encoders and colour spaces differ. */
  const colourTolerance = 60;

  const scratch = document.createElement("canvas");
  scratch.width = columns * cell;
  scratch.height = rows * cell;
  const context2d = scratch.getContext("2d", { willReadFrequently: true });

  /** Sound goes where the page connects it to a destination. */
  const outputs = new Set<AudioNode>();
  const connect = AudioNode.prototype.connect as (...args: unknown[]) => unknown;
  AudioNode.prototype.connect = function (this: AudioNode, ...args: unknown[]) {
    if (args[0] === this.context.destination && this.context instanceof AudioContext) outputs.add(this);
    return connect.apply(this, args);
  } as typeof AudioNode.prototype.connect;
  const tapped = new WeakSet<BaseAudioContext>();

  // The browser tells of most violations on the console; what it tells the page only must be heard, too.
  addEventListener("securitypolicyviolation", (event) => {
    console.error(`content security policy: ${event.violatedDirective} blocked ${event.blockedURI}`);
  });

  function look(element: HTMLCanvasElement | HTMLVideoElement): PictureSample {
    if (!context2d) throw new Error("no 2d context");
    const atMs = performance.now();
    const width = element instanceof HTMLVideoElement ? element.videoWidth : element.width;
    const height = element instanceof HTMLVideoElement ? element.videoHeight : element.height;
    context2d.clearRect(0, 0, scratch.width, scratch.height);
    context2d.drawImage(element, 0, 0, scratch.width, scratch.height);
    const { data } = context2d.getImageData(0, 0, scratch.width, scratch.height);

    /** Mean of the inner part of a cell. */
    const mean = (column: number, row: number, rowCount = 1): [number, number, number] => {
      let [red, green, blue, count] = [0, 0, 0, 0];
      for (let y = row * cell + 2; y < (row + rowCount) * cell - 2; y += 1) {
        for (let x = column * cell + 2; x < (column + 1) * cell - 2; x += 1) {
          const at = (y * scratch.width + x) * 4;
          red += data[at] ?? 0;
          green += data[at + 1] ?? 0;
          blue += data[at + 2] ?? 0;
          count += 1;
        }
      }
      return [red / count, green / count, blue / count];
    };
    const grey = ([red, green, blue]: [number, number, number]) => 0.299 * red + 0.587 * green + 0.114 * blue;

    const [white, black] = [grey(mean(0, 0, 2)), grey(mean(1, 0, 2))];
    let number: number | null = null;
    if (white - black > 80) {
      const cells = Array.from({ length: bits + 1 }, (_, index) => grey(mean(2 + index, 0, 2)));
      const clear = cells.every((value) => Math.abs(value - (white + black) / 2) > (white - black) / 5);
      const read = cells.map((value) => value > (white + black) / 2);
      // Odd with its parity cell: two pictures on top of each other, for example.
      if (clear && read.filter(Boolean).length % 2 === 0) {
        // Gray code: each bit is that of the number exclusive-or the one above it.
        number = read.slice(1).reduce((sum, bit) => sum * 2 + (bit === (sum % 2 === 1) ? 0 : 1), 0);
      }
    }
    let [red, green, blue] = [0, 0, 0];
    for (let column = 1; column < columns - 1; column += 1) {
      const [r, g, b] = mean(column, 2, 3);
      red += r / (columns - 2);
      green += g / (columns - 2);
      blue += b / (columns - 2);
    }
    const near = Object.entries(config.colours).find(
      ([, wanted]) =>
        Math.hypot(red - wanted.red, green - wanted.green, blue - wanted.blue) < colourTolerance,
    );
    let fingerprint = 0;
    for (let at = 0; at < data.length; at += 4 * 7)
      fingerprint = (fingerprint * 31 + (data[at + 1] ?? 0)) >>> 0;
    return {
      atMs,
      width,
      height,
      number,
      colour: (near?.[0] ?? null) as ColourName | null,
      brightness: grey([red, green, blue]),
      fingerprint,
    };
  }

  function follow(
    element: HTMLCanvasElement | HTMLVideoElement,
    durationMs: number,
  ): Promise<PictureSample[]> {
    return new Promise((resolve, reject) => {
      const samples: PictureSample[] = [];
      const end = performance.now() + durationMs;
      const step = () => {
        try {
          samples.push(look(element));
        } catch (error) {
          reject(error);
          return;
        }
        if (performance.now() < end) requestAnimationFrame(step);
        else resolve(samples);
      };
      requestAnimationFrame(step);
    });
  }

  async function record(durationMs: number, nodes: AudioNode[] = [...outputs]): Promise<Recording> {
    const context = nodes[0]?.context;
    if (!(context instanceof AudioContext)) throw new Error("the page plays no sound");
    if (context.state !== "running") throw new Error(`the page's sound is ${context.state}`);
    if (!tapped.has(context)) {
      await context.audioWorklet.addModule(config.tapPath);
      tapped.add(context);
    }
    const tap = new AudioWorkletNode(context, "probe-tap");
    // Its output is silence. A node without one is passed over now and then, when others change the graph.
    connect.call(tap, context.destination);
    for (const node of nodes) if (node.context === context) connect.call(node, tap);
    const wanted = Math.ceil((durationMs / 1000) * context.sampleRate);
    // Written out piece by piece: all of it at the end would stop the page, and with it what is measured.
    const pcm: string[] = [];
    const take = (samples: Float32Array) => {
      const piece = Int16Array.from(samples, (sample) => Math.max(-1, Math.min(1, sample)) * 32_767);
      pcm.push(btoa(String.fromCharCode(...new Uint8Array(piece.buffer))));
      received += samples.length;
    };
    let before: Float32Array | undefined;
    const clock: { contextS: number; atMs: number }[] = [];
    let startS = 0;
    let [received, missed] = [0, 0];
    await new Promise<void>((resolve) => {
      let next = -1;
      tap.port.onmessage = (event: MessageEvent<{ frame: number; samples: Float32Array }>) => {
        const { frame, samples } = event.data;
        if (next < 0) startS = frame / context.sampleRate;
        else if (frame > next) {
          // The browser passes over a worklet whose lock is taken; what it plays is whole.
          const source = before ?? samples;
          while (next < frame) {
            const repeated = source.subarray(0, frame - next);
            take(repeated);
            missed += repeated.length;
            next += repeated.length;
          }
        }
        next = frame + samples.length;
        before = samples;
        take(samples);
        const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp();
        clock.push({ contextS: contextTime, atMs: performanceTime });
        if (received >= wanted) resolve();
      };
    });
    for (const node of nodes) if (node.context === context) node.disconnect(tap);
    tap.port.onmessage = null;
    tap.disconnect();

    return { sampleRate: context.sampleRate, startS, pcm, missed, clock };
  }

  function clockTrack(size: {
    width: number;
    height: number;
    framerate: number;
    colour: ColourName;
  }): MediaStreamTrack {
    const canvas = document.createElement("canvas");
    canvas.width = size.width;
    canvas.height = size.height;
    const paint = canvas.getContext("2d");
    const track = canvas.captureStream(0).getVideoTracks()[0];
    if (!paint || !track) throw new Error("no picture to paint");
    const { red, green, blue } = config.colours[size.colour] ?? { red: 0, green: 0, blue: 0 };
    const [cellWidth, cellHeight] = [size.width / columns, size.height / rows];
    let count = 0;
    const draw = () => {
      count += 1;
      paint.fillStyle = `rgb(${red} ${green} ${blue})`;
      paint.fillRect(0, 0, size.width, size.height);
      // Something that moves: an encoder that has nothing to do is no measure.
      for (let stripe = -1; stripe < 8; stripe += 1) {
        paint.fillStyle = `rgb(${60 + stripe * 20} 120 ${200 - stripe * 20})`;
        const left = ((stripe * size.width) / 8 + count * 5) % size.width;
        paint.fillRect(left, 5 * cellHeight, size.width / 16, 4 * cellHeight);
      }
      paint.fillStyle = "black";
      paint.fillRect(0, 0, size.width, 2 * cellHeight);
      paint.fillStyle = "white";
      const number = Math.floor(nowMs()) % 2 ** bits;
      // As `numberCells` in harness/patterns.ts, which is not in the page.
      const code = number ^ (number >> 1);
      const digits: boolean[] = [];
      for (let bit = bits - 1; bit >= 0; bit -= 1) digits.push(((code >> bit) & 1) === 1);
      const cells = [true, false, digits.filter(Boolean).length % 2 === 1, ...digits];
      cells.forEach((white, column) => {
        if (white) paint.fillRect(column * cellWidth, 0, cellWidth, 2 * cellHeight);
      });
      (track as CanvasCaptureMediaStreamTrack).requestFrame();
    };
    // Not at once: a picture that Chromium delivers here, while the track's stream is on its way to a worker, nobody closes.
    const timer = setInterval(() => {
      if (track.readyState === "ended") clearInterval(timer);
      else draw();
    }, 1000 / size.framerate);
    return track;
  }

  function nowMs(): number {
    return performance.timeOrigin + performance.now();
  }

  globalThis.__probe = { look, follow, outputs: () => outputs.size, record, clockTrack, nowMs };
}
