//! Texts that callers send: names, addresses, slugs.

use axum::http::Uri;

use super::error::ApiError;

/// Names of people, organizations and clients, characters.
pub(super) const MAX_NAME_LEN: usize = 200;
/// Longest address that mail can be sent to, RFC 5321.
const MAX_EMAIL_LEN: usize = 254;
const MAX_URL_LEN: usize = 2048;

/// The text without white space around it, if it is one line of 1 to `max` characters.
pub(super) fn line(field: &'static str, value: &str, max: usize) -> Result<String, ApiError> {
    one_line(value, max).map_err(|reason| ApiError::field(field, format!("{field} {reason}")))
}

/// As [`line`], for names of people and clients that do not come through the API. Or what such a name must be.
pub(crate) fn name(value: &str) -> Result<String, String> {
    one_line(value, MAX_NAME_LEN)
}

fn one_line(value: &str, max: usize) -> Result<String, String> {
    let value = value.trim();
    let len = value.chars().count();
    if len == 0 || len > max {
        return Err(format!("must have 1 to {max} characters"));
    }
    if value.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(value.to_owned())
}

/// The address in lower case, as it is kept; `None` if it cannot be one. Whether it is one only mail can tell.
pub(crate) fn email(value: &str) -> Option<String> {
    let value = value.trim();
    let (name, host) = value.split_once('@')?;
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '@')
    };
    (value.len() <= MAX_EMAIL_LEN && plain(name) && plain(host)).then(|| value.to_lowercase())
}

/// As [`email`], with the refusal of the API.
pub(super) fn email_field(value: &str) -> Result<String, ApiError> {
    email(value).ok_or_else(|| ApiError::field("email", "email must be an address such as zoe@example.org"))
}

/// A short name for links.
pub(super) fn slug(field: &'static str, value: &str) -> Result<String, ApiError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (3..=40).contains(&value.len()) && value.bytes().all(plain) && !value.starts_with('-') {
        return Ok(value.to_owned());
    }
    Err(ApiError::field(field, format!("{field} must be 3 to 40 of a-z, 0-9 and -, and not begin with -")))
}

/// The address of a picture.
pub(super) fn https_url(field: &'static str, value: &str) -> Result<String, ApiError> {
    let uri = value.parse::<Uri>().ok().filter(|_| value.len() <= MAX_URL_LEN);
    match uri.filter(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
        Some(_) => Ok(value.to_owned()),
        None => Err(ApiError::field(field, format!("{field} must be a URL that begins with https://"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_one_form() {
        assert_eq!(email("  Zoë.Miller@Example.ORG "), Some("zoë.miller@example.org".to_owned()));
        let long = format!("{}@example.org", "x".repeat(243));
        for bad in ["", "zoe", "@", "zoe@", "@example.org", "a@b@c", "zo e@example.org", "a\u{0}@b", &long] {
            assert_eq!(email(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(name("  Zoë \n"), Ok("Zoë".to_owned()));
        assert!(name(&"é".repeat(MAX_NAME_LEN)).is_ok());
        for bad in ["", " \t ", "a\nb", "a\u{1b}[31mb", &"é".repeat(MAX_NAME_LEN + 1)] {
            let reason = name(bad).expect_err("refused");
            assert!(reason.starts_with("must"), "{reason}");
            assert!(line("name", bad, MAX_NAME_LEN).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slugs_and_urls_are_plain() {
        assert!(slug("slug", "my-team-2").is_ok());
        for bad in ["ab", "My", "a b c", "-abc", "über", &"x".repeat(41)] {
            assert!(slug("slug", bad).is_err(), "{bad}");
        }
        assert!(https_url("avatar_url", "https://example.org/me.png?size=2").is_ok());
        for bad in ["http://example.org/", "javascript:alert(1)", "/me.png", "", "https://"] {
            assert!(https_url("avatar_url", bad).is_err(), "{bad}");
        }
    }
}
