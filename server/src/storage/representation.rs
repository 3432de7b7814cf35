//! How facts look in a database, whichever it is.

use std::borrow::Cow;

use time::OffsetDateTime;

/// Microseconds since the Unix epoch. `OffsetDateTime` ends in the year 9999, far inside 64 bits.
pub(super) fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX)
}

/// The time that [`micros`] made this of; `None` if it made it of none.
pub(super) fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

/// Text as every backend can keep it: PostgreSQL has no NUL, so it becomes U+FFFD.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// [`text`] that may be missing.
pub(super) fn optional_text(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.map(text)
}

/// What a search looks into: the parts in lower case, with line ends between.
pub(super) fn search_text(parts: &[&str]) -> String {
    folded(&parts.join("\n"))
}

/// What to look for in a [`search_text`].
pub(super) fn search_needle(needle: &str) -> String {
    folded(needle)
}

/// Character by character: `str::to_lowercase` writes a sigma by what is around it, which differs in a search.
fn folded(value: &str) -> String {
    text(value).chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_to_the_microsecond() {
        for nanos in [0, 1_763_000_000_123_456_000, -1_000, 253_402_300_799_999_999_000] {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("in range");
            assert_eq!(from_micros(micros(time)), Some(time));
        }
        assert_eq!(from_micros(i64::MAX), None);
    }

    #[test]
    fn searches_look_for_letters_of_either_case() {
        assert_eq!(search_needle("50 %_\\' ÄΣ"), "50 %_\\' äσ");
        assert_eq!(search_text(&["ΧΆΟΣ", "İ\0"]), "χάοσ\ni\u{307}\u{fffd}");
    }
}
