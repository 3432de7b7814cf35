//! Issuing and checking tokens.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use darktower_core::access::ParticipantRole;
use darktower_protocol::{MeetingId, OrganizationId, ParticipantId, UserId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
#[cfg(test)]
use rcgen::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::keys::{KeyRing, TokenKeyError};
use super::recent::Recent;
use crate::storage::model::IssuedParticipant;

/// How long a participant may (re)join with one token.
pub const JOIN_TOKEN_LIFETIME: Duration = Duration::hours(24);
const ISSUER: &str = "darktower";
const JOIN_AUDIENCE: &str = "join";
const API_AUDIENCE: &str = "api";
/// Clocks of one deployment's machines differ by less; a longer leeway would only extend every token's life.
const LEEWAY_SECONDS: u64 = 5;
/// Ours are below 1 KiB (a name of 200 characters included). Longer input is refused before anything is decoded.
const MAX_TOKEN_LEN: usize = 4096;
/// Access tokens that are not verified a second time: twice as many at most, about 300 bytes each.
const REMEMBERED_TOKENS: usize = 4096;

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

/// Who was authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, and the login its token comes from.
    User {
        /// Which user.
        id: UserId,
        /// Family of its refresh tokens.
        login: Uuid,
    },
    /// A machine client, by its id.
    Client(String),
}

/// What an access token says: who calls the API. What the caller may do is not in it: that is looked up when it is used, so
/// that a change counts at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// Who was authenticated.
    pub subject: Subject,
    /// The organization it belonged to.
    pub organization_id: OrganizationId,
    /// When it was issued; whole seconds.
    pub issued_at: OffsetDateTime,
    /// When it ends; whole seconds.
    pub expires_at: OffsetDateTime,
    /// Differs between any two tokens.
    pub token_id: Uuid,
}

impl AccessClaims {
    /// Claims of a token that begins now.
    #[must_use]
    pub fn new(subject: Subject, organization_id: OrganizationId, lifetime: Duration) -> Self {
        let issued_at = this_second();
        Self {
            subject,
            organization_id,
            issued_at,
            expires_at: issued_at + lifetime,
            token_id: Uuid::new_v4(),
        }
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

/// Issues and checks the tokens of this deployment.
pub struct TokenService {
    keys: KeyRing,
    join: Validation,
    access: Validation,
    /// By SHA-256 of the token: an access token comes with every request, and its signature stays right.
    verified: Recent<[u8; 32], Arc<Verified>>,
}

/// An access token that was verified.
struct Verified {
    claims: AccessClaims,
    key_id: String,
}

impl TokenService {
    /// Opens the signing keys in `data_dir`, or makes one (mode 0600) at the first start.
    ///
    /// # Errors
    /// [`TokenKeyError`]; also if a file may be read by other users.
    pub fn open(data_dir: &Path) -> Result<Self, TokenKeyError> {
        Ok(Self::with_keys(KeyRing::open(data_dir)?))
    }

    fn with_keys(keys: KeyRing) -> Self {
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
            keys,
            join: validation(JOIN_AUDIENCE),
            access: validation(API_AUDIENCE),
            verified: Recent::new(REMEMBERED_TOKENS),
        }
    }

    #[cfg(test)]
    fn from_key(key: &KeyPair) -> Self {
        Self::with_keys(KeyRing::of(key))
    }

    /// The keys, to keep them up to date.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The public keys by key id, for whoever checks tokens elsewhere: a JSON Web Key Set (RFC 7517, RFC 8037).
    #[must_use]
    pub fn key_set(&self) -> serde_json::Value {
        let keys = self.keys.all();
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                serde_json::json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id,
                    "x": URL_SAFE_NO_PAD.encode(&key.public),
                })
            })
            .collect();
        serde_json::json!({ "keys": keys })
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
        let (claims, _) = self.verify::<JoinToken>(token, &self.join)?;
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

    /// A token with which a user or a machine client calls the API.
    #[must_use]
    pub fn issue_access(&self, claims: &AccessClaims) -> String {
        let (kind, sub, sid) = match &claims.subject {
            Subject::User { id, login } => (SubjectKind::User, id.to_string(), Some(*login)),
            Subject::Client(id) => (SubjectKind::Client, id.clone(), None),
        };
        self.sign(&AccessToken {
            iss: ISSUER.to_owned(),
            aud: API_AUDIENCE.to_owned(),
            sub,
            kind,
            org: claims.organization_id.to_string(),
            sid,
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
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&digest)
            && self.keys.has(&known.key_id)
        {
            let leeway = Duration::seconds(LEEWAY_SECONDS.cast_signed());
            return match known.claims.expires_at + leeway < OffsetDateTime::now_utc() {
                true => Err(TokenError::Expired),
                false => Ok(known.claims.clone()),
            };
        }
        let (claims, key_id) = self.verify::<AccessToken>(token, &self.access)?;
        let subject = match (claims.kind, claims.sid) {
            (SubjectKind::User, Some(login)) => {
                Subject::User { id: claims.sub.parse().map_err(|_| TokenError::Malformed)?, login }
            }
            (SubjectKind::Client, None) => Subject::Client(claims.sub),
            _ => return Err(TokenError::Malformed),
        };
        let claims = AccessClaims {
            subject,
            organization_id: claims.org.parse().map_err(|_| TokenError::Malformed)?,
            issued_at: moment(claims.iat)?,
            expires_at: moment(claims.exp)?,
            token_id: claims.jti,
        };
        self.verified.insert(digest, Arc::new(Verified { claims: claims.clone(), key_id }));
        Ok(claims)
    }

    fn sign(&self, claims: &impl Serialize) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are plain data");
        self.keys.signer(OffsetDateTime::now_utc()).sign(&claims)
    }

    /// The claims, and the id of the key that signed them.
    fn verify<T: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<(T, String), TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed);
        }
        // The header chooses only among our keys: the algorithm is fixed in `validation`.
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Malformed);
        }
        let key_id = header.kid.ok_or(TokenError::WrongSignature)?;
        let key = self.keys.verifier(&key_id).ok_or(TokenError::WrongSignature)?;
        // In two steps, because the library reads all claims before it checks any: a token for another purpose has
        // other claims, and should be told so instead of "malformed".
        jsonwebtoken::decode::<AnyClaims>(token, &key.verifying, validation).map_err(|error| match error
            .kind()
        {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::ImmatureSignature => TokenError::NotYetValid,
            ErrorKind::InvalidSignature => TokenError::WrongSignature,
            ErrorKind::InvalidAudience => TokenError::WrongAudience,
            _ => TokenError::Malformed,
        })?;
        // "Insecure" only without the step above.
        let claims =
            jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Malformed)?;
        Ok((claims, key_id))
    }
}

impl std::fmt::Debug for TokenService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenService").field("keys", &self.keys).finish_non_exhaustive()
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
    kind: SubjectKind,
    org: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// What the subject of an access token is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SubjectKind {
    User,
    Client,
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
    use jsonwebtoken::{EncodingKey, Header};
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

        let user = Subject::User { id: UserId::generate(), login: Uuid::new_v4() };
        for subject in [user, Subject::Client("backend".to_owned())] {
            let access = AccessClaims::new(subject, OrganizationId::generate(), Duration::minutes(15));
            let token = service.issue_access(&access);
            for time in ["first", "second, from memory"] {
                assert_eq!(service.verify_access(&token), Ok(access.clone()), "{time}");
            }
            assert_eq!(service.verify_join(&token), Err(TokenError::WrongAudience));
        }
    }

    #[test]
    fn access_tokens_that_were_verified_still_end_and_go_with_their_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = TokenService::open(folder.path()).expect("opened");
        let issue = |service: &TokenService, lifetime| {
            let subject = Subject::Client("backend".to_owned());
            service.issue_access(&AccessClaims::new(subject, OrganizationId::generate(), lifetime))
        };
        let token = issue(&service, Duration::hours(1));
        let claims = service.verify_access(&token).expect("valid");
        // As if an hour had passed.
        let digest: [u8; 32] = Sha256::digest(&token).into();
        let key_id = service.keys.all()[0].id.clone();
        let ended = AccessClaims { expires_at: this_second() - Duration::seconds(6), ..claims.clone() };
        service.verified.insert(digest, Arc::new(Verified { claims: ended, key_id: key_id.clone() }));
        assert_eq!(service.verify_access(&token), Err(TokenError::Expired));

        // A key that was withdrawn takes its tokens with it, also those that were verified before.
        service.verified.insert(digest, Arc::new(Verified { claims, key_id }));
        assert!(service.verify_access(&token).is_ok());
        let other = service.keys.rotate().expect("rotated");
        let keys = folder.path().join("token-keys");
        for entry in std::fs::read_dir(&keys).expect("listed") {
            let path = entry.expect("listed").path();
            if !path.to_string_lossy().contains(&other) {
                std::fs::remove_file(path).expect("withdrawn");
            }
        }
        service.keys.keep_up(None).expect("read");
        assert_eq!(service.verify_access(&token), Err(TokenError::WrongSignature));
        assert!(service.verify_access(&issue(&service, Duration::hours(1))).is_ok());
    }

    #[test]
    fn rotation_keeps_the_tokens_of_the_old_key_valid_and_publishes_both() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = TokenService::open(folder.path()).expect("opened");
        let old = service.issue_join(&claims());
        let next = service.keys.rotate().expect("rotated");
        assert!(service.verify_join(&old).is_ok());
        let set = service.key_set();
        let published = set["keys"].as_array().expect("a list");
        assert_eq!(published.len(), 2);
        assert!(published.iter().any(|key| key["kid"] == next.as_str()));
        // What the published key says is enough to check a token.
        for key in published {
            let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).expect("a JWK");
            let kid = jsonwebtoken::decode_header(&old).expect("ours").kid;
            let decoding = jsonwebtoken::DecodingKey::from_jwk(&key).expect("a key");
            let valid = jsonwebtoken::decode::<AnyClaims>(&old, &decoding, &service.join).is_ok();
            assert_eq!(valid, key.common.key_id == kid);
        }
    }

    #[test]
    fn the_keys_survive_restarts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = TokenService::open(folder.path()).expect("made").issue_join(&claims());
        assert!(TokenService::open(folder.path()).expect("opened").verify_join(&token).is_ok());
    }

    #[test]
    fn hostile_claims_are_refused() {
        let (key, service) = service();
        let sign = |claims: &Value| {
            let header =
                Header { kid: Some(service.keys.all()[0].id.clone()), ..Header::new(Algorithm::EdDSA) };
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
        let kid = service.keys.all()[0].id.clone();
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
            "alg": "EdDSA", "kid": service.keys.all()[0].id, "jku": "https://attacker.example/keys",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(foreign_key.public_key_raw())},
        });
        let message = format!("{}.{}", encode_part(&header), encode_part(&valid_json()));
        let pair =
            aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(foreign_key.serialized_der()).expect("a key");
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()).as_ref()));
        assert_eq!(service.verify_join(&token), Err(TokenError::WrongSignature));
    }
}
