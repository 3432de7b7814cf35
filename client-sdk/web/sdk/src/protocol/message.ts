/**
 * Messages of signaling and control streams: Protocol Buffers, each preceded by its length (docs/protocol.md 5.1).
 * {@link MessageDecoder} and {@link encodeMessage} deal with the length, the functions for the types with what is
 * in it.
 */

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code } from "./codes.js";
import { WireError } from "./errors.js";
import {
  type MediaClientMessage,
  MediaClientMessageSchema,
  type MediaServerMessage,
  MediaServerMessageSchema,
  type PublisherFeedback,
  PublisherFeedbackSchema,
} from "./gen/darktower/v1/media_pb.js";
import { type Envelope, EnvelopeSchema } from "./gen/darktower/v1/signaling_pb.js";
import { HeldBytes } from "./held_bytes.js";
import { MAX_MESSAGE_BYTES } from "./limits.js";
import { decodeLengthPrefix, encodeLengthPrefix } from "./varint.js";
import { checkWellFormed } from "./well_formed.js";

/**
 * A message with its length in front, ready to be written.
 *
 * @throws WireError `TooLarge` if it is over `maxBytes`: the other side would close the session
 */
export function encodeMessage(message: Uint8Array, maxBytes = MAX_MESSAGE_BYTES): Uint8Array {
  if (message.length > maxBytes) throw tooLarge(message.length, maxBytes);
  const prefix = encodeLengthPrefix(message.length);
  const wire = new Uint8Array(prefix.length + message.length);
  wire.set(prefix);
  wire.set(message, prefix.length);
  return wire;
}

/**
 * Splits a byte stream into messages, of whatever type. At most one unfinished message is held.
 *
 * The messages are views of the pushed chunks where they lie in one chunk whole, else of a copy.
 */
export class MessageDecoder {
  readonly #maxBytes: number;
  /** The start of a message that is not whole yet, its length prefix included. */
  readonly #held = new HeldBytes();
  #failed: WireError | undefined;

  /** @param maxBytes bound of one message without its prefix */
  constructor(maxBytes = MAX_MESSAGE_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes held back because their message is not whole yet. */
  get bufferedBytes(): number {
    return this.#held.length;
  }

  /** Memory that they take. */
  get capacityBytes(): number {
    return this.#held.capacityBytes;
  }

  /** Why the bytes are not a sequence of messages, as soon as it is known. The stream cannot go on after that. */
  get failed(): WireError | undefined {
    return this.#failed;
  }

  /**
   * Takes the next bytes of the stream and returns the messages that are whole now, without their lengths.
   *
   * Whole messages before an error in the same chunk are returned; {@link failed} is set, and the next call of
   * `push` or {@link finish} throws it.
   *
   * @throws WireError the same again on every call after the first
   */
  push(chunk: Uint8Array): Uint8Array[] {
    if (this.#failed) throw this.#failed;
    const messages: Uint8Array[] = [];
    try {
      for (let at = 0; at < chunk.length; ) at += this.#take(chunk, at, messages);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#failed = error;
      this.#held.clear();
      if (messages.length === 0) throw error;
    }
    return messages;
  }

  /**
   * To be called when the stream ended.
   *
   * @throws WireError if it ended inside a message, or had failed before
   */
  finish(): void {
    if (!this.#failed && this.#held.length > 0) {
      this.#failed = new WireError("Truncated", Code.MALFORMED_MESSAGE, "stream ended inside a message");
    }
    if (this.#failed) throw this.#failed;
  }

  /** Deals with the bytes at `at` and returns how many that were: at least one. */
  #take(chunk: Uint8Array, at: number, messages: Uint8Array[]): number {
    if (this.#held.length === 0) {
      const span = this.#span(chunk, at);
      if (span && chunk.length - at >= span.wireBytes) {
        messages.push(chunk.subarray(at + span.prefixBytes, at + span.wireBytes));
        return span.wireBytes;
      }
    }
    // Until the length is known, byte by byte: the next one may be of the next message.
    const known = this.#span(this.#held.bytes, 0);
    const taken = this.#held.append(chunk, at, known?.wireBytes ?? this.#held.length + 1);
    const span = this.#span(this.#held.bytes, 0);
    if (span && this.#held.length === span.wireBytes) {
      messages.push(this.#held.take().subarray(span.prefixBytes));
    }
    return taken;
  }

  /** The length of the message at `offset` with and of its prefix, once known and within the bound. */
  #span(bytes: Uint8Array, offset: number): { prefixBytes: number; wireBytes: number } | undefined {
    const length = decodeLengthPrefix(bytes, offset);
    if (!length) return undefined;
    if (length.value > this.#maxBytes) throw tooLarge(length.value, this.#maxBytes);
    return { prefixBytes: length.bytes, wireBytes: length.bytes + length.value };
  }
}

function tooLarge(bytes: number, maxBytes: number): WireError {
  const message = `message of ${bytes} bytes is over the limit of ${maxBytes}`;
  return new WireError("TooLarge", Code.MESSAGE_TOO_LARGE, message);
}

/** The bytes of an `Envelope`, without length. */
export function encodeEnvelope(envelope: MessageInitShape<typeof EnvelopeSchema>): Uint8Array {
  return encode(EnvelopeSchema, envelope);
}

/** The `Envelope` in bytes without length; fields of later versions are left out.
 *
 * @throws WireError `Malformed`
 */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  return decode(EnvelopeSchema, bytes);
}

/** The bytes of a `MediaClientMessage`, without length. */
export function encodeMediaClientMessage(
  message: MessageInitShape<typeof MediaClientMessageSchema>,
): Uint8Array {
  return encode(MediaClientMessageSchema, message);
}

/** The `MediaClientMessage` in bytes without length; as {@link decodeEnvelope}. */
export function decodeMediaClientMessage(bytes: Uint8Array): MediaClientMessage {
  return decode(MediaClientMessageSchema, bytes);
}

/** The bytes of a `MediaServerMessage`, without length. */
export function encodeMediaServerMessage(
  message: MessageInitShape<typeof MediaServerMessageSchema>,
): Uint8Array {
  return encode(MediaServerMessageSchema, message);
}

/** The `MediaServerMessage` in bytes without length; as {@link decodeEnvelope}. */
export function decodeMediaServerMessage(bytes: Uint8Array): MediaServerMessage {
  return decode(MediaServerMessageSchema, bytes);
}

/**
 * The `PublisherFeedback` in bytes without length, from the return half of a baseline stream (docs/protocol.md 6.3);
 * as {@link decodeEnvelope}.
 */
export function decodePublisherFeedback(bytes: Uint8Array): PublisherFeedback {
  return decode(PublisherFeedbackSchema, bytes);
}

function encode<Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>): Uint8Array {
  return toBinary(schema, create(schema, message));
}

function decode<Desc extends DescMessage>(schema: Desc, bytes: Uint8Array): MessageShape<Desc> {
  try {
    checkWellFormed(schema, bytes);
    return fromBinary(schema, bytes, { readUnknownFields: false });
  } catch (cause) {
    // Whatever the decoder throws: it decodes what a peer has sent, and the bytes are at fault.
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new WireError("Malformed", Code.MALFORMED_MESSAGE, `malformed ${schema.name}: ${what}`, { cause });
  }
}
