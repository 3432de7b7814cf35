//! What a preset that somebody sends must keep to. Its shape was checked when it was parsed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{DesignTokens, Preset, VideoConfig};

const MAX_NAME_LEN: usize = 64;
/// Videos on one screen: more than anybody can look at.
const VIDEO_STREAMS: RangeInclusive<u32> = 0..=100;
const SCREENSHARES: RangeInclusive<u32> = 0..=10;
const FRAME_RATE: RangeInclusive<u32> = 1..=120;
const QUALITIES: [&str; 3] = ["hd", "vga", "qvga"];
/// Pixels.
const SPACING_BASE: RangeInclusive<u32> = 1..=64;
/// Of theme and borders: words that style sheets of clients know.
const MAX_WORD_LEN: usize = 32;
const MAX_LOGO_LEN: usize = 2048;
/// Shades of one colour.
const MAX_SHADES: usize = 16;

/// A preset that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidPreset {
    /// Path of the first field that is wrong: `config.media.video.frame_rate`.
    pub field: String,
    /// What it must be: "must be 1 to 120".
    pub reason: String,
}

fn invalid(field: &str, reason: impl Into<String>) -> InvalidPreset {
    InvalidPreset { field: field.to_owned(), reason: reason.into() }
}

impl Preset {
    /// Whether the values are such that they can be kept and handed to clients.
    ///
    /// # Errors
    /// [`InvalidPreset`] names the first field that is not.
    pub fn validate(&self) -> Result<(), InvalidPreset> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.name.is_empty() || self.name.len() > MAX_NAME_LEN || !self.name.chars().all(is_name) {
            return Err(invalid("name", "must be 1 to 64 of a-z, 0-9 and _"));
        }
        let config = &self.config;
        within("config.max_video_streams.desktop", config.max_video_streams.desktop, VIDEO_STREAMS)?;
        within("config.max_video_streams.mobile", config.max_video_streams.mobile, VIDEO_STREAMS)?;
        within("config.max_screenshare_count", config.max_screenshare_count, SCREENSHARES)?;
        video("config.media.video", &config.media.video)?;
        video("config.media.screenshare", &config.media.screenshare)?;
        design_tokens(&self.ui.design_tokens)
    }
}

fn within(field: &str, value: u32, range: RangeInclusive<u32>) -> Result<(), InvalidPreset> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(invalid(field, format!("must be {} to {}", range.start(), range.end())))
    }
}

fn video(field: &str, config: &VideoConfig) -> Result<(), InvalidPreset> {
    if !QUALITIES.contains(&config.quality.as_str()) {
        return Err(invalid(&format!("{field}.quality"), format!("must be one of {}", QUALITIES.join(", "))));
    }
    within(&format!("{field}.frame_rate"), config.frame_rate, FRAME_RATE)
}

fn design_tokens(tokens: &DesignTokens) -> Result<(), InvalidPreset> {
    word("ui.design_tokens.theme", &tokens.theme)?;
    word("ui.design_tokens.border_radius", &tokens.border_radius)?;
    word("ui.design_tokens.border_width", &tokens.border_width)?;
    within("ui.design_tokens.spacing_base", tokens.spacing_base, SPACING_BASE)?;
    logo("ui.design_tokens.logo", &tokens.logo)?;
    let colors = &tokens.colors;
    shades("ui.design_tokens.colors.brand", &colors.brand)?;
    shades("ui.design_tokens.colors.background", &colors.background)?;
    for (name, value) in [
        ("text", &colors.text),
        ("text_on_brand", &colors.text_on_brand),
        ("danger", &colors.danger),
        ("success", &colors.success),
        ("warning", &colors.warning),
        ("video_bg", &colors.video_bg),
    ] {
        color(&format!("ui.design_tokens.colors.{name}"), value)?;
    }
    Ok(())
}

fn word(field: &str, value: &str) -> Result<(), InvalidPreset> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if value.is_empty() || value.len() > MAX_WORD_LEN || !value.chars().all(is_word) {
        return Err(invalid(field, "must be a word of 1 to 32 of a-z, 0-9, - and _"));
    }
    Ok(())
}

/// Clients load it as a picture: nothing but where pictures are fetched from, on this server or elsewhere.
fn logo(field: &str, value: &str) -> Result<(), InvalidPreset> {
    if value.len() > MAX_LOGO_LEN {
        return Err(invalid(field, "must not be longer than 2048 bytes"));
    }
    let elsewhere = ["https://", "http://"]
        .iter()
        .any(|scheme| value.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    let here = value.starts_with('/') && !value.starts_with("//");
    let is_printable = value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\'));
    if value.is_empty() || (is_printable && (elsewhere || here)) {
        Ok(())
    } else {
        Err(invalid(field, "must be empty, an http or https URL, or a path on this server"))
    }
}

fn shades(field: &str, shades: &BTreeMap<String, String>) -> Result<(), InvalidPreset> {
    if shades.len() > MAX_SHADES {
        return Err(invalid(field, format!("must not have more than {MAX_SHADES} shades")));
    }
    for (weight, value) in shades {
        // Not before it is known to be short may it stand in a message.
        if !matches!(weight.len(), 1..=4) || !weight.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid(field, "must name its shades by weight, such as 500"));
        }
        color(&format!("{field}.{weight}"), value)?;
    }
    Ok(())
}

fn color(field: &str, value: &str) -> Result<(), InvalidPreset> {
    match value.strip_prefix('#') {
        Some(digits) if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(()),
        _ => Err(invalid(field, "must be a colour as #RRGGBB")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn video_host() -> Value {
        serde_json::to_value(crate::preset::shipped().remove(0)).unwrap()
    }

    /// A valid preset with `value` at `path`.
    fn with(path: &str, value: Value) -> Preset {
        let mut preset = video_host();
        let (parent, key) = path.rsplit_once('.').map_or(("", path), |(parent, key)| (parent, key));
        let pointer: String = parent.split('.').filter(|p| !p.is_empty()).map(|p| format!("/{p}")).collect();
        preset.pointer_mut(&pointer).unwrap()[key] = value;
        serde_json::from_value(preset).unwrap()
    }

    #[test]
    fn each_value_has_its_bounds() {
        let long = |len: usize| "a".repeat(len);
        let shades = |count: u32| -> Value {
            (0..count)
                .map(|weight| (weight.to_string(), json!("#000000")))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        #[rustfmt::skip]
        let table: Vec<(&str, Vec<Value>, Vec<Value>)> = vec![
            ("name", vec![json!("a"), json!("my_preset_2"), json!(long(64))],
                vec![json!(""), json!(long(65)), json!("Host"), json!("a b"), json!("a-b"), json!("é"), json!("a/b")]),
            ("config.max_video_streams.desktop", vec![json!(0), json!(100)], vec![json!(101), json!(u32::MAX)]),
            ("config.max_video_streams.mobile", vec![json!(0), json!(100)], vec![json!(101)]),
            ("config.max_screenshare_count", vec![json!(0), json!(10)], vec![json!(11)]),
            ("config.media.video.frame_rate", vec![json!(1), json!(120)], vec![json!(0), json!(121)]),
            ("config.media.screenshare.frame_rate", vec![json!(1), json!(120)], vec![json!(0), json!(121)]),
            ("config.media.video.quality", vec![json!("hd"), json!("vga"), json!("qvga")],
                vec![json!(""), json!("HD"), json!("8k"), json!(long(100_000))]),
            ("config.media.screenshare.quality", vec![json!("vga")], vec![json!("uhd")]),
            ("ui.design_tokens.theme", vec![json!("light")], vec![json!(""), json!(long(33)), json!("a;b")]),
            ("ui.design_tokens.border_radius", vec![json!("extra-rounded")], vec![json!(""), json!("1px solid")]),
            ("ui.design_tokens.border_width", vec![json!("none")], vec![json!(""), json!("THIN")]),
            ("ui.design_tokens.spacing_base", vec![json!(1), json!(64)], vec![json!(0), json!(65)]),
            ("ui.design_tokens.logo", vec![json!(""), json!("/logo.svg"), json!("https://example.org/a.png?b=c")],
                vec![json!("javascript:alert(1)"), json!("//evil.example"), json!("https://"), json!("logo.png"),
                    json!("https://a\"onerror=x"), json!("https://a b"), json!(format!("/{}", long(2048)))]),
            ("ui.design_tokens.colors.text", vec![json!("#09afAF")],
                vec![json!(""), json!("red"), json!("#fff"), json!("#12345g"), json!("#1234567"), json!("123456"),
                    json!("#12345é")]),
            ("ui.design_tokens.colors.text_on_brand", vec![], vec![json!("x")]),
            ("ui.design_tokens.colors.danger", vec![], vec![json!("x")]),
            ("ui.design_tokens.colors.success", vec![], vec![json!("x")]),
            ("ui.design_tokens.colors.warning", vec![], vec![json!("x")]),
            ("ui.design_tokens.colors.video_bg", vec![], vec![json!("x")]),
            ("ui.design_tokens.colors.brand.500", vec![json!("#000000")], vec![json!("x")]),
            ("ui.design_tokens.colors.background.1000", vec![json!("#000000")], vec![json!("x")]),
            ("ui.design_tokens.colors.brand", vec![json!({}), shades(16)],
                vec![shades(17), json!({"bold": "#000000"}), json!({"": "#000000"}), json!({"10000": "#000000"})]),
            ("ui.design_tokens.colors.background", vec![json!({})], vec![shades(17)]),
        ];
        for (path, good, bad) in table {
            for value in good {
                assert_eq!(with(path, value.clone()).validate(), Ok(()), "{path} {value}");
            }
            for value in bad {
                let error = with(path, value.clone()).validate().unwrap_err();
                assert_eq!(error.field, path, "{value}: {error}");
                assert!(error.to_string().len() < 150, "a message does not repeat what was sent: {error}");
            }
        }
    }

    /// Every number and every text of a preset is judged: none may be whatever its sender likes.
    #[test]
    fn no_free_value_is_forgotten() {
        fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
            match value {
                Value::Object(object) => {
                    for (key, value) in object {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        leaves(&path, value, found);
                    }
                }
                Value::Number(_) => found.push((path.to_owned(), json!(u32::MAX))),
                Value::String(_) => found.push((path.to_owned(), json!("x".repeat(5000)))),
                _ => {}
            }
        }
        let mut found = Vec::new();
        leaves("", &video_host(), &mut found);
        // Permissions are booleans and words of a fixed set.
        found.retain(|(path, _)| !path.starts_with("permissions.") && path != "config.view_type");
        assert_eq!(found.len(), 29);
        for (path, value) in found {
            assert_eq!(with(&path, value).validate().unwrap_err().field, path);
        }
    }

    proptest! {
        #[test]
        fn a_valid_name_needs_no_escaping(name in any::<String>()) {
            let preset = with("name", json!(name));
            if preset.validate().is_ok() {
                prop_assert!(!name.is_empty() && name.len() <= 64);
                prop_assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')));
            }
        }
    }
}
