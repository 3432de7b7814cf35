//! The name a guest gives itself: section 6.8 of the platform's design, "display name validation".
//!
//! Nobody vouches for it, everybody reads it. So what cannot be seen is taken out (control, direction and zero-width
//! characters; zero-width joiners too, though some emoji fall apart without them), HTML tags are taken out, and names that
//! pass for staff or carry a link are refused. Names that are alike but not equal are not compared here: clients show who is
//! a host from the token, never from the name.

/// Characters that a name has at least.
const MIN_CHARS: usize = 2;
/// Characters that a name has at most.
const MAX_CHARS: usize = 50;
/// Bytes that are looked at: far more than a name of [`MAX_CHARS`] with markup needs, and a bound on the work.
const MAX_RAW_LEN: usize = 1024;
/// Accents and the like on one character. Living scripts need two; more is there to cover the lines around it.
const MAX_MARKS: usize = 2;

/// Words that a guest's name must not have, as [`folded`] writes them: those that pass for somebody with power over the
/// meeting or the server. Whole words only: a Hostetler may come. To be extended with care, for real names are refused too.
const STAFF: [&str; 9] =
    ["admin", "administrator", "cohost", "host", "moderator", "staff", "support", "sysadmin", "system"];

/// A name that a guest cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing, or a single character, is left of it.
    #[error("a name must have at least {MIN_CHARS} characters that can be seen")]
    TooShort,
    /// More than 50 characters, or far too much around them.
    #[error("a name must not have more than {MAX_CHARS} characters")]
    TooLong,
    /// It says that its owner is staff.
    #[error("a guest's name must not look like that of an administrator, a host or the system")]
    PassesForStaff,
    /// It has an address to visit.
    #[error("a name must not have a link in it")]
    Link,
}

/// The name as others will see it: without tags and invisible characters, spaces single, of 2 to 50
/// characters. Applied to its own result, it changes nothing.
///
/// # Errors
/// [`BadName`] tells what is wrong with what is left.
pub fn guest_name(raw: &str) -> Result<String, BadName> {
    if raw.len() > MAX_RAW_LEN {
        return Err(BadName::TooLong);
    }
    let mut name = visible(raw);
    // Taking a tag out may make one of what stood around it.
    while let Some(shorter) = without_tags(&name) {
        name = visible(&shorter);
    }
    let chars = name.chars().count();
    if chars < MIN_CHARS {
        return Err(BadName::TooShort);
    }
    if chars > MAX_CHARS {
        return Err(BadName::TooLong);
    }
    let lowercase = name.to_lowercase();
    if lowercase.contains("://") || lowercase.contains("www.") {
        return Err(BadName::Link);
    }
    if passes_for_staff(&name) {
        return Err(BadName::PassesForStaff);
    }
    Ok(name)
}

/// `text` without what cannot be seen and without piled-up marks, its white space single and inside only.
fn visible(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        if c.is_whitespace() {
            if !seen.is_empty() && !seen.ends_with(' ') {
                seen.push(' ');
            }
            marks = 0;
        } else if is_mark(c) {
            // One with nothing to stand on would change what comes before the name.
            if marks < MAX_MARKS && !seen.is_empty() && !seen.ends_with(' ') {
                seen.push(c);
            }
            marks += 1;
        } else if !c.is_control() && !is_invisible(c) {
            seen.push(c);
            marks = 0;
        }
    }
    seen.truncate(seen.trim_end().len());
    seen
}

/// Direction marks, joiners, fillers, variation selectors, tags and other characters without a shape of their own.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        // Private use, and what is not a character at all.
        | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}'..='\u{ffff}' | '\u{f0000}'..='\u{10ffff}')
}

/// The blocks of marks that go on any character.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// `text` without its HTML tags and comments; `None` if it has none. A tag that is not closed goes on to the end.
fn without_tags(text: &str) -> Option<String> {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        // "I <3 Rust" has none.
        if after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            let (_, behind) = after.split_once('>').unwrap_or_default();
            rest = behind;
        } else {
            kept.push('<');
            rest = after;
        }
    }
    kept.push_str(rest);
    (kept.len() < text.len()).then_some(kept)
}

/// Whether a word of `name`, or all of it ("a.d.m.i.n"), reads as one of [`STAFF`], also with numbers and signs at its ends.
fn passes_for_staff(name: &str) -> bool {
    let words = || name.split(|c: char| !(c.is_alphanumeric() || is_mark(c) || is_letter_like(c)));
    // Letters set apart make one word with their neighbours: "a d m i n Bob".
    let mut spelled = String::new();
    for word in words().filter(|word| !word.is_empty()) {
        if is_staff(word) {
            return true;
        }
        if word.chars().filter(|c| !is_mark(*c)).count() > 1 {
            spelled.clear();
            continue;
        }
        spelled.push_str(word);
        if is_staff(&spelled) {
            return true;
        }
    }
    is_staff(&words().collect::<String>())
}

fn is_staff(word: &str) -> bool {
    // A digit or sign at an end is a letter ("$ystem") or is not ("host!", "admin2").
    let is_either = |c: char| c.is_ascii_digit() || is_letter_like(c);
    let trimmed = word.trim_end_matches(is_either);
    [word, trimmed, word.trim_start_matches(is_either), trimmed.trim_start_matches(is_either)].iter().any(
        |word| {
            let word = folded(word);
            let singular = word.strip_suffix('s').unwrap_or(&word);
            // "rn" reads as "m".
            [&word, singular]
                .iter()
                .any(|word| STAFF.contains(word) || STAFF.contains(&&*word.replace("rn", "m")))
        },
    )
}

/// Signs that stand for letters.
fn is_letter_like(c: char) -> bool {
    matches!(c, '@' | '$' | '!' | '|' | '€')
}

/// `word` in small Latin letters, each look-alike as the letter it looks like: digits and signs, accented letters, the
/// commonest Cyrillic and Greek ones, full-width forms. `l` reads as `i`, which no word of [`STAFF`] minds.
fn folded(word: &str) -> String {
    // Before they are made small: the small ones look like other letters.
    let capital = |c: char| match c {
        'Η' => 'h',
        'Μ' => 'm',
        'Ν' => 'n',
        'Υ' => 'y',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    };
    word.chars()
        .map(capital)
        .flat_map(char::to_lowercase)
        .filter(|c| !is_mark(*c))
        .map(|c| match c {
            '0' | 'о' | 'ο' | 'ò'..='ö' | 'ø' | 'ō' | 'ő' | 'օ' => 'o',
            '1' | '!' | '|' | 'l' | 'і' | 'ӏ' | 'ι' | 'ì'..='ï' | 'ı' | 'ī' | 'ł' => 'i',
            '3' | '€' | 'е' | 'ε' | 'è'..='ë' | 'ē' | 'ę' | 'ě' => 'e',
            '4' | '@' | 'а' | 'α' | 'à'..='å' | 'ā' | 'ą' => 'a',
            '5' | '$' | 'ѕ' | 'ś' | 'ş' | 'š' | 'ș' => 's',
            '7' | 'т' | 'τ' | 'ţ' | 'ť' | 'ț' => 't',
            'ν' | 'ѵ' => 'v',
            'ԁ' | 'ď' | 'đ' => 'd',
            'м' => 'm',
            'п' | 'ñ' | 'ń' | 'ň' | 'η' => 'n',
            'н' | 'һ' | 'ħ' => 'h',
            'р' | 'ρ' => 'p',
            'г' | 'ř' => 'r',
            'с' | 'ç' | 'ć' | 'č' => 'c',
            'у' | 'γ' | 'ý' | 'ÿ' => 'y',
            'υ' | 'ù'..='ü' | 'ū' | 'ů' => 'u',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use BadName::{Link, PassesForStaff, TooLong, TooShort};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_kept_cleaned_or_refused() {
        let fifty = "é".repeat(50);
        let long = "é".repeat(51);
        let bold = format!("<b>{fifty}</b>");
        let huge = "<i>".repeat(400);
        #[rustfmt::skip]
        let table: &[(&str, Result<&str, BadName>)] = &[
            // As they are.
            ("Zoë", Ok("Zoë")), ("Bo", Ok("Bo")), ("李雷", Ok("李雷")), ("Нина Симонова", Ok("Нина Симонова")),
            ("محمد علي", Ok("محمد علي")), ("O'Brien-Smith, Jr.", Ok("O'Brien-Smith, Jr.")), ("🐱🐶", Ok("🐱🐶")),
            ("Nguyễn Văn A", Ok("Nguyễn Văn A")), ("I <3 Rust", Ok("I <3 Rust")), ("a < b > c", Ok("a < b > c")),
            ("Tom & Ann", Ok("Tom & Ann")), (&fifty, Ok(&fifty)),
            // Spaces.
            ("  Ann \t\n Lee  ", Ok("Ann Lee")), ("Ann\u{a0}\u{3000}Lee", Ok("Ann Lee")), ("A\r\nB", Ok("A B")),
            // What cannot be seen.
            ("An\u{200b}n\u{feff}", Ok("Ann")), ("\u{202e}nnA\u{202c}", Ok("nnA")), ("A\u{0}n\u{7f}n\u{9f}", Ok("Ann")),
            ("\u{2066}Ann\u{2069}", Ok("Ann")), ("Ann\u{e0041}", Ok("Ann")), ("Z\u{ad}oe", Ok("Zoe")),
            ("Z\u{301}\u{302}\u{303}\u{304}\u{305}oe", Ok("Z\u{301}\u{302}oe")), ("\u{301}Zoe", Ok("Zoe")),
            // Tags.
            ("<b>Ann</b>", Ok("Ann")), ("<script>Ann</script>", Ok("Ann")), ("Ann<br/>Lee", Ok("AnnLee")),
            ("Ann <img src=x onerror=alert(1)>", Ok("Ann")), ("Ann <img src=x", Ok("Ann")), ("An<!-- x -->n", Ok("Ann")),
            ("<<b>script>Ann", Ok("Ann")), ("<\u{200b}b>Ann", Ok("Ann")), ("<scr<b></b>ipt>Ann", Ok("ipt>Ann")),
            (&bold, Ok(&fifty)),
            // Lengths.
            ("", Err(TooShort)), (" ", Err(TooShort)), ("A", Err(TooShort)), (" A ", Err(TooShort)),
            ("\u{200b}\u{200b}\u{200b}", Err(TooShort)), ("\u{3164}\u{2800}", Err(TooShort)), ("<b></b>", Err(TooShort)),
            ("<script", Err(TooShort)), (&long, Err(TooLong)), (&huge, Err(TooLong)),
            // Links.
            ("see https://example.org", Err(Link)), ("WWW.example.org", Err(Link)), ("h<b>ttp://x", Err(Link)),
            // Staff.
            ("admin", Err(PassesForStaff)), ("ADMIN", Err(PassesForStaff)), ("Admin Bob", Err(PassesForStaff)),
            ("Bob (Host)", Err(PassesForStaff)), ("co-host", Err(PassesForStaff)), ("Administrator", Err(PassesForStaff)),
            ("The Moderators", Err(PassesForStaff)), ("system", Err(PassesForStaff)), ("admin_2", Err(PassesForStaff)),
            ("Admin123", Err(PassesForStaff)), ("4dm1n", Err(PassesForStaff)), ("H0ST", Err(PassesForStaff)),
            ("5y5t3m", Err(PassesForStaff)), ("m0d3r4t0r", Err(PassesForStaff)), ("@dm!n", Err(PassesForStaff)),
            ("$ystem", Err(PassesForStaff)), ("AdmIn", Err(PassesForStaff)), ("Admln", Err(PassesForStaff)),
            ("adrnin", Err(PassesForStaff)), ("аdmіn", Err(PassesForStaff)), ("Ηοst", Err(PassesForStaff)),
            ("ádmin", Err(PassesForStaff)), ("a\u{301}dmin", Err(PassesForStaff)), ("ａｄｍｉｎ", Err(PassesForStaff)),
            ("a d m i n", Err(PassesForStaff)), ("a.d.m.i.n", Err(PassesForStaff)), ("ad-min", Err(PassesForStaff)),
            ("h o s t Bob", Err(PassesForStaff)), ("ad\u{200b}min", Err(PassesForStaff)),
            ("<b>ad</b>min", Err(PassesForStaff)), ("Host!", Err(PassesForStaff)), ("@host", Err(PassesForStaff)),
            ("!!host!!", Err(PassesForStaff)), ("1host", Err(PassesForStaff)), ("$ystem1", Err(PassesForStaff)),
            // Near them, and real.
            ("Hostetler", Ok("Hostetler")), ("Badmington", Ok("Badmington")), ("Ecosystem Ed", Ok("Ecosystem Ed")),
            ("Bernhard", Ok("Bernhard")), ("Ghost", Ok("Ghost")), ("Modesta", Ok("Modesta")), ("Stafford", Ok("Stafford")),
        ];
        for (raw, expected) in table {
            assert_eq!(guest_name(raw).as_deref(), expected.as_ref().map(|name| *name), "{raw:?}");
        }
        assert!(table.len() >= 60);
    }

    #[test]
    fn staff_words_are_written_as_names_are_folded() {
        for word in STAFF {
            assert_eq!(folded(word), word, "would never be found");
        }
    }

    /// Text with much of what the rule is about in it.
    fn troublesome() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                "<", ">", "<b>", "</", "<!--", "\u{200b}", "\u{301}", " ", "admin", "1", "é"
            ])
            .prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_clean_and_stays_as_it_is(raw in troublesome()) {
            if let Ok(name) = guest_name(&raw) {
                prop_assert!((MIN_CHARS..=MAX_CHARS).contains(&name.chars().count()));
                prop_assert!(!name.chars().any(|c| c.is_control() || is_invisible(c)));
                prop_assert!(without_tags(&name).is_none());
                prop_assert!(!name.contains("  ") && name.trim() == name);
                prop_assert_eq!(guest_name(&name), Ok(name));
            }
        }

        #[test]
        fn no_input_is_too_much(raw in any::<String>(), copies in 1_usize..2000) {
            let _ = guest_name(&raw.repeat(copies));
        }
    }
}
