/** The one rate that everything here counts sound in. */

/** Samples per second: Opus decoders give 48 kHz, and AudioContexts are made with it; they resample for the device. */
export const SAMPLE_RATE = 48_000;
