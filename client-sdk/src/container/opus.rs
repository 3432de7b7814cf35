//! Opus packets: how long one plays (RFC 6716 section 3).

use std::time::Duration;

/// The rate at which Opus decodes and at which Ogg Opus counts time, in Hz.
pub const OPUS_SAMPLE_RATE: u32 = 48_000;

/// The longest packet RFC 6716 section 3.2.5 (R5) allows: 120 ms, in samples at 48 kHz.
pub(super) const MAX_PACKET_SAMPLES: u32 = 5_760;

/// How long an Opus packet plays; `None` when it is empty, has no frame or exceeds 120 ms.
pub fn packet_duration(packet: &[u8]) -> Option<Duration> {
    packet_samples(packet).map(|samples| samples_to_duration(samples.into()))
}

/// Samples at 48 kHz in a packet: frames per packet times frame size.
pub(super) fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3F),
    };
    let samples = frames * frame_samples(toc);
    (1..=MAX_PACKET_SAMPLES).contains(&samples).then_some(samples)
}

/// Samples at 48 kHz in one frame, from the configuration number in the TOC byte (RFC 6716 section 3.1, table 2).
pub(super) fn frame_samples(toc: u8) -> u32 {
    let config = usize::from(toc >> 3);
    match config {
        0..=11 => [480, 960, 1920, 2880][config % 4],
        12..=15 => [480, 960][config % 2],
        _ => [120, 240, 480, 960][config % 4],
    }
}

/// A packet that asks the decoder to conceal one lost frame: the TOC byte of a packet with a single, empty frame in
/// the same configuration (RFC 7845 section 4.1, "Repairing Gaps in Real-Time Streams").
pub(super) fn concealment_packet(toc: u8) -> Vec<u8> {
    vec![toc & !0b11]
}

/// Rounded down to the nanosecond.
pub(super) fn samples_to_duration(samples: u64) -> Duration {
    let rate = u64::from(OPUS_SAMPLE_RATE);
    let nanos = (samples % rate) * 1_000_000_000 / rate;
    Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
}

/// Rounded to the nearest sample; saturates.
pub(super) fn duration_to_samples(duration: Duration) -> u64 {
    let samples = (duration.as_nanos() * u128::from(OPUS_SAMPLE_RATE) + 500_000_000) / 1_000_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_toc_table() {
        let ms = |packet: &[u8]| packet_duration(packet).map(|d| d.as_secs_f64() * 1000.0);
        assert_eq!(ms(&[0x00]), Some(10.0), "SILK narrowband, one frame");
        assert_eq!(ms(&[3 << 3]), Some(60.0));
        assert_eq!(ms(&[13 << 3]), Some(20.0), "hybrid");
        assert_eq!(ms(&[16 << 3]), Some(2.5), "CELT");
        assert_eq!(ms(&[31 << 3 | 1]), Some(40.0), "two equal frames");
        assert_eq!(ms(&[31 << 3 | 3, 6]), Some(120.0));
        assert_eq!(ms(&[31 << 3 | 3, 7]), None, "over 120 ms");
        assert_eq!(ms(&[31 << 3 | 3, 0]), None, "no frame");
        assert_eq!(ms(&[31 << 3 | 3]), None, "count missing");
        assert_eq!(ms(&[]), None);
    }

    #[test]
    fn sample_counts_survive_the_conversion() {
        for samples in [0, 1, 119, 480, 47_999, 48_000, 1 << 40] {
            assert_eq!(duration_to_samples(samples_to_duration(samples)), samples);
        }
    }
}
