//! Versions, features, and the names by which connections say what they speak.

use std::fmt;

/// ALPN of a native media connection.
pub const ALPN_MEDIA: &[u8] = b"darktower-media/1";
/// ALPN of a native signaling connection.
pub const ALPN_SIGNAL: &[u8] = b"darktower-signal/1";
/// ALPN of WebTransport sessions, which say by path what they are.
pub const ALPN_WEBTRANSPORT: &[u8] = b"h3";
/// WebTransport path of a media session.
pub const PATH_MEDIA: &str = "/v1/media";
/// WebTransport path of a signaling session.
pub const PATH_SIGNAL: &str = "/v1/signal";

/// The version of the media protocol and of signaling that this crate implements.
pub const PROTOCOL_VERSION: u32 = 1;

/// Picks the highest version that both sides speak, given what the peer says it speaks
/// (0 stands for 1, the first version). `None` if there is none, or if the range is empty.
pub fn negotiate(peer_min: u32, peer_max: u32) -> Option<u32> {
    let (min, max) = (peer_min.max(1), peer_max.max(1));
    (min..=max).contains(&PROTOCOL_VERSION).then_some(PROTOCOL_VERSION)
}

/// A set of optional parts of the media protocol.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u8);

impl Features {
    /// The baseline: one bidirectional stream per media stream, units back to back.
    pub const NONE: Features = Features(0);
    /// Video travels on one unidirectional stream per group of pictures.
    pub const GROUPS: Features = Features(1);
    /// Audio units travel in datagrams.
    pub const AUDIO_DATAGRAMS: Features = Features(1 << 1);
    /// Receivers report arrival statistics in datagrams.
    pub const RECEIVE_REPORTS: Features = Features(1 << 2);
    /// The six reserved header bytes carry layer and audio-level hints.
    pub const EXT_BYTES: Features = Features(1 << 3);

    const NAMES: [(Features, &'static str); 4] = [
        (Self::GROUPS, "groups"),
        (Self::AUDIO_DATAGRAMS, "audio-datagrams"),
        (Self::RECEIVE_REPORTS, "receive-reports"),
        (Self::EXT_BYTES, "ext-bytes"),
    ];

    /// Features by name; names this version does not know are ignored.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        names
            .into_iter()
            .filter_map(|name| Self::NAMES.iter().find(|(_, known)| *known == name.as_ref()))
            .fold(Self::NONE, |all, (feature, _)| all | *feature)
    }

    /// The names on the wire, in a fixed order.
    pub fn names(self) -> Vec<String> {
        Self::NAMES
            .iter()
            .filter(|(feature, _)| self.contains(*feature))
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Features {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (min, max, agreed) in
            [(0, 0, Some(1)), (1, 1, Some(1)), (1, 9, Some(1)), (2, 9, None), (5, 1, None), (0, 7, Some(1))]
        {
            assert_eq!(negotiate(min, max), agreed, "{min}..={max}");
        }
    }

    #[test]
    fn unknown_feature_names_are_ignored() {
        let features = Features::from_names(["teleport", "audio-datagrams", "groups", "groups"]);
        assert_eq!(features, Features::GROUPS | Features::AUDIO_DATAGRAMS);
        assert_eq!(features.names(), ["groups", "audio-datagrams"]);
        assert_eq!(features & Features::GROUPS, Features::GROUPS);
        assert!(!Features::GROUPS.contains(features));
    }
}
