//! The REST API: meetings and join grants.

use std::time::Duration;

use darktower_protocol::{MeetingId, ParticipantId};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::transport::{Trust, tls};

/// How long one request may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the REST API of one server.
///
/// ```no_run
/// # async fn example() -> Result<(), darktower_client::Error> {
/// use darktower_client::Trust;
/// use darktower_client::api::{Api, NewMeeting};
///
/// let api = Api::new("http://localhost:8080", Trust::System)?;
/// let meeting = api.create_meeting(&NewMeeting::named("Stand-up")).await?;
/// let grant = api.join_grant(meeting.meeting_id, "Ada").await?;
/// println!("Ada joins {} at {}", meeting.meeting_url, grant.meeting_controller_url);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Api {
    base: Url,
    http: reqwest::Client,
    bearer_token: Option<BearerToken>,
}

#[derive(Clone)]
struct BearerToken(String);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// A meeting to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewMeeting {
    /// For people.
    pub display_name: String,
    /// `None` = the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_participants: Option<u32>,
}

impl NewMeeting {
    /// A meeting with the server's defaults.
    pub fn named(display_name: impl Into<String>) -> Self {
        Self { display_name: display_name.into(), max_participants: None }
    }
}

/// A meeting that was just created.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedMeeting {
    /// The meeting.
    pub meeting_id: MeetingId,
    /// Short name in links.
    pub slug: String,
    /// Link for people; opens the web app.
    pub meeting_url: String,
    /// Who the creator will be.
    pub participant_id: ParticipantId,
    /// Token of the creator; secret.
    pub join_token: String,
    /// Where sessions of this meeting are held.
    pub meeting_controller_url: String,
    /// As in [`JoinGrant::certificate_hashes`].
    pub certificate_hashes: Vec<[u8; 32]>,
    /// RFC 3339.
    pub created_at: String,
}

impl CreatedMeeting {
    /// The creator's right to join as the host, once. The server calls the creator "Host";
    /// [`JoinOptions::name`](crate::JoinOptions::name) chooses another name.
    pub fn into_host_grant(self) -> JoinGrant {
        JoinGrant {
            participant_id: Some(self.participant_id),
            meeting_id: self.meeting_id,
            join_token: self.join_token,
            meeting_controller_url: self.meeting_controller_url,
            expires_at: None,
            certificate_hashes: self.certificate_hashes,
        }
    }
}

/// A meeting as the server shows it to the caller: who has only its link, and no token, is told less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingInfo {
    /// The meeting.
    pub meeting_id: MeetingId,
    /// For people.
    pub display_name: String,
    /// Whether it can be joined now.
    pub active: bool,
    /// Whether one may join without an account, if the server said so.
    pub guests_allowed: Option<bool>,
    /// Participants now; not told to who has only the link.
    pub participant_count: Option<u32>,
    /// Most participants at one time; likewise.
    pub max_participants: Option<u32>,
    /// RFC 3339; likewise.
    pub created_at: Option<String>,
    /// Where sessions of this meeting are held.
    pub meeting_controller_url: String,
}

/// The right to join a meeting once, as one participant.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinGrant {
    /// Who the holder will be; `None` if all that is known is the token.
    pub participant_id: Option<ParticipantId>,
    /// The meeting.
    pub meeting_id: MeetingId,
    /// Secret.
    pub join_token: String,
    /// `https://HOST:PORT/v1/signal`
    pub meeting_controller_url: String,
    /// RFC 3339: when the token stops working, if the server said so.
    pub expires_at: Option<String>,
    /// SHA-256 of the certificates that the server's QUIC port may show; empty if it shows one of
    /// a public authority.
    pub certificate_hashes: Vec<[u8; 32]>,
}

impl std::fmt::Debug for CreatedMeeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedMeeting")
            .field("meeting_id", &self.meeting_id)
            .field("slug", &self.slug)
            .field("meeting_url", &self.meeting_url)
            .field("participant_id", &self.participant_id)
            .field("meeting_controller_url", &self.meeting_controller_url)
            .field("certificate_hashes", &self.certificate_hashes.len())
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for JoinGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinGrant")
            .field("participant_id", &self.participant_id)
            .field("meeting_id", &self.meeting_id)
            .field("meeting_controller_url", &self.meeting_controller_url)
            .field("expires_at", &self.expires_at)
            .field("certificate_hashes", &self.certificate_hashes.len())
            .finish_non_exhaustive()
    }
}

impl Api {
    /// A client of the server at `base_url`, such as `https://meet.example.org` (`http://` is for
    /// development on one machine). Nothing is sent yet. `trust` applies to `https`.
    ///
    /// # Errors
    /// If the URL is not one, or the system's root certificates cannot be read.
    #[expect(clippy::needless_pass_by_value, reason = "a client owns its configuration")]
    pub fn new(base_url: &str, trust: Trust) -> Result<Self, Error> {
        let invalid = |why: String| Error::Invalid(format!("{base_url:?} is not the URL of a server: {why}"));
        let mut base = Url::parse(base_url).map_err(|error| invalid(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(invalid("it must start with https:// or http://".to_owned()));
        }
        base.set_query(None);
        base.set_fragment(None);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::https_config(&trust)?)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("darktower-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::transport("cannot build an HTTP client", error))?;
        Ok(Self { base, http, bearer_token: None })
    }

    /// Sends `token` as bearer token with every request from now on.
    #[must_use]
    pub fn with_bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(BearerToken(token.into()));
        self
    }

    /// Creates a meeting.
    ///
    /// # Errors
    /// [`Error::Api`] if the server refuses.
    pub async fn create_meeting(&self, meeting: &NewMeeting) -> Result<CreatedMeeting, Error> {
        self.call::<CreatedMeetingBody>(Method::POST, &["meetings"], Some(meeting)).await?.try_into()
    }

    /// Looks a meeting up by its id, its slug, or a link to it (`…/m/SLUG`). Slug and link need no token.
    ///
    /// # Errors
    /// [`Error::Api`] with status 404 if there is none.
    pub async fn meeting(&self, meeting: &str) -> Result<MeetingInfo, Error> {
        let name = match Url::parse(meeting) {
            Ok(link) => slug_of_link(&link).ok_or_else(|| {
                Error::Invalid(format!("{meeting:?} is not a link to a meeting (…/m/SLUG)"))
            })?,
            Err(_) => meeting.to_owned(),
        };
        let path = match name.parse::<MeetingId>() {
            Ok(_) => ["meetings", name.as_str()],
            Err(_) => ["slugs", name.as_str()],
        };
        let answer: MeetingBody = self.call(Method::GET, &path, None::<&()>).await?;
        Ok(MeetingInfo {
            meeting_id: MeetingId::from_uuid(answer.meeting_id),
            display_name: answer.display_name,
            active: answer.active,
            guests_allowed: answer.guests_allowed.or(answer.require_auth.map(|required| !required)),
            participant_count: answer.participant_count,
            max_participants: answer.max_participants,
            created_at: answer.created_at,
            meeting_controller_url: answer.meeting_controller_url,
        })
    }

    /// Asks for the right to join a meeting under `name`.
    ///
    /// # Errors
    /// [`Error::Api`] if the server refuses.
    pub async fn join_grant(&self, meeting_id: MeetingId, name: &str) -> Result<JoinGrant, Error> {
        self.grant(meeting_id, "participants", NewParticipant { name, role: None }).await
    }

    /// Asks for the right to join a meeting as a host under `name`.
    ///
    /// # Errors
    /// [`Error::Api`] if the server refuses.
    pub async fn host_grant(&self, meeting_id: MeetingId, name: &str) -> Result<JoinGrant, Error> {
        self.grant(meeting_id, "participants", NewParticipant { name, role: Some("host") }).await
    }

    /// Asks for the right to join a meeting as a guest: without a token, if the meeting lets guests in.
    ///
    /// # Errors
    /// [`Error::Api`] if the server refuses.
    pub async fn guest_grant(&self, meeting_id: MeetingId, name: &str) -> Result<JoinGrant, Error> {
        self.grant(meeting_id, "guest-join", NewParticipant { name, role: None }).await
    }

    async fn grant(
        &self,
        meeting_id: MeetingId,
        route: &str,
        body: NewParticipant<'_>,
    ) -> Result<JoinGrant, Error> {
        let id = meeting_id.to_string();
        let answer: GrantBody = self.call(Method::POST, &["meetings", &id, route], Some(&body)).await?;
        Ok(JoinGrant {
            participant_id: Some(ParticipantId::from_uuid(answer.participant_id)),
            meeting_id: MeetingId::from_uuid(answer.meeting_id),
            join_token: answer.join_token,
            meeting_controller_url: answer.meeting_controller_url,
            expires_at: Some(answer.expires_at),
            certificate_hashes: sha256_hashes(&answer.certificate_hashes)?,
        })
    }

    /// SHA-256 of the certificates that the server's QUIC port may show; empty if it shows one of a
    /// public authority. Grants name them already; this is for whoever got only a join token.
    ///
    /// # Errors
    /// [`Error::Api`] if the server refuses.
    pub async fn certificate_hashes(&self) -> Result<Vec<[u8; 32]>, Error> {
        let answer: CertificateBody = self.call(Method::GET, &["certificate"], None::<&()>).await?;
        sha256_hashes(&answer.certificate_hashes)
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<A, Error> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Invalid("the server's URL has no path".to_owned()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let context = format!("{method} {url} failed");
        let mut request = self.http.request(method, url);
        if let Some(BearerToken(token)) = &self.bearer_token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| Error::transport(context.clone(), error.without_url());
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(failed);
        }
        let error = response.json::<ErrorEnvelope>().await.unwrap_or_default().error;
        let message = match error.message {
            message if message.is_empty() => {
                status.canonical_reason().unwrap_or("no reason given").to_owned()
            }
            message => message,
        };
        Err(Error::Api { status: status.as_u16(), code: error.code, message })
    }
}

fn slug_of_link(link: &Url) -> Option<String> {
    let mut segments = link.path_segments()?.skip_while(|segment| *segment != "m");
    segments.next()?;
    segments.next().filter(|slug| !slug.is_empty()).map(str::to_owned)
}

/// The hashes that are SHA-256; others are for other clients.
fn sha256_hashes(hashes: &[CertificateHashBody]) -> Result<Vec<[u8; 32]>, Error> {
    hashes
        .iter()
        .filter(|hash| hash.algorithm.eq_ignore_ascii_case("sha-256"))
        .map(|hash| {
            parse_hash(&hash.value)
                .ok_or_else(|| Error::Protocol(format!("{:?} is not a SHA-256 in hex", hash.value)))
        })
        .collect()
}

/// 64 hex digits, with or without colons between the bytes.
fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[derive(Serialize)]
struct NewParticipant<'a> {
    name: &'a str,
    /// `None` = the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

#[derive(Deserialize)]
struct CreatedMeetingBody {
    meeting_id: Uuid,
    #[serde(default)]
    slug: String,
    #[serde(default)]
    meeting_url: String,
    participant_id: Uuid,
    join_token: String,
    meeting_controller_url: String,
    #[serde(default)]
    certificate_hashes: Vec<CertificateHashBody>,
    created_at: String,
}

impl TryFrom<CreatedMeetingBody> for CreatedMeeting {
    type Error = Error;

    fn try_from(answer: CreatedMeetingBody) -> Result<Self, Error> {
        Ok(Self {
            meeting_id: MeetingId::from_uuid(answer.meeting_id),
            slug: answer.slug,
            meeting_url: answer.meeting_url,
            participant_id: ParticipantId::from_uuid(answer.participant_id),
            join_token: answer.join_token,
            meeting_controller_url: answer.meeting_controller_url,
            certificate_hashes: sha256_hashes(&answer.certificate_hashes)?,
            created_at: answer.created_at,
        })
    }
}

#[derive(Deserialize)]
struct MeetingBody {
    meeting_id: Uuid,
    display_name: String,
    #[serde(default)]
    active: bool,
    guests_allowed: Option<bool>,
    require_auth: Option<bool>,
    participant_count: Option<u32>,
    max_participants: Option<u32>,
    created_at: Option<String>,
    #[serde(default)]
    meeting_controller_url: String,
}

#[derive(Deserialize)]
struct GrantBody {
    participant_id: Uuid,
    meeting_id: Uuid,
    join_token: String,
    meeting_controller_url: String,
    expires_at: String,
    #[serde(default)]
    certificate_hashes: Vec<CertificateHashBody>,
}

#[derive(Deserialize)]
struct CertificateBody {
    certificate_hashes: Vec<CertificateHashBody>,
}

#[derive(Deserialize)]
struct CertificateHashBody {
    algorithm: String,
    value: String,
}

#[derive(Default, Deserialize)]
struct ErrorEnvelope {
    #[serde(default)]
    error: ErrorBody,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_their_slug() {
        let slug = |link: &str| slug_of_link(&Url::parse(link).expect("a URL"));
        assert_eq!(slug("https://meet.example.org/m/brave-otter"), Some("brave-otter".to_owned()));
        assert_eq!(slug("https://example.org/base/m/brave-otter/?x=1#y"), Some("brave-otter".to_owned()));
        assert_eq!(slug("https://example.org/m/"), None);
        assert_eq!(slug("https://example.org/other"), None);
    }

    #[test]
    fn hashes_are_64_hex_digits() {
        assert_eq!(parse_hash(&"0f".repeat(32)), Some([0x0f; 32]));
        assert_eq!(parse_hash(&["FF"; 32].join(":")), Some([0xff; 32]));
        for bad in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &"é".repeat(64)] {
            assert_eq!(parse_hash(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_sha256_is_taken_and_nonsense_refused() {
        let hash = |algorithm: &str, value: &str| CertificateHashBody {
            algorithm: algorithm.to_owned(),
            value: value.to_owned(),
        };
        let hashes = [hash("sha-512", "ab"), hash("SHA-256", &"0f".repeat(32))];
        assert_eq!(sha256_hashes(&hashes).expect("one is fit"), [[0x0f; 32]]);
        assert!(matches!(sha256_hashes(&[hash("sha-256", "ab")]), Err(Error::Protocol(_))));
    }

    #[test]
    fn the_creator_joins_with_what_creating_answered() {
        let answer = serde_json::json!({
            "meeting_id": Uuid::from_bytes([1; 16]),
            "participant_id": Uuid::from_bytes([2; 16]),
            "join_token": "s3cret",
            "meeting_controller_url": "https://localhost:4433/v1/signal",
            "certificate_hashes": [{ "algorithm": "sha-256", "value": "0f".repeat(32), "expires_at": "later" }],
            "created_at": "2026-01-31T00:00:00Z",
        });
        let created: CreatedMeeting =
            serde_json::from_value::<CreatedMeetingBody>(answer).expect("complete").try_into().expect("fit");
        assert!(!format!("{created:?}").contains("s3cret"));
        let grant = created.into_host_grant();
        assert_eq!(grant.participant_id, Some(ParticipantId::from_bytes([2; 16])));
        assert_eq!(grant.meeting_id, MeetingId::from_bytes([1; 16]));
        assert_eq!((grant.join_token.as_str(), grant.certificate_hashes), ("s3cret", vec![[0x0f; 32]]));
    }

    #[test]
    fn only_web_urls_are_servers() {
        assert!(Api::new("http://localhost:8080/", Trust::PinnedSha256(vec![])).is_ok());
        for bad in ["", "localhost", "ftp://localhost", "https://"] {
            assert!(matches!(Api::new(bad, Trust::PinnedSha256(vec![])), Err(Error::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let api = Api::new("http://localhost", Trust::PinnedSha256(vec![]))
            .expect("valid")
            .with_bearer_token("s3cret");
        assert!(!format!("{api:?}").contains("s3cret"));
    }
}
