//! Issuing and checking tokens.

use std::path::Path;

use darktower_core::access::ParticipantRole;
use darktower_protocol::{MeetingId, OrganizationId, ParticipantId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::private_file::{self, PrivateFileError};
use crate::storage::model::IssuedParticipant;

/// How long a participant may (re)join with one token.
pub const JOIN_TOKEN_LIFETIME: Duration = Duration::hours(24);
/// How long a machine client may work with one access token.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::seconds(3600);

const KEY_FILE: &str = "token-key.pem";
const ISSUER: &str = "darktower";
const JOIN_AUDIENCE: &str = "join";
const API_AUDIENCE: &str = "api";
/// Clocks of one deployment's machines differ by less; a longer leeway would only extend every token's life.
const LEEWAY_SECONDS: u64 = 5;
/// Ours are below 1 KiB (a name of 200 characters included). Longer input is refused before anything is decoded.
const MAX_TOKEN_LEN: usize = 4096;

/// What a join token says: who may join which meeting as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinClaims {
    /// The participant the token is for.
    pub participant_id: ParticipantId,
    /// The only meeting it opens.
    pub meeting_id: MeetingId,
    /// Name shown to the others.
    pub name: String,
    /// The organization of the meeting.
    pub organization_id: OrganizationId,
    /// What the participant is in the meeting.
    pub role: ParticipantRole,
    /// Name of the preset with its permissions.
    pub preset: String,
    /// The user behind the participant: one of ours, or as the application calls it.
    pub user_id: Option<String>,
    /// Whether the participant came without an account.
    pub is_guest: bool,
    /// When it was issued; whole seconds.
    pub issued_at: OffsetDateTime,
    /// When it ends; whole seconds.
    pub expires_at: OffsetDateTime,
    /// Differs between any two tokens.
    pub token_id: Uuid,
}

impl JoinClaims {
    /// Claims of a token for `participant` of a meeting of `organization_id`, that begins now and ends with the
    /// participant's right.
    #[must_use]
    pub fn of(participant: &IssuedParticipant, organization_id: OrganizationId) -> Self {
        Self {
            participant_id: participant.id,
            meeting_id: participant.meeting_id,
            organization_id,
            name: participant.name.clone(),
            role: participant.role,
            preset: participant.preset.clone(),
            user_id: participant.user_id.clone(),
            is_guest: participant.is_guest,
            issued_at: this_second(),
            expires_at: participant.expires_at.replace_nanosecond(0).unwrap_or(participant.expires_at),
            token_id: Uuid::new_v4(),
        }
    }
}

/// What an access token says: which machine client calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// The client that was authenticated.
    pub client_id: String,
    /// When it was issued; whole seconds.
    pub issued_at: OffsetDateTime,
    /// When it ends; whole seconds.
    pub expires_at: OffsetDateTime,
    /// Differs between any two tokens.
    pub token_id: Uuid,
}

impl AccessClaims {
    /// Claims of a token that begins now and lives [`ACCESS_TOKEN_LIFETIME`].
    #[must_use]
    pub fn new(client_id: String) -> Self {
        let issued_at = this_second();
        Self { client_id, issued_at, expires_at: issued_at + ACCESS_TOKEN_LIFETIME, token_id: Uuid::new_v4() }
    }
}

/// Why a token is refused. The message never contains any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It will be valid later.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Not signed by this deployment's key, or changed since.
    #[error("the token is not signed by this server")]
    WrongSignature,
    /// It is no token of this server's form: structure, algorithm, missing or mistyped claims.
    #[error("this is not a token of this server")]
    Malformed,
    /// A token of this server for another purpose.
    #[error("the token is for another purpose")]
    WrongAudience,
}

/// Why the signing key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenKeyError {
    /// The key file cannot be read or written.
    #[error("the token key file")]
    File(#[from] PrivateFileError),
    /// The key file holds no Ed25519 key, or a key could not be made.
    #[error("the token key")]
    Key(#[from] rcgen::Error),
}

/// Issues and checks the tokens of this deployment.
pub struct TokenService {
    key_id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    join: Validation,
    access: Validation,
}

impl TokenService {
    /// Opens the signing key in `data_dir`, or makes one (mode 0600) at the first start.
    ///
    /// # Errors
    /// [`TokenKeyError`]; also if the file may be read by other users.
    pub fn open(data_dir: &Path) -> Result<Self, TokenKeyError> {
        let path = data_dir.join(KEY_FILE);
        let key = match private_file::read(&path)? {
            Some(pem) => KeyPair::from_pem_and_sign_algo(&pem, &rcgen::PKCS_ED25519)?,
            None => {
                let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
                private_file::write(&path, &key.serialize_pem())?;
                key
            }
        };
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &KeyPair) -> Self {
        let public = key.public_key_raw();
        let validation = |audience| {
            let mut validation = Validation::new(Algorithm::EdDSA);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
            validation.set_issuer(&[ISSUER]);
            validation.set_audience(&[audience]);
            validation
        };
        Self {
            key_id: Sha256::digest(public).iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            signing: EncodingKey::from_ed_der(key.serialized_der()),
            verifying: DecodingKey::from_ed_der(public),
            join: validation(JOIN_AUDIENCE),
            access: validation(API_AUDIENCE),
        }
    }

    /// A token that lets its holder join one meeting.
    #[must_use]
    pub fn issue_join(&self, claims: &JoinClaims) -> String {
        self.sign(&JoinToken {
            iss: ISSUER.to_owned(),
            aud: JOIN_AUDIENCE.to_owned(),
            sub: claims.participant_id.to_string(),
            meeting_id: claims.meeting_id.to_string(),
            name: claims.name.clone(),
            organization_id: claims.organization_id.to_string(),
            role: claims.role,
            preset: claims.preset.clone(),
            user_id: claims.user_id.clone(),
            guest: claims.is_guest,
            iat: seconds(claims.issued_at),
            nbf: seconds(claims.issued_at),
            exp: seconds(claims.expires_at),
            jti: claims.token_id,
        })
    }

    /// What a join token says, if this server issued it and it is valid now.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_join(&self, token: &str) -> Result<JoinClaims, TokenError> {
        let claims: JoinToken = self.verify(token, &self.join)?;
        Ok(JoinClaims {
            participant_id: claims.sub.parse().map_err(|_| TokenError::Malformed)?,
            meeting_id: claims.meeting_id.parse().map_err(|_| TokenError::Malformed)?,
            name: claims.name,
            organization_id: claims.organization_id.parse().map_err(|_| TokenError::Malformed)?,
            role: claims.role,
            preset: claims.preset,
            user_id: claims.user_id,
            is_guest: claims.guest,
            issued_at: moment(claims.iat)?,
            expires_at: moment(claims.exp)?,
            token_id: claims.jti,
        })
    }

    /// A token with which a machine client calls the API.
    #[must_use]
    pub fn issue_access(&self, claims: &AccessClaims) -> String {
        self.sign(&AccessToken {
            iss: ISSUER.to_owned(),
            aud: API_AUDIENCE.to_owned(),
            sub: claims.client_id.clone(),
            iat: seconds(claims.issued_at),
            nbf: seconds(claims.issued_at),
            exp: seconds(claims.expires_at),
            jti: claims.token_id,
        })
    }

    /// What an access token says, if this server issued it and it is valid now.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_access(&self, token: &str) -> Result<AccessClaims, TokenError> {
        let claims: AccessToken = self.verify(token, &self.access)?;
        Ok(AccessClaims {
            client_id: claims.sub,
            issued_at: moment(claims.iat)?,
            expires_at: moment(claims.exp)?,
            token_id: claims.jti,
        })
    }

    fn sign(&self, claims: &impl Serialize) -> String {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signing)
            .expect("the key was checked when it was opened and the claims are plain data")
    }

    fn verify<T: DeserializeOwned>(&self, token: &str, validation: &Validation) -> Result<T, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed);
        }
        // The header chooses nothing: the algorithm is fixed in `validation`, the key id is only compared.
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Malformed);
        }
        if header.kid.as_deref() != Some(self.key_id.as_str()) {
            return Err(TokenError::WrongSignature);
        }
        // In two steps, because the library reads all claims before it checks any: a token for another purpose has
        // other claims, and should be told so instead of "malformed".
        jsonwebtoken::decode::<AnyClaims>(token, &self.verifying, validation).map_err(|error| match error
            .kind()
        {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::ImmatureSignature => TokenError::NotYetValid,
            ErrorKind::InvalidSignature => TokenError::WrongSignature,
            ErrorKind::InvalidAudience => TokenError::WrongAudience,
            _ => TokenError::Malformed,
        })?;
        // "Insecure" only without the step above.
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Malformed)
    }
}

impl std::fmt::Debug for TokenService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenService").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// An object of any claims.
#[derive(Deserialize)]
struct AnyClaims {}

/// The claims of a join token as they are written. Every field is required and typed except `user_id`.
#[derive(Serialize, Deserialize)]
struct JoinToken {
    iss: String,
    aud: String,
    sub: String,
    meeting_id: String,
    organization_id: String,
    name: String,
    role: ParticipantRole,
    preset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    guest: bool,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// The claims of an access token as they are written.
#[derive(Serialize, Deserialize)]
struct AccessToken {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

fn this_second() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

fn seconds(time: OffsetDateTime) -> i64 {
    time.unix_timestamp()
}

fn moment(seconds: i64) -> Result<OffsetDateTime, TokenError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn service() -> (KeyPair, TokenService) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let service = TokenService::from_key(&key);
        (key, service)
    }

    fn claims() -> JoinClaims {
        let participant = IssuedParticipant {
            id: ParticipantId::generate(),
            meeting_id: MeetingId::generate(),
            name: "Zoë 🎥".to_owned(),
            role: ParticipantRole::Host,
            preset: "video_host".to_owned(),
            user_id: Some("u-1".to_owned()),
            is_guest: false,
            issued_by: None,
            created_at: this_second(),
            expires_at: this_second() + JOIN_TOKEN_LIFETIME,
            revoked_at: None,
        };
        JoinClaims::of(&participant, OrganizationId::generate())
    }

    fn valid_json() -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        json!({
            "iss": "darktower", "aud": "join", "sub": Uuid::now_v7(), "meeting_id": Uuid::now_v7(),
            "organization_id": Uuid::now_v7(), "name": "Zoë", "role": "participant", "preset": "video_participant",
            "guest": false, "iat": now, "nbf": now, "exp": now + 60, "jti": Uuid::new_v4(),
        })
    }

    fn with(key: &str, value: impl Into<Value>) -> Value {
        let mut claims = valid_json();
        claims[key] = value.into();
        claims
    }

    fn encode_part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn issued_tokens_are_accepted_for_their_purpose_only() {
        let (_, service) = service();
        let join = claims();
        let token = service.issue_join(&join);
        assert_eq!(service.verify_join(&token), Ok(join));
        assert_eq!(service.verify_access(&token), Err(TokenError::WrongAudience));

        let access = AccessClaims::new("backend".to_owned());
        let token = service.issue_access(&access);
        assert_eq!(service.verify_access(&token), Ok(access));
        assert_eq!(service.verify_join(&token), Err(TokenError::WrongAudience));
    }

    #[test]
    fn the_key_survives_restarts_and_is_private() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = TokenService::open(folder.path()).expect("made").issue_join(&claims());
        assert!(TokenService::open(folder.path()).expect("opened").verify_join(&token).is_ok());

        let path = folder.path().join(KEY_FILE);
        std::fs::write(&path, "no key").expect("own file");
        assert!(matches!(TokenService::open(folder.path()), Err(TokenKeyError::Key(_))));
    }

    #[test]
    fn hostile_claims_are_refused() {
        let (key, service) = service();
        let sign = |claims: &Value| {
            let header = Header { kid: Some(service.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
            jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(key.serialized_der()))
                .expect("signed")
        };
        assert!(
            service.verify_join(&sign(&valid_json())).is_ok(),
            "the table below starts from a valid token"
        );

        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut table = vec![
            ("expired beyond the leeway", with("exp", now - 10), TokenError::Expired),
            ("valid later", with("nbf", now + 60), TokenError::NotYetValid),
            ("for the API", with("aud", "api"), TokenError::WrongAudience),
            ("for nobody", with("aud", json!([])), TokenError::WrongAudience),
            ("for several", with("aud", json!(["join", "api"])), TokenError::Malformed),
            ("of another issuer", with("iss", "elsewhere"), TokenError::Malformed),
            ("exp as text", with("exp", "9999999999"), TokenError::Malformed),
            ("exp as fraction", with("exp", 9_999_999_999.5), TokenError::Malformed),
            ("exp out of range", with("exp", i64::MAX), TokenError::Malformed),
            ("exp negative", with("exp", -1), TokenError::Malformed),
            ("exp as object", with("exp", json!({})), TokenError::Malformed),
            ("nbf as text", with("nbf", "0"), TokenError::Malformed),
            ("nbf null", with("nbf", Value::Null), TokenError::Malformed),
            ("unknown role", with("role", "admin"), TokenError::Malformed),
            ("role in capitals", with("role", "HOST"), TokenError::Malformed),
            ("sub is no id", with("sub", "me"), TokenError::Malformed),
            ("meeting is a path", with("meeting_id", "../../etc"), TokenError::Malformed),
            ("name is a list", with("name", json!(["a"])), TokenError::Malformed),
            ("not an object", json!([1, 2]), TokenError::Malformed),
        ];
        let claims = valid_json();
        for name in ["iss", "aud", "sub", "meeting_id", "name", "role", "iat", "nbf", "exp", "jti"] {
            let mut claims = claims.clone();
            claims.as_object_mut().expect("an object").remove(name);
            table.push((name, claims, TokenError::Malformed));
        }
        for (what, claims, expected) in table {
            assert_eq!(service.verify_join(&sign(&claims)), Err(expected), "{what}");
        }
    }

    #[test]
    fn hostile_headers_and_signatures_are_refused() {
        let (key, service) = service();
        let (foreign_key, _) = self::service();
        let kid = service.key_id.clone();
        let payload = encode_part(&valid_json());
        let unsigned = |header: Value| format!("{}.{payload}.", encode_part(&header));
        let resigned = |header: Header, key: &EncodingKey| jsonwebtoken::encode(&header, &valid_json(), key);
        let header =
            |kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
        let own = EncodingKey::from_ed_der(key.serialized_der());
        let foreign = EncodingKey::from_ed_der(foreign_key.serialized_der());
        let hs256 = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        let by = |secret: &[u8]| resigned(hs256.clone(), &EncodingKey::from_secret(secret)).expect("signed");

        let valid = service.issue_join(&claims());
        let (head, rest) = valid.split_once('.').expect("three parts");
        let (body, signature) = rest.split_once('.').expect("three parts");
        // A duplicate claim: the first says participant, the second host.
        let doubled = valid_json().to_string().replacen('{', "{\"role\":\"host\",", 1);
        let doubled = {
            let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(doubled));
            let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(key.serialized_der()).expect("a key");
            let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()).as_ref());
            format!("{message}.{signature}")
        };

        use TokenError::{Malformed, WrongSignature};
        let table = [
            ("alg none", unsigned(json!({"alg": "none", "typ": "JWT", "kid": kid})), Malformed),
            ("alg None", unsigned(json!({"alg": "None", "kid": kid})), Malformed),
            ("no alg", unsigned(json!({"kid": kid})), Malformed),
            ("EdDSA without signature", unsigned(json!({"alg": "EdDSA", "kid": kid})), WrongSignature),
            ("HS256 with the public key", by(key.public_key_raw()), Malformed),
            ("HS256 with the public key, PEM", by(key.public_key_pem().as_bytes()), Malformed),
            ("HS256 with nothing", by(b""), Malformed),
            ("a foreign key", resigned(header(Some(&kid)), &foreign).expect("signed"), WrongSignature),
            ("no key id", resigned(header(None), &own).expect("signed"), WrongSignature),
            (
                "a path as key id",
                resigned(header(Some("../../dev/null")), &own).expect("signed"),
                WrongSignature,
            ),
            ("SQL as key id", resigned(header(Some("' OR 1=1 --")), &own).expect("signed"), WrongSignature),
            ("another claim set", format!("{head}.{payload}.{signature}"), WrongSignature),
            ("a cut signature", format!("{head}.{body}.{}", &signature[..20]), WrongSignature),
            ("duplicate claims", doubled, Malformed),
            ("two parts", format!("{head}.{body}"), Malformed),
            ("four parts", format!("{valid}.x"), Malformed),
            ("nothing", String::new(), Malformed),
            ("dots", "..".to_owned(), Malformed),
            ("garbage", "\u{0}\u{ff}💣.a.b".to_owned(), Malformed),
            ("too long", format!("{valid}{}", "A".repeat(MAX_TOKEN_LEN)), Malformed),
        ];
        for (what, token, expected) in table {
            let error = service.verify_join(&token).expect_err(what);
            assert_eq!(error, expected, "{what}");
            let message = error.to_string();
            assert!(token.is_empty() || token == ".." || !message.contains(&token), "{what}");
        }
    }

    #[test]
    fn a_header_that_brings_its_own_key_changes_nothing() {
        let (_, service) = service();
        let (foreign_key, _) = self::service();
        let header = json!({
            "alg": "EdDSA", "kid": service.key_id, "jku": "https://attacker.example/keys",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(foreign_key.public_key_raw())},
        });
        let message = format!("{}.{}", encode_part(&header), encode_part(&valid_json()));
        let pair =
            aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(foreign_key.serialized_der()).expect("a key");
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()).as_ref()));
        assert_eq!(service.verify_join(&token), Err(TokenError::WrongSignature));
    }
}
