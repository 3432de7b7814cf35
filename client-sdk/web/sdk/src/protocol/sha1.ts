/**
 * SHA-1 (RFC 3174), for UUIDv5 only: it protects nothing. The browser's own (`crypto.subtle`) answers
 * asynchronously, and ids are needed where nothing may wait.
 */

const BLOCK_BYTES = 64;

const rotateLeft = (word: number, bits: number) => (word << bits) | (word >>> (32 - bits));

/** The 20 bytes of the digest of `message`. */
export function sha1(message: Uint8Array): Uint8Array {
  // The message, a bit 1, zeros, and the length in bits in the last 8 bytes of a block.
  const blocks = Math.ceil((message.length + 9) / BLOCK_BYTES);
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(message.length / 0x2000_0000));
  view.setUint32(padded.length - 4, message.length << 3);

  let [h0, h1, h2, h3, h4] = [0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476, 0xc3d2e1f0 | 0];
  const words = new Int32Array(80);
  const word = (t: number) => words[t] ?? 0;
  for (let block = 0; block < padded.length; block += BLOCK_BYTES) {
    for (let t = 0; t < 16; t++) words[t] = view.getInt32(block + 4 * t);
    for (let t = 16; t < 80; t++) {
      words[t] = rotateLeft(word(t - 3) ^ word(t - 8) ^ word(t - 14) ^ word(t - 16), 1);
    }
    let [a, b, c, d, e] = [h0, h1, h2, h3, h4];
    for (let t = 0; t < 80; t++) {
      const [mix, constant] = round(t, b, c, d);
      const next = (rotateLeft(a, 5) + mix + e + constant + word(t)) | 0;
      [e, d, c, b, a] = [d, c, rotateLeft(b, 30), a, next];
    }
    h0 = (h0 + a) | 0;
    h1 = (h1 + b) | 0;
    h2 = (h2 + c) | 0;
    h3 = (h3 + d) | 0;
    h4 = (h4 + e) | 0;
  }

  const digest = new DataView(new ArrayBuffer(20));
  [h0, h1, h2, h3, h4].forEach((h, i) => {
    digest.setInt32(4 * i, h);
  });
  return new Uint8Array(digest.buffer);
}

/** The function and the constant of step `t` (RFC 3174 section 5). */
function round(t: number, b: number, c: number, d: number): [number, number] {
  if (t < 20) return [(b & c) | (~b & d), 0x5a827999];
  if (t < 40) return [b ^ c ^ d, 0x6ed9eba1];
  if (t < 60) return [(b & c) | (b & d) | (c & d), 0x8f1bbcdc];
  return [b ^ c ^ d, 0xca62c1d6];
}
