/** Frequencies, levels, gaps and beginnings in recorded sound: pure functions of samples from -1 to 1. */

/** In-place fast Fourier transform (Cooley and Tukey, radix 2). The length must be a power of two. */
export function fft(real: Float64Array, imaginary: Float64Array): void {
  const size = real.length;
  if (size !== imaginary.length || (size & (size - 1)) !== 0)
    throw new Error("the length must be a power of two");
  for (let index = 1, reversed = 0; index < size; index += 1) {
    let bit = size >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (index < reversed) {
      swap(real, index, reversed);
      swap(imaginary, index, reversed);
    }
  }
  for (let length = 2; length <= size; length <<= 1) {
    const angle = (-2 * Math.PI) / length;
    for (let begin = 0; begin < size; begin += length) {
      for (let offset = 0; offset < length / 2; offset += 1) {
        const [cosine, sine] = [Math.cos(angle * offset), Math.sin(angle * offset)];
        const [upper, lower] = [begin + offset, begin + offset + length / 2];
        const re = at(real, lower) * cosine - at(imaginary, lower) * sine;
        const im = at(real, lower) * sine + at(imaginary, lower) * cosine;
        real[lower] = at(real, upper) - re;
        imaginary[lower] = at(imaginary, upper) - im;
        real[upper] = at(real, upper) + re;
        imaginary[upper] = at(imaginary, upper) + im;
      }
    }
  }
}

function swap(values: Float64Array, first: number, second: number): void {
  const value = at(values, first);
  values[first] = at(values, second);
  values[second] = value;
}

function at(values: Float64Array | Float32Array, index: number): number {
  return values[index] ?? 0;
}

/** A strong frequency. */
export interface Peak {
  readonly hz: number;
  /** Its share of all energy, 0 to 1. */
  readonly share: number;
}

/** The strongest frequencies, strongest first, each at least 40 Hz from the others. */
export function peaks(samples: Float32Array, sampleRate: number, count = 3): Peak[] {
  const size = 2 ** Math.floor(Math.log2(samples.length));
  if (size < 1024) throw new Error("too little sound to find a frequency in");
  const real = new Float64Array(size);
  for (let index = 0; index < size; index += 1) {
    // Hann window: a tone that begins and ends anywhere stays one peak.
    real[index] = at(samples, index) * (0.5 - 0.5 * Math.cos((2 * Math.PI * index) / size));
  }
  const imaginary = new Float64Array(size);
  fft(real, imaginary);
  const energy = Float64Array.from(
    { length: size / 2 },
    (_, bin) => at(real, bin) ** 2 + at(imaginary, bin) ** 2,
  );
  const total = energy.reduce((sum, value) => sum + value, 0);
  if (total === 0) return [];
  const width = Math.ceil((20 * size) / sampleRate);
  const found: Peak[] = [];
  const rest = energy.slice();
  while (found.length < count) {
    const best = rest.reduce((max, value, bin) => (value > at(rest, max) ? bin : max), 0);
    if (at(rest, best) === 0) break;
    let [around, weighted] = [0, 0];
    for (let bin = Math.max(0, best - width); bin <= Math.min(rest.length - 1, best + width); bin += 1) {
      around += at(rest, bin);
      weighted += at(rest, bin) * bin;
    }
    found.push({ hz: ((weighted / around) * sampleRate) / size, share: around / total });
    rest.fill(0, Math.max(0, best - 2 * width), best + 2 * width + 1);
  }
  return found;
}

/** Share of the energy that lies within 20 Hz of a frequency, 0 to 1. */
export function shareOf(samples: Float32Array, sampleRate: number, hz: number): number {
  return peaks(samples, sampleRate, 8).find((peak) => Math.abs(peak.hz - hz) < 20)?.share ?? 0;
}

/** Root mean square in dB of full scale. */
export function levelDb(samples: Float32Array): number {
  const energy = samples.reduce((sum, sample) => sum + sample * sample, 0);
  return 10 * Math.log10(energy / Math.max(1, samples.length) + 1e-12);
}

/** Milliseconds of each stretch of at least `minMs` in which nothing is louder than `threshold`. */
export function gaps(samples: Float32Array, sampleRate: number, minMs: number, threshold = 0.005): number[] {
  const found: number[] = [];
  let quiet = 0;
  for (let index = 0; index <= samples.length; index += 1) {
    if (index < samples.length && Math.abs(at(samples, index)) <= threshold) {
      quiet += 1;
      continue;
    }
    const ms = (quiet * 1000) / sampleRate;
    if (ms >= minMs) found.push(ms);
    quiet = 0;
  }
  return found;
}

/** Where sound begins after at least `quietMs` of quiet: seconds from the first sample. */
export function onsets(samples: Float32Array, sampleRate: number, quietMs = 200, threshold = 0.05): number[] {
  const found: number[] = [];
  const enough = (quietMs * sampleRate) / 1000;
  let quiet = 0;
  for (let index = 0; index < samples.length; index += 1) {
    if (Math.abs(at(samples, index)) <= threshold) quiet += 1;
    else {
      if (quiet >= enough) found.push(index / sampleRate);
      quiet = 0;
    }
  }
  return found;
}
