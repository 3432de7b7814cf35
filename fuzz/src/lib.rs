//! Input that the fuzz targets share.

use bytes::Bytes;

/// Small bounds, so that the fuzzer reaches them.
pub const LIMITS: darktower_protocol::limits::UnitLimits =
    darktower_protocol::limits::UnitLimits { max_audio_payload: 300, max_video_payload: 600 };

/// Splits input into stream bytes and how they are cut: a byte with the number of sizes (0 = one
/// chunk), that many sizes minus one, repeated as needed, then the stream.
pub fn split_input(input: &[u8]) -> Option<(Bytes, Vec<Bytes>)> {
    let (count, rest) = input.split_first()?;
    let (sizes, stream) = rest.split_at_checked(usize::from(*count))?;
    let stream = Bytes::copy_from_slice(stream);
    if sizes.is_empty() {
        return Some((stream.clone(), vec![stream]));
    }
    let mut rest = stream.clone();
    let sizes = sizes.iter().cycle();
    let cut = |size: &u8| (!rest.is_empty()).then(|| rest.split_to(rest.len().min(usize::from(*size) + 1)));
    let chunks = sizes.map_while(cut).collect();
    Some((stream, chunks))
}
