use super::*;

fn load(toml: &str, env: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(DEFAULT_FILE);
    std::fs::write(&path, toml).expect("writable");
    Config::from_layers(
        Some(&path),
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        flags,
    )
}

fn refusal(toml: &str, env: &[(&str, &str)], flags: &Flags) -> String {
    load(toml, env, flags).expect_err("should be refused").to_string()
}

fn dev() -> Flags {
    Flags { dev: true, ..Flags::default() }
}

const PRODUCTION: &str = r#"
    public_url = "https://meet.example.org/"
    tls = { certificate = "c.pem", private_key = "k.pem" }
    api = { client_id = "backend", client_secret = "0123456789abcdef0123456789abcdef" }
"#;

#[test]
fn defaults_depend_on_the_mode() {
    let config = load("", &[], &dev()).expect("dev needs nothing");
    assert_eq!(config.listen.len(), 2);
    assert!(config.listen.iter().all(|address| address.ip().is_loopback() && address.port() == 4433));
    assert!(config.tls.is_none() && config.api.is_none());
    assert_eq!(config.limits, Limits { max_concurrent_meetings: 0, ..Limits::default() });
    assert_eq!(config.rate_limits, RateLimits::OFF);
    assert_eq!(config.http3_listen, addresses(["127.0.0.1:4434", "[::1]:4434"]));
    assert!(config.allowed_origins.allows("http://localhost:5173"));
    assert!(!config.allowed_origins.allows("https://app.example.org"));

    let config = load(PRODUCTION, &[], &Flags::default()).expect("complete");
    assert_eq!(config.listen, ["[::]:4433".parse().expect("address")]);
    assert_eq!(config.public_url.as_deref(), Some("https://meet.example.org"));
    assert_eq!(config.http3_listen, addresses(["[::]:4434"]));
    assert_eq!((config.rate_limits.general, config.rate_limits.register), (100, 3));
    assert!(!config.allowed_origins.allows("http://localhost:5173"));
}

fn addresses<const N: usize>(list: [&str; N]) -> Vec<SocketAddr> {
    list.iter().map(|address| address.parse().expect("address")).collect()
}

#[test]
fn http3_follows_listen_and_can_be_turned_off() {
    let listen = |text: &str| Flags { listen: addresses([text]).to_vec(), ..dev() };
    assert_eq!(
        load("", &[], &listen("127.0.0.1:0")).expect("valid").http3_listen,
        addresses(["127.0.0.1:0"])
    );
    assert_eq!(load("", &[], &listen("[::1]:65535")).expect("valid").http3_listen, addresses(["[::1]:0"]));
    assert_eq!(load("http3_listen = []", &[], &dev()).expect("valid").http3_listen, []);
    assert_eq!(load("", &[("DARKTOWER_HTTP3_LISTEN", "")], &dev()).expect("valid").http3_listen, []);
    let env = [("DARKTOWER_HTTP3_LISTEN", "127.0.0.1:5, [::1]:5")];
    assert_eq!(load("", &env, &dev()).expect("valid").http3_listen.len(), 2);
}

#[test]
fn origins_are_as_browsers_write_them() {
    for (written, origin) in [
        ("https://Meet.Example.org:443/", "https://meet.example.org"),
        ("https://meet.example.org:4433", "https://meet.example.org:4433"),
        ("https://[2001:DB8::443]", "https://[2001:db8::443]"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://127.0.0.1:443", "http://127.0.0.1:443"),
    ] {
        let config = load(&format!("public_url = '{written}'"), &[], &dev()).expect("valid");
        assert_eq!(config.public_url.as_deref(), Some(origin), "{written}");
    }
}

#[test]
fn other_sites_and_proxies_are_listed() {
    let toml = format!(
        "{PRODUCTION}\ntrusted_proxies = ['10.0.0.1', 'fd00::1/8']\n[cors]\nallowed_origins = ['https://App.example.org/']"
    );
    let config = load(&toml, &[("DARKTOWER_RATE_LIMITS__GENERAL", "0")], &Flags::default()).expect("valid");
    assert!(config.allowed_origins.allows("https://app.example.org"));
    assert!(!config.allowed_origins.allows("http://app.example.org") && !config.allowed_origins.is_any());
    assert_eq!(
        config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.1/32", "fd00::/8"]
    );
    assert_eq!((config.rate_limits.general, config.rate_limits.login), (0, 5));

    let any = format!("{PRODUCTION}\ncors.allowed_origins = ['*']");
    assert!(load(&any, &[], &Flags::default()).expect("valid").allowed_origins.is_any());
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let toml = "region = \"file\"\n[limits]\nmax_participants = 1\nmessages_per_minute = 1\n[log]\nfilter = \"file\"";
    let env = [("DARKTOWER_LIMITS__MAX_PARTICIPANTS", "2"), ("DARKTOWER_LOG__FILTER", "env")];
    let flags = Flags { log_filter: Some("flag".to_owned()), ..dev() };
    let config = load(toml, &env, &flags).expect("valid");
    assert_eq!(config.region, "file");
    assert_eq!(config.limits.messages_per_minute, 1);
    assert_eq!(config.limits.max_participants, 2);
    assert_eq!(config.log.filter, "flag");
    assert_eq!(config.limits.audio_payload_bytes, 64 * 1024);
}

#[test]
fn a_client_in_the_configuration_is_optional() {
    let without = PRODUCTION.lines().filter(|line| !line.trim_start().starts_with("api")).collect::<Vec<_>>();
    let config = load(&without.join("\n"), &[], &Flags::default()).expect("complete");
    assert!(config.api.is_none());
}

#[test]
fn environment_lists_and_secrets_of_digits() {
    let secret = "01234567890123456789012345678901";
    let env = [
        ("DARKTOWER_LISTEN", "127.0.0.1:1, [::1]:1"),
        ("DARKTOWER_API__CLIENT_ID", "7"),
        ("DARKTOWER_API__CLIENT_SECRET", secret),
        ("DARKTOWER_CONFIG", "elsewhere.toml"),
        ("HOME", "/"),
    ];
    let config = load("", &env, &dev()).expect("valid");
    assert_eq!(config.listen.len(), 2);
    let api = config.api.expect("given");
    assert_eq!((api.client_id.as_str(), api.client_secret.expose()), ("7", secret));
    assert!(!format!("{:?}", api.client_secret).contains(secret));
}

#[test]
fn variables_of_other_programs_are_passed_over() {
    let env = ENV_OF_OTHERS.map(|name| (name, "theirs"));
    assert!(load("", &env, &dev()).is_ok());
    for similar in ["DARKTOWER_SERVERS", "DARKTOWER_API__TOKEN", "DARKTOWER_MEDIAS", "DARKTOWER_TOKEN"] {
        let message = refusal("", &[(similar, "ours")], &dev());
        assert!(message.contains(&format!("unknown setting {similar}")), "{message}");
    }
}

#[test]
fn unknown_keys_are_refused_and_the_nearest_is_named() {
    let message = refusal("[limits]\nmax_participant = 3", &[], &dev());
    assert!(message.contains("unknown setting limits.max_participant;"), "{message}");
    assert!(message.contains("did you mean limits.max_participants?"), "{message}");

    let message = refusal("", &[("DARKTOWER_LIMIT__MAX_PARTICIPANTS", "3")], &dev());
    assert!(message.contains("DARKTOWER_LIMIT__MAX_PARTICIPANTS"), "{message}");
    assert!(message.contains("did you mean DARKTOWER_LIMITS__MAX_PARTICIPANTS?"), "{message}");

    let message = refusal("[limit]\nmax_participants = 3", &[], &dev());
    assert!(message.contains("did you mean limits?"), "{message}");
    assert!(refusal("", &[("DARKTOWER_LIMITS", "3")], &dev()).starts_with("limits: "));

    let message = refusal("completely_else = 1", &[], &dev());
    assert!(message.ends_with("unknown setting completely_else"), "{message}");
}

#[test]
fn values_of_the_wrong_kind_name_setting_and_source() {
    let message = refusal("[limits]\nmax_participants = \"many\"", &[], &dev());
    assert!(message.starts_with("limits.max_participants: ") && message.contains(DEFAULT_FILE), "{message}");
    let message = refusal("", &[("DARKTOWER_DEV", "yes")], &Flags::default());
    assert_eq!(message, "environment variable DARKTOWER_DEV: expected true or false");
    let message = refusal("listen = [\"localhost:1\"]", &[], &dev());
    assert!(message.starts_with("listen"), "{message}");
    assert!(refusal("limits = 3", &[], &dev()).starts_with("limits: "));
    assert!(refusal("this is not toml", &[], &dev()).contains(DEFAULT_FILE));
}

#[test]
fn bad_combinations_say_what_to_change() {
    let none = Flags::default();
    let table: &[(&str, &Flags, &[&str])] = &[
        ("", &none, &["tls.certificate", "--dev"]),
        ("tls.certificate = \"c\"", &none, &["tls.private_key is missing"]),
        ("tls.private_key = \"k\"", &dev(), &["tls.certificate is missing"]),
        ("api.client_id = \"x\"", &dev(), &["api.client_secret is missing"]),
        ("api = { client_id = \"x\", client_secret = \"short\" }", &dev(), &["has 5 bytes", "at least 32"]),
        ("listen = []", &dev(), &["listen is empty"]),
        ("listen = [\"0.0.0.0:4433\"]", &dev(), &["--dev", "0.0.0.0:4433"]),
        ("listen = [\"192.0.2.1:4433\"]", &dev(), &["--dev", "192.0.2.1:4433"]),
        ("http_listen = [\"0.0.0.0:80\"]", &dev(), &["http_listen", "loopback"]),
        ("http_listen = [\"127.0.0.1:4433\"]", &dev(), &["given twice"]),
        ("public_url = \"https://a/b\"", &dev(), &["without a path"]),
        ("public_url = \"ftp://a\"", &dev(), &["https://"]),
        ("public_url = \"https://u:p@a\"", &dev(), &["user name"]),
        ("public_quic_url = \"http://a\"", &dev(), &["https://"]),
        ("limits.max_participants = 0", &dev(), &["limits.max_participants = 0", "1..="]),
        ("media.shards = 65", &dev(), &["media.shards = 65", "64"]),
        ("region = \"\"", &dev(), &["region"]),
        ("http3_listen = [\"0.0.0.0:4434\"]", &dev(), &["--dev", "0.0.0.0:4434"]),
        ("http3_listen = [\"127.0.0.1:4433\"]", &dev(), &["127.0.0.1:4433 is given twice", "http3_listen"]),
        ("cors.allowed_origins = [\"*\"]", &dev(), &["cors.allowed_origins", "--dev"]),
        ("cors.allowed_origins = [\"example.org\"]", &dev(), &["cors.allowed_origins", "https://"]),
        ("trusted_proxies = [\"10.0.0.0/33\"]", &dev(), &["trusted_proxies", "10.0.0.0/33"]),
        ("rate_limits.login = 1000001", &dev(), &["rate_limits.login", "1000000"]),
    ];
    for (toml, flags, parts) in table {
        let message = refusal(toml, &[], flags);
        for part in *parts {
            assert!(message.contains(part), "{toml:?} gave {message:?}, without {part:?}");
        }
    }
    let wildcard = PRODUCTION.replace("public_url", "#");
    assert!(refusal(&wildcard, &[], &none).contains("set public_url"));
}

#[test]
fn test_configuration_is_loopback_on_free_ports() {
    let config = Config::for_tests(Path::new("somewhere"));
    assert!(config.dev);
    assert_eq!(config.listen, ["127.0.0.1:0".parse().expect("address")]);
    assert_eq!(config.http_listen, config.listen);
}

#[test]
fn the_database_is_a_file_unless_a_url_says_otherwise() {
    let config = load("data_dir = \"d\"", &[], &dev()).expect("valid");
    assert_eq!(config.database, DatabaseLocation::Sqlite("d/darktower.db".into()));
    let url = "postgres://me:hunter22hunter22@db.example.org/darktower";
    let config = load("", &[("DARKTOWER_DATABASE_URL", url)], &dev()).expect("valid");
    assert_eq!(config.database, DatabaseLocation::Postgres(url.to_owned()));
    assert!(!format!("{config:?}").contains("hunter22"));
    for path in ["sqlite:/var/lib/a.db", "sqlite:///var/lib/a.db"] {
        let config = load("", &[("DARKTOWER_DATABASE_URL", path)], &dev()).expect("valid");
        assert_eq!(config.database, DatabaseLocation::Sqlite("/var/lib/a.db".into()));
    }
    for bad in ["", "sqlite:", "mysql://me:hunter22hunter22@h/d", "hunter22hunter22"] {
        let message = refusal("", &[("DARKTOWER_DATABASE_URL", bad)], &dev());
        assert!(message.contains("database_url must be") && !message.contains("hunter22"), "{message}");
    }
}

#[test]
fn weaker_accounts_are_refused() {
    for (key, value) in
        [("MIN_PASSWORD_LENGTH", "9"), ("ACCESS_TOKEN_MINUTES", "1441"), ("REFRESH_TOKEN_DAYS", "0")]
    {
        let message = refusal("", &[(&format!("DARKTOWER_ACCOUNTS__{key}"), value)], &dev());
        assert!(message.contains(&format!("accounts.{}", key.to_lowercase())), "{message}");
    }
}
