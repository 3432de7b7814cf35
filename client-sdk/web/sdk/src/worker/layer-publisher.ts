/** One layer of a video that is published: encoder, upload policy, and the QUIC streams of its groups. */

import type { VideoCodec } from "../media/codec.js";
import { NO_FIGURES } from "../media/no-figures.js";
import { Recent } from "../media/recent.js";
import { fitLayer } from "../media/simulcast.js";
import { SteadySize } from "../media/steady-size.js";
import { UploadPolicy } from "../media/upload.js";
import { Code } from "../protocol/codes.js";
import { encodeGroupPreamble, GroupKind } from "../protocol/group.js";
import { MAX_VIDEO_PAYLOAD_BYTES } from "../protocol/limits.js";
import { Flags, FrameType, HEADER_BYTES, writeHeader } from "../protocol/unit.js";
import type { Layer, StreamDescription, StreamStatistics } from "../types.js";
import { GroupWriter } from "./group-writer.js";
import { type EncodedFrame, LayerEncoder } from "./layer-encoder.js";
import type { MediaLink } from "./link.js";

/** An old group that is further behind than this is reset when a new one begins; otherwise it is sent to its end. */
const STALE_GROUP_MS = 150;
const STATISTICS_WINDOW_MS = 2_000;

export interface LayerPublisherOptions {
  readonly stream: StreamDescription;
  readonly layer: Layer;
  readonly codec: VideoCodec;
  readonly framerate: number;
  readonly link: MediaLink;
  /** Local epoch µs that timestamp 0 of the frames stands for. */
  readonly epochUs: number;
  readonly onFailed: (cause: unknown) => void;
}

export class LayerPublisher {
  readonly #stream: StreamDescription;
  readonly #layer: Layer;
  readonly #codec: VideoCodec;
  readonly #link: MediaLink;
  readonly #epochUs: number;
  readonly #policy: UploadPolicy;
  readonly #encoder: LayerEncoder;
  /** Of windows, which are resized in many steps; cameras change once, when a telephone is turned. */
  readonly #size: SteadySize | undefined;
  /** Goes on over groups and connections (docs/protocol.md 6.1). */
  #sequence = 0;
  #generation: number;
  #group: GroupWriter | undefined;
  /** Groups that are written and not yet delivered. */
  readonly #ending = new Set<GroupWriter>();
  /** What lies between the last group and the next was lost or left out. */
  #hasGap = false;
  readonly #sentBytes = new Recent(STATISTICS_WINDOW_MS);
  readonly #sentFrames = new Recent(STATISTICS_WINDOW_MS);
  #frames = 0;
  #keyFrames = 0;
  #dropped = 0;

  constructor(options: LayerPublisherOptions) {
    this.#stream = options.stream;
    this.#layer = options.layer;
    this.#codec = options.codec;
    this.#link = options.link;
    this.#epochUs = options.epochUs;
    this.#generation = options.link.generation;
    const maxBitrateBps = options.layer.maxBitrateBps || options.stream.maxBitrateBps || 500_000;
    this.#policy = new UploadPolicy({ maxBitrateBps });
    this.#size = options.stream.type === "screen" ? new SteadySize() : undefined;
    this.#encoder = new LayerEncoder(
      {
        codec: options.codec,
        type: options.stream.type,
        framerate: options.framerate,
        onFrame: (frame) => this.#send(frame),
        onRestart: () => this.#policy.begin(),
        onFailed: options.onFailed,
      },
      maxBitrateBps,
    );
  }

  get wireStreamId(): string {
    return this.#layer.wireStreamId;
  }

  /** Whether a frame would be encoded for this layer now at all. */
  get isWanted(): boolean {
    return this.#link.connected && !this.#policy.paused;
  }

  /** A key frame is due that somebody waits for. */
  keyFrameDue(nowMs: number): boolean {
    return this.isWanted && this.#policy.keyFrameDue(nowMs);
  }

  /** The next frame; stays the caller's, who closes it. Whether it was encoded, and not left out. */
  frame(frame: VideoFrame, nowMs: number): boolean {
    if (!this.isWanted) return false;
    const size = fitLayer(this.#layer, frame.displayWidth, frame.displayHeight);
    if (this.#size?.take(size, nowMs) === false || !this.#encoder.prepare(size)) return false;
    const step = this.#policy.frame({
      nowMs,
      backlogMs: this.#backlogMs(nowMs),
      encodeQueueSize: this.#encoder.queueSize,
    });
    if (step.abortGroup) this.#abort();
    const bitrateBps = this.#policy.takeBitrate(nowMs);
    if (bitrateBps !== undefined) this.#encoder.setBitrate(bitrateBps);
    if (step.encode) this.#encoder.encode(frame, step.keyFrame);
    else this.#dropped += 1;
    return step.encode;
  }

  feedback(feedback: { keyFrameRequested: boolean; paused?: boolean; targetBitrateBps: number }): void {
    this.#policy.feedback(feedback);
    if (this.#policy.paused) this.#endGroup();
  }

  connectionChanged(): void {
    // What the encoder makes meanwhile is not sent: also if this connection is heard again, what comes then needs a key frame.
    if (!this.#link.connected) this.#policy.begin();
    if (this.#link.generation === this.#generation) return;
    this.#generation = this.#link.generation;
    this.#policy.connectionBegan();
    // The QUIC streams went with their connection. What an earlier one had begun does not come any more.
    for (const group of [this.#group, ...this.#ending])
      group?.abort(Code.CANCELLED, "the connection was lost");
    this.#group = undefined;
    this.#ending.clear();
    this.#hasGap = this.#sequence > 0;
  }

  /** No frames for a while: the group ends, and what comes after begins with a key frame. */
  suspend(): void {
    this.#endGroup();
    this.#policy.begin();
  }

  statistics(nowMs: number): StreamStatistics {
    const { width, height } = this.#encoder.size;
    return {
      ...NO_FIGURES,
      streamId: this.#stream.streamId,
      type: this.#stream.type,
      direction: "outgoing",
      codec: this.#codec,
      layerId: this.#layer.layerId,
      bitrateBps: Math.round(this.#sentBytes.perSecond(nowMs) * 8),
      width,
      height,
      framesPerSecond: this.#sentFrames.perSecond(nowMs),
      frames: this.#frames,
      keyFrames: this.#keyFrames,
      framesDropped: this.#dropped,
      paused: this.#policy.paused,
    };
  }

  /** Ends the group; settles when everything that was sent has arrived or cannot any more. */
  async stop(): Promise<void> {
    this.#encoder.close();
    this.#endGroup();
    await Promise.all([...this.#ending].map((group) => group.ended));
  }

  #backlogMs(nowMs: number): number {
    let backlogMs = this.#group?.backlogMs(nowMs) ?? 0;
    for (const group of this.#ending) backlogMs = Math.max(backlogMs, group.backlogMs(nowMs));
    return backlogMs;
  }

  #send({ chunk, isKey, isDiscardable }: EncodedFrame): void {
    const nowMs = performance.now();
    if (!this.isWanted) return;
    if (isDiscardable && !this.#policy.sendsDiscardable(this.#backlogMs(nowMs))) {
      this.#dropped += 1;
      return;
    }
    if (isKey) this.#beginGroup(nowMs);
    const group = this.#group;
    if (!group?.isOpen) {
      this.#dropped += 1;
      return;
    }
    const flags = isDiscardable ? Flags.Discardable : 0;
    const bytes = this.#units(chunk, isKey ? FrameType.VideoKey : FrameType.VideoDelta, flags);
    group.write(bytes, nowMs);
    this.#frames += 1;
    this.#keyFrames += isKey ? 1 : 0;
    this.#sentFrames.add(1, nowMs);
    this.#sentBytes.add(bytes.length, nowMs);
  }

  /** The frame as units back to back; mostly one. */
  #units(chunk: EncodedVideoChunk, frameType: FrameType, flags: number): Uint8Array {
    const payload = new Uint8Array(HEADER_BYTES + chunk.byteLength);
    chunk.copyTo(payload.subarray(HEADER_BYTES));
    const timestampUs = Math.max(Math.round(this.#link.toWireUs(this.#epochUs + chunk.timestamp)), 0);
    const header = { frameType, streamId: this.#layer.wireStreamId, timestampUs };
    const count = Math.max(Math.ceil(chunk.byteLength / MAX_VIDEO_PAYLOAD_BYTES), 1);
    if (count === 1) {
      const sequence = this.#sequence++;
      writeHeader(payload, 0, { ...header, sequence, flags: flags | Flags.EndOfFrame }, chunk.byteLength);
      return payload;
    }
    const units = new Uint8Array(count * HEADER_BYTES + chunk.byteLength);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const start = HEADER_BYTES + i * MAX_VIDEO_PAYLOAD_BYTES;
      const part = payload.subarray(start, start + MAX_VIDEO_PAYLOAD_BYTES);
      const last = i === count - 1 ? Flags.EndOfFrame : 0;
      writeHeader(units, at, { ...header, sequence: this.#sequence++, flags: flags | last }, part.length);
      units.set(part, at + HEADER_BYTES);
      at += HEADER_BYTES + part.length;
    }
    return units;
  }

  #beginGroup(nowMs: number): void {
    if (this.#group && this.#group.backlogMs(nowMs) > STALE_GROUP_MS) this.#abort();
    else this.#endGroup();
    const group: GroupWriter = new GroupWriter(this.#link, () => this.#lost(group));
    const preamble = encodeGroupPreamble({
      kind: GroupKind.Video,
      continuation: false,
      discontinuity: this.#hasGap,
      streamId: this.#layer.wireStreamId,
      group: this.#sequence,
      firstSequence: this.#sequence,
    });
    this.#hasGap = false;
    group.write(preamble, nowMs);
    this.#group = group;
  }

  #endGroup(): void {
    const group = this.#group;
    this.#group = undefined;
    if (!group?.isOpen) return;
    this.#ending.add(group);
    void group.ended.then(() => this.#ending.delete(group));
    group.finish();
  }

  /** Nothing of what waits is worth sending. Nor is what is being encoded: without a group nothing but a key frame is sent. */
  #abort(): void {
    for (const group of [this.#group, ...this.#ending]) {
      group?.abort(Code.DROPPED_GROUP, "the group fell too far behind");
    }
    this.#ending.clear();
    this.#group = undefined;
    this.#hasGap = true;
  }

  /** The server does not want the rest of this group, or the connection is gone. */
  #lost(group: GroupWriter): void {
    this.#ending.delete(group);
    if (group !== this.#group) return;
    this.#group = undefined;
    this.#hasGap = true;
    this.#policy.groupLost(performance.now());
  }
}
