/**
 * The bytes of one unit or message of which not all have arrived: gathered in one buffer, so that a peer that
 * sends single bytes makes us keep bytes and not chunks.
 */

/** The buffer is made at least this large, or as large as is needed at all. */
const MIN_CAPACITY_BYTES = 1024;

export class HeldBytes {
  #buffer = new Uint8Array(0);
  #length = 0;

  /** Bytes held. */
  get length(): number {
    return this.#length;
  }

  /** Bytes of memory taken: at most twice what has arrived, or 1 KiB. */
  get capacityBytes(): number {
    return this.#buffer.length;
  }

  /** A view of what is held, valid until the next {@link append}. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /**
   * Copies bytes of `chunk` from `from` on until `needBytes` are held, and returns how many. The buffer grows
   * with what has arrived, not to what a peer has announced, and in all copies each byte at most three times.
   */
  append(chunk: Uint8Array, from: number, needBytes: number): number {
    const taken = Math.max(0, Math.min(chunk.length - from, needBytes - this.#length));
    const length = this.#length + taken;
    if (length > this.#buffer.length) {
      const capacity = Math.min(needBytes, Math.max(MIN_CAPACITY_BYTES, 2 * length));
      const grown = new Uint8Array(capacity);
      grown.set(this.bytes);
      this.#buffer = grown;
    }
    this.#buffer.set(chunk.subarray(from, from + taken), this.#length);
    this.#length = length;
    return taken;
  }

  /** Hands the bytes over and forgets them. */
  take(): Uint8Array {
    const { bytes } = this;
    this.clear();
    return bytes;
  }

  /** Forgets the bytes. */
  clear(): void {
    this.#buffer = new Uint8Array(0);
    this.#length = 0;
  }
}
