/**
 * Video that is received: units in, pictures on a canvas out.
 *
 * Units are put in sequence per wire stream id and together to frames; one layer is chosen; its frames wait until
 * shortly before they are due, are decoded, and are drawn when they are. Every picture is closed exactly once, drawn
 * or not.
 */

import { MeetingError } from "../error.js";
import { DecodeQueue } from "../media/decode-queue.js";
import { FrameAssembler } from "../media/frames.js";
import { LayerSelector, type TakenFrame } from "../media/layers.js";
import { FreezeDetector, VideoClock } from "../media/video-clock.js";
import { VideoStatistics } from "../media/video-statistics.js";
import type { GroupPreamble } from "../protocol/group.js";
import { Sequencer } from "../protocol/sequencer.js";
import { FrameType, HEADER_BYTES, type Unit } from "../protocol/unit.js";
import type { Layer, StreamDescription, StreamStatistics } from "../types.js";
import { drawTicks } from "./draw-ticks.js";
import { FrameDecoder } from "./frame-decoder.js";
import { nowUs as localNowUs, type MediaLink } from "./link.js";

/** A key frame is asked for at most that often; less often while it does not help. */
const ASK_MS = 500;
const ASK_SELDOM_MS = 8000;
/** Decoded pictures that may wait. */
const MAX_PICTURES = 8;
/** A frame is drawn on the screen's picture that is nearest to when it is due. */
const HALF_SCREEN_PICTURE_US = 8_000;

/** What the owner of a subscriber hears. */
export interface VideoSubscriberEvents {
  firstFrame(): void;
  /** Size of the pictures in pixels, turned and cut as they are to be seen; so is the canvas from now on. */
  resize(width: number, height: number): void;
  /** Another layer is seen. */
  layer(layerId: string): void;
  /** How far the sound should be held back so that the picture can keep up; 0 to 100 ms. */
  minAudioDelayMs(ms: number): void;
}

export interface VideoSubscriberOptions {
  readonly stream: StreamDescription;
  readonly link: MediaLink;
  readonly canvas: OffscreenCanvas;
  readonly events: VideoSubscriberEvents;
}

/** A wire stream id. */
interface Ingress {
  readonly layer: Layer;
  readonly sequencer: Sequencer<object>;
  readonly assembler: FrameAssembler;
}

interface Source {
  readonly ingress: Ingress;
  readonly preamble: GroupPreamble;
  hasBegun: boolean;
}

type Taken = TakenFrame<Ingress>;

interface Picture {
  readonly picture: VideoFrame;
  readonly taken: Taken;
}

/** One subscription to a camera or a screen. */
export class VideoSubscriber {
  readonly #stream: StreamDescription;
  readonly #link: MediaLink;
  readonly #canvas: OffscreenCanvas;
  readonly #context: OffscreenCanvasRenderingContext2D;
  readonly #events: VideoSubscriberEvents;

  readonly #ingresses: ReadonlyMap<string, Ingress>;
  readonly #sources = new Map<object, Source>();
  /** Units that are the first of their QUIC stream, and how that began. */
  readonly #startsStream = new WeakMap<Unit, GroupPreamble>();
  readonly #selector = new LayerSelector<Ingress>();
  readonly #clock = new VideoClock();
  readonly #queue = new DecodeQueue<Taken>();
  readonly #decoder: FrameDecoder<Taken>;
  /** In the order of their timestamps. */
  #pictures: Picture[] = [];

  readonly #statistics = new VideoStatistics();
  readonly #freezes = new FreezeDetector();
  #drawn = 0;
  #keyFrames = 0;
  #lateFrames = 0;
  /** `#lost()` when a frame was drawn last. */
  #lostWhenDrawn = 0;
  #newestUs = 0;
  #drawnUs: number | undefined;
  #width = 0;
  #height = 0;
  #drawnLayer: Layer | undefined;
  /** Pictures pass by unseen. */
  #hidden = false;
  #audioDelayMs = 0;

  #generation: number;
  #askedMs = 0;
  #askEveryMs = ASK_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAtUs = 0;
  #closed = false;
  readonly #draw = (hidden: boolean) => this.#drawDue(localNowUs(), hidden);
  readonly #due = (timestampUs: number) => this.#clock.dueUs(timestampUs, localNowUs());

  /** @throws MeetingError `unsupported` if the codec is not known, or the canvas cannot be drawn on */
  constructor(options: VideoSubscriberOptions) {
    this.#stream = options.stream;
    this.#link = options.link;
    this.#canvas = options.canvas;
    this.#events = options.events;
    this.#generation = options.link.generation;
    const context = options.canvas.getContext("2d", { alpha: false });
    if (!context) {
      throw new MeetingError("unsupported", "the canvas cannot be drawn on", { code: "OffscreenCanvas" });
    }
    this.#context = context;
    this.#ingresses = new Map(
      options.stream.layers.map((layer) => [
        layer.wireStreamId,
        { layer, sequencer: new Sequencer<object>(), assembler: new FrameAssembler() },
      ]),
    );
    this.#decoder = new FrameDecoder<Taken>(
      options.stream.codec,
      {
        picture: (picture, taken, tookUs) => this.#decoded(picture, taken, tookUs),
        ready: () => this.#decode(),
        failed: () => this.#decoderFailed(),
      },
      localNowUs,
    );
  }

  /** A group stream of one of the stream's layers has begun. `handle` names it. */
  groupBegan(handle: object, preamble: GroupPreamble, nowUs: number): void {
    const ingress = this.#ingresses.get(preamble.streamId);
    if (this.#closed || !ingress) return;
    // The decoder has been elsewhere meanwhile, and needs the group from its key frame on.
    if (ingress !== this.#selector.current && ingress.sequencer.rewind(preamble)) ingress.assembler.restart();
    ingress.sequencer.begin(handle, preamble);
    this.#sources.set(handle, { ingress, preamble, hasBegun: false });
    this.#receive(ingress, nowUs);
  }

  /** A unit has come on it. */
  unit(handle: object, unit: Unit, nowUs: number): void {
    const source = this.#sources.get(handle);
    const isVideo = unit.frameType === FrameType.VideoKey || unit.frameType === FrameType.VideoDelta;
    if (this.#closed || !isVideo) return;
    if (!source) {
      this.#cameTooLate(unit, nowUs);
      return;
    }
    if (!source.hasBegun) this.#startsStream.set(unit, source.preamble);
    source.hasBegun = true;
    source.ingress.sequencer.push(handle, unit, nowUs / 1000);
    this.#receive(source.ingress, nowUs);
  }

  /** It has ended, in whichever way. */
  groupEnded(handle: object, nowUs: number): void {
    const source = this.#sources.get(handle);
    if (!source) return;
    this.#sources.delete(handle);
    source.ingress.sequencer.end(handle);
    this.#receive(source.ingress, nowUs);
  }

  /** Sound of the same participant with this (wire) timestamp is, or will be, heard at that local time, µs. */
  audioHeard(playingTimestampUs: number, atLocalUs: number): void {
    this.#clock.audioHeard(playingTimestampUs, atLocalUs, localNowUs());
  }

  /** There is no sound to follow any more. */
  audioSilent(): void {
    this.#clock.audioSilent();
  }

  /** The link has another connection, or none. */
  connectionChanged(): void {
    if (this.#closed || this.#link.generation === this.#generation) return;
    this.#generation = this.#link.generation;
    for (const [handle, { ingress }] of this.#sources) ingress.sequencer.end(handle);
    this.#sources.clear();
    // The way is another one, and what comes first may come from the server's cache.
    this.#clock.restart();
    this.#receiveAll();
  }

  /** All but whose stream it is. */
  statistics(nowMs: number): Omit<StreamStatistics, "participantId"> {
    const nowUs = nowMs * 1000;
    const skewUs = this.#clock.skewUs(nowUs);
    const waits = this.#drawnUs === undefined ? 0 : Math.max(this.#newestUs - this.#drawnUs, 0);
    return {
      streamId: this.#stream.streamId,
      type: this.#stream.type,
      direction: "incoming",
      codec: this.#stream.codec,
      layerId: this.#drawnLayer?.layerId ?? "",
      ...this.#statistics.figures(nowUs),
      width: this.#width,
      height: this.#height,
      frames: this.#drawn,
      keyFrames: this.#keyFrames,
      framesDropped: this.#lateFrames + this.#queue.dropped + this.#unusable(),
      bufferMs: waits / 1000,
      freezes: this.#freezes.freezes,
      freezeMs: this.#freezes.freezeMs,
      concealedMs: 0,
      underruns: 0,
      ...(skewUs === undefined ? {} : { skewMs: skewUs / 1000 }),
      paused: false,
    };
  }

  /** Ends it; the canvas keeps the last picture. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    drawTicks.cancel(this.#draw);
    this.#decoder.close();
    this.#closePictures(this.#pictures.length);
    this.#sources.clear();
    if (this.#audioDelayMs > 0) this.#events.minAudioDelayMs(0);
  }

  /** A group goes on that began before this subscriber did: there may be no other for long. */
  #cameTooLate(unit: Unit, nowUs: number): void {
    if (this.#drawn === 0 && this.#ingresses.has(unit.streamId)) this.#askForKeyFrame(unit.streamId, nowUs);
  }

  /** Takes what the sequencer of a layer has. */
  #receive(ingress: Ingress, nowUs: number): void {
    this.#poll(ingress, nowUs);
    this.#decode();
  }

  #receiveAll(): void {
    for (const ingress of this.#ingresses.values()) this.#poll(ingress, localNowUs());
    this.#decode();
  }

  #poll(ingress: Ingress, nowUs: number): void {
    for (const { unit, missingUnits } of ingress.sequencer.poll(nowUs / 1000)) {
      this.#inOrder(ingress, unit, missingUnits, nowUs);
    }
  }

  #inOrder(ingress: Ingress, unit: Unit, missingUnits: number, nowUs: number): void {
    const { assembler, layer } = ingress;
    const preamble = this.#startsStream.get(unit);
    // What is missing inside a QUIC stream or is announced was left out (docs/protocol.md 3.2), and a layer that was not sent
    // for a while has lost nothing either.
    const isLoss = preamble?.discontinuity === false && ingress === this.#selector.current;
    this.#statistics.unit(HEADER_BYTES + unit.payload.length, isLoss ? missingUnits : 0, nowUs);
    const unusable = assembler.unusableFrames;
    const frame = assembler.push(unit, { startsStream: preamble !== undefined });
    if (assembler.needsKeyFrame && assembler.unusableFrames > unusable) {
      this.#askForKeyFrame(layer.wireStreamId, nowUs);
    }
    if (!frame) return;
    if (frame.key) this.#keyFrames++;
    for (const taken of this.#selector.take(ingress, frame, nowUs / 1000)) this.#take(taken, nowUs);
    if (this.#selector.needsKeyFrame) this.#askForKeyFrame(layer.wireStreamId, nowUs);
  }

  #take(taken: Taken, nowUs: number): void {
    const { frame, hidden, restarted } = taken;
    if (restarted) {
      this.#clock.restart();
      // Whatever becomes of this frame, later ones are not late.
      this.#drawnUs = undefined;
    }
    if (!hidden) {
      this.#newestUs = frame.timestampUs;
      this.#statistics.frame(frame.timestampUs, nowUs);
      this.#clock.arrived(frame.timestampUs, nowUs);
      this.#tellAudioDelay(nowUs);
    } else if (frame.discardable) {
      return;
    }
    this.#queue.push(taken, nowUs);
    if (this.#queue.wantsKeyFrame) this.#askForKeyFrame(taken.layer.layer.wireStreamId, nowUs);
  }

  #tellAudioDelay(nowUs: number): void {
    const delayMs = this.#clock.minAudioDelayMs(nowUs);
    if (delayMs === this.#audioDelayMs) return;
    this.#audioDelayMs = delayMs;
    this.#events.minAudioDelayMs(delayMs);
  }

  #askForKeyFrame(wireStreamId: string, nowUs: number): void {
    const nowMs = nowUs / 1000;
    if (!this.#link.connected || nowMs - this.#askedMs < this.#askEveryMs) return;
    this.#askedMs = nowMs;
    // If what comes does not decode here, asking on would only burden the publisher.
    this.#askEveryMs = Math.min(this.#askEveryMs * 2, ASK_SELDOM_MS);
    this.#link.requestKeyFrame(wireStreamId);
  }

  /** Gives the decoder what it should have now. */
  #decode(): void {
    if (this.#closed) return;
    const nowUs = localNowUs();
    this.#decoder.check();
    while (this.#decoder.isReady && this.#pictures.length + this.#decoder.queued < MAX_PICTURES) {
      const taken = this.#queue.next(nowUs, this.#due);
      if (!taken) break;
      this.#decoder.decode(taken.frame, taken);
    }
    this.#wakeUp(nowUs);
  }

  /** Sets the timer to when there is something to do although nothing comes. */
  #wakeUp(nowUs: number): void {
    const times: number[] = [];
    // A frame that is ready already waits for the decoder or the screen.
    const readyUs = this.#queue.nextReadyUs(this.#due);
    if (readyUs !== undefined && readyUs > nowUs) times.push(readyUs);
    for (const { sequencer } of this.#ingresses.values()) {
      const deadlineMs = sequencer.nextDeadlineMs();
      if (deadlineMs !== undefined) times.push(deadlineMs * 1000);
    }
    if (times.length === 0) return;
    const atUs = Math.min(...times);
    // One that is set for sooner looks again when it comes.
    if (this.#timer !== undefined && this.#timerAtUs <= atUs) return;
    clearTimeout(this.#timer);
    this.#timerAtUs = atUs;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#receiveAll();
      },
      Math.max(Math.ceil((atUs - nowUs) / 1000), 0),
    );
  }

  #decoderFailed(): void {
    this.#queue.needKeyFrame();
    const current = this.#selector.current;
    if (this.#queue.wantsKeyFrame && current) {
      this.#askForKeyFrame(current.layer.wireStreamId, localNowUs());
    }
  }

  #decoded(picture: VideoFrame, taken: Taken, tookUs: number): void {
    this.#askEveryMs = ASK_MS;
    this.#clock.decoded(tookUs);
    const { frame, hidden, restarted } = taken;
    const isLate = this.#drawnUs !== undefined && frame.timestampUs <= this.#drawnUs && !restarted;
    if (this.#closed || hidden || isLate) {
      picture.close();
    } else {
      // Timestamps that have begun anew: what is left of the old time is not worth waiting for.
      if (restarted) this.#closePictures(this.#pictures.length);
      this.#pictures.push({ picture, taken });
      this.#closePictures(Math.max(this.#dueCount(localNowUs()) - 1, 0));
      drawTicks.request(this.#draw);
    }
    this.#decode();
  }

  /** How many of the pictures are due. */
  #dueCount(nowUs: number): number {
    // The first picture of all is shown at once.
    if (this.#drawn === 0) return Math.min(this.#pictures.length, 1);
    return (
      this.#pictures.findLastIndex(({ taken }) => {
        const dueUs = this.#clock.dueUs(taken.frame.timestampUs, nowUs);
        return dueUs === undefined || dueUs <= nowUs + HALF_SCREEN_PICTURE_US;
      }) + 1
    );
  }

  #closePictures(count: number): void {
    for (const { picture } of this.#pictures.splice(0, count)) {
      picture.close();
      if (!this.#hidden) this.#lateFrames++;
    }
  }

  #drawDue(nowUs: number, hidden: boolean): void {
    this.#hidden = hidden;
    this.#closePictures(Math.max(this.#dueCount(nowUs) - 1, 0));
    if (this.#dueCount(nowUs) > 0) {
      const next = this.#pictures.shift();
      if (next) {
        this.#show(next, nowUs);
        next.picture.close();
      }
    }
    if (this.#pictures.length > 0) drawTicks.request(this.#draw);
    this.#decode();
  }

  #show({ picture, taken }: Picture, nowUs: number): void {
    const { displayWidth, displayHeight } = picture;
    if (displayWidth !== this.#width || displayHeight !== this.#height) {
      this.#width = displayWidth;
      this.#height = displayHeight;
      this.#canvas.width = displayWidth;
      this.#canvas.height = displayHeight;
      this.#events.resize(displayWidth, displayHeight);
    }
    this.#context.drawImage(picture, 0, 0, displayWidth, displayHeight);
    const { timestampUs } = taken.frame;
    this.#drawn++;
    this.#drawnUs = timestampUs;
    this.#statistics.shown(nowUs - this.#link.fromWireUs(timestampUs), nowUs);
    const lost = this.#lost();
    if (this.#hidden) this.#freezes.interrupted();
    else this.#freezes.shown(timestampUs, nowUs, lost === this.#lostWhenDrawn);
    this.#lostWhenDrawn = lost;
    if (this.#drawn === 1) this.#events.firstFrame();
    if (this.#drawnLayer !== taken.layer.layer) {
      this.#drawnLayer = taken.layer.layer;
      this.#events.layer(this.#drawnLayer.layerId);
    }
  }

  /** Frames that did not decode. */
  #unusable(): number {
    let frames = 0;
    for (const { assembler } of this.#ingresses.values()) frames += assembler.unusableFrames;
    return frames + this.#selector.lateFrames;
  }

  /** Grows with everything that was to be seen and was not. */
  #lost(): number {
    let missing = 0;
    for (const { assembler } of this.#ingresses.values()) missing += assembler.missingUnits;
    return missing + this.#unusable() + this.#queue.dropped + this.#lateFrames + this.#decoder.errors;
  }
}
