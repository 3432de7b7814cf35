//! Enumerations whose variants have fixed names in API, tokens and storage.

/// A value that is written by name.
pub trait Named: Copy + Sized + 'static {
    /// What the name names, for messages: `role`.
    const WHAT: &'static str;
    /// Every value, in the order of declaration.
    const ALL: &'static [Self];

    /// The name used in API, tokens and storage.
    fn as_str(self) -> &'static str;
}

/// A text that names no value of a [`Named`] type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what}")]
pub struct UnknownName {
    /// What was to be named.
    pub what: &'static str,
}

/// The names with what they mean, for the OpenAPI document.
#[cfg(feature = "schema")]
pub(crate) fn schema(
    doc: &str,
    names: &[&str],
    docs: &[&str],
) -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    let meanings = names.iter().zip(docs).map(|(name, doc)| format!("- `{name}`: {}", doc.trim()));
    let description = format!("{}\n\n{}", doc.trim(), meanings.collect::<Vec<_>>().join("\n"));
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(names.iter().copied()))
        .description(Some(description))
        .into()
}

/// Declares an enumeration with a name for each variant, and everything that follows from the names.
macro_rules! named {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident ($what:literal) {
            $($(#[doc = $variant_doc:literal])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $crate::named::Named for $name {
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::named::schema(concat!($($doc),*), &[$($text),+], &[$(concat!($($variant_doc),*)),+])
            }
        }

        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::named::Named::as_str(*self))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::named::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::named::UnknownName { what: $what }),
                }
            }
        }
    };
}

pub(crate) use named;
