//! The HTTP API against its own OpenAPI document, from outside: schemathesis sends what the document allows and what it
//! forbids, one call at a time and in sequences, and compares every answer with the document.
//!
//! The server is a real one with accounts, over TLS, without rate limits. The callers are its machine client and the owners
//! of two organizations, who must not see each other's things. schemathesis writes an event log; [`report`] judges from it.

mod api;
mod python;
mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::api::{Api, CLIENT_ID, CLIENT_SECRET, PASSWORD};
use self::report::{Report, Substitute};
use crate::process::{self, Running};
use crate::server::Server;
use crate::setup;
use crate::workspace::Workspace;

/// Check every answer of the HTTP API against its OpenAPI document, with generated requests.
///
/// Starts a server of its own in a temporary folder, and schemathesis, which is installed from PyPI once. Requests are drawn from the
/// document: valid and invalid ones, alone and in sequences, as a machine client and as the owners of two organizations. The same seed
/// draws the same requests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on with new rounds until at least this many requests were checked
    #[arg(long, default_value_t = 5000)]
    cases: u64,
    /// What the requests are drawn from; each further round takes the next number
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Print one JSON object, and nothing else on standard output
    #[arg(long)]
    json: bool,
    /// Leave the server running afterwards, to repeat requests, until Ctrl-C
    #[arg(long)]
    wait: bool,
    /// Check against this document instead of the one that the server serves
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

/// Where the server serves its document.
const DOCUMENT: &str = "/api/v1/openapi.json";
/// Settings of the server under test: owners of organizations can be made, and nothing refuses thousands of requests from
/// one place.
const SETTINGS: [(&str, &str); 10] = [
    ("DARKTOWER_ACCOUNTS__OPEN_REGISTRATION", "true"),
    ("DARKTOWER_LIMITS__MAX_CONCURRENT_MEETINGS", "0"),
    ("DARKTOWER_RATE_LIMITS__GENERAL", "0"),
    ("DARKTOWER_RATE_LIMITS__LOGIN", "0"),
    ("DARKTOWER_RATE_LIMITS__REGISTER", "0"),
    ("DARKTOWER_RATE_LIMITS__MEETING_CREATE", "0"),
    ("DARKTOWER_RATE_LIMITS__MEETING_JOIN", "0"),
    ("DARKTOWER_RATE_LIMITS__GUEST_JOIN", "0"),
    ("DARKTOWER_RATE_LIMITS__GUEST_JOIN_PER_ADDRESS", "0"),
    ("DARKTOWER_RATE_LIMITS__FAILED_AUTH", "0"),
];
/// Requests per operation that the first round draws at random, beyond the fixed ones for every bound in the document.
const FIRST_EXAMPLES: u32 = 10;
/// As above, of each further round: it has no fixed ones.
const FURTHER_EXAMPLES: u32 = 50;
/// One run of schemathesis. A healthy one takes two minutes; without an end it would hold up CI.
const RUN_LIMIT: Duration = Duration::from_secs(20 * 60);
/// In how many of the requests that need one a secret that works is put, so that logins succeed, too.
const KNOWN_VALUES: f32 = 0.7;
/// An answer that takes longer is an error.
const ANSWER_SECONDS: u32 = 20;

pub(crate) fn run(ws: &Workspace, args: &Args) -> Result<()> {
    setup::ensure_all()?;
    eprintln!("contract: building ...");
    process::run(ws.cargo().args(["build", "-p", "darktower-server", "--bins"]))?;
    check(ws, args)
}

/// One round on programs that are built already.
pub(crate) fn check_built(ws: &Workspace) -> Result<()> {
    check(ws, &Args { cases: 1, seed: 1, json: false, wait: false, document: None })
}

fn check(ws: &Workspace, args: &Args) -> Result<()> {
    let schemathesis = python::schemathesis(ws)?;
    let folder = tempfile::Builder::new().prefix("darktower-contract-").tempdir()?;
    let certificate = make_certificate(folder.path())?;
    let mut server = start_server(ws, folder.path(), &certificate)?;
    let api = Api { url: server.https_url().to_owned(), certificate };
    let mut trial = Trial { schemathesis, folder: folder.path(), api, document: String::new(), args };
    let started = Instant::now();
    let outcome = trial.rounds(&mut server);
    let outcome = server.show_log_unless_ok(outcome);
    if args.wait {
        wait(&mut server)?;
    }
    let stopped = server.stop();
    let mut report = outcome?;
    if let Err(error) = stopped {
        report.errors.insert(format!("{error:#}"));
    }
    if server.log().contains("panicked at") {
        report.errors.insert("the server panicked; a 500 above tells where".to_owned());
    }
    judge(&report, args, started.elapsed())
}

fn judge(report: &Report, args: &Args, took: Duration) -> Result<()> {
    if args.json {
        let mut json = report.json();
        json["seed"] = args.seed.into();
        json["seconds"] = took.as_secs().into();
        println!("{json}");
    } else {
        print!("{}", report.text());
        println!("seed {}, {} s", args.seed, took.as_secs());
    }
    if report.has_faults() {
        bail!(
            "the API and its document differ: {} failures, {} errors \
             (`cargo xtask contract --seed {} --wait` leaves the server running to repeat a request)",
            report.failure_count(),
            report.errors.len(),
            args.seed
        );
    }
    if report.untested() > 0 {
        bail!("{} operations were never called", report.untested());
    }
    Ok(())
}

/// A certificate for the loopback address, as operators bring one: development mode, which needs none, lets everybody in.
fn make_certificate(folder: &Path) -> Result<PathBuf> {
    let certificate = folder.join("certificate.pem");
    let (ok, _, complaints) = process::capture(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
            .arg("-keyout")
            .arg(folder.join("key.pem"))
            .arg("-out")
            .arg(&certificate),
    )?;
    if !ok {
        bail!("openssl made no certificate: {}", complaints.trim());
    }
    Ok(certificate)
}

fn start_server(ws: &Workspace, folder: &Path, certificate: &Path) -> Result<Server> {
    Server::start(ws, folder, |command| {
        // Not the settings of whoever runs this.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("DARKTOWER_")) {
                command.env_remove(name);
            }
        }
        command.current_dir(folder);
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.args(["--public-url", "https://localhost", "--log-filter", "warn", "--tls-certificate"]);
        command.arg(certificate).arg("--tls-private-key").arg(folder.join("key.pem"));
        command.env("DARKTOWER_API__CLIENT_ID", CLIENT_ID).env("DARKTOWER_API__CLIENT_SECRET", CLIENT_SECRET);
        command.envs(SETTINGS);
    })
}

/// Until Ctrl-C, or the server ends.
fn wait(server: &mut Server) -> Result<()> {
    eprintln!("contract: the server is still at {}; Ctrl-C ends it", server.https_url());
    while !process::interrupted() {
        server.check_running()?;
        process::pause();
    }
    Ok(())
}

/// Who sends the requests of one run.
#[derive(Clone, Copy)]
enum Callers {
    /// The machine client.
    Client,
    /// The owners of two organizations.
    Owners,
}

impl Callers {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Owners => "owners",
        }
    }
}

/// One server under test and what is sent to it.
struct Trial<'a> {
    schemathesis: PathBuf,
    folder: &'a Path,
    api: Api,
    /// File or URL.
    document: String,
    args: &'a Args,
}

impl Trial<'_> {
    /// Rounds until there are enough cases.
    fn rounds(&mut self, server: &mut Server) -> Result<Report> {
        let document: Value = match &self.args.document {
            Some(file) => {
                let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                self.document = fs::canonicalize(file)?.to_string_lossy().into_owned();
                serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?
            }
            None => {
                self.document = format!("{}{DOCUMENT}", self.api.url);
                self.api.document(DOCUMENT)?
            }
        };
        let mut report = Report::default();
        report.expect(&document);
        let has_accounts = !document["paths"]["/api/v1/auth/register"].is_null();
        for round in 0.. {
            let before = report.cases;
            self.run(server, &mut report, Callers::Client, round)?;
            if has_accounts {
                self.run(server, &mut report, Callers::Owners, round)?;
            }
            if report.cases >= self.args.cases {
                break;
            }
            if report.cases == before {
                bail!("schemathesis sent nothing: is the document empty?");
            }
        }
        Ok(report)
    }

    /// One run of schemathesis; adds to the report.
    fn run(&self, server: &mut Server, report: &mut Report, callers: Callers, round: u32) -> Result<()> {
        let started = Instant::now();
        let name = format!("{}-{round}", callers.name());
        let tokens = match callers {
            Callers::Client => vec![("CLIENT_TOKEN", self.api.client_token()?)],
            Callers::Owners => vec![
                ("ADA_TOKEN", self.api.owner_token(&format!("ada{round}"))?),
                ("BOB_TOKEN", self.api.owner_token(&format!("bob{round}"))?),
            ],
        };
        let config = self.folder.join(format!("{name}.toml"));
        fs::write(&config, self.config(&name, &tokens)?)?;
        let events = self.folder.join(format!("{name}.ndjson"));
        let summary = self.folder.join(format!("{name}.json"));
        let output = File::create(self.folder.join(format!("{name}.txt")))?;

        let mut command = Command::new(&self.schemathesis);
        command.arg("--config-file").arg(&config).args(["run", "--no-color"]);
        command.args(["--seed", &self.args.seed.wrapping_add(round).to_string(), "--report", "ndjson,json"]);
        command.arg("--report-ndjson-path").arg(&events).arg("--report-json-path").arg(&summary);
        let (phases, examples) = match round {
            0 => ("examples,coverage,fuzzing,stateful", FIRST_EXAMPLES),
            _ => ("fuzzing,stateful", FURTHER_EXAMPLES),
        };
        command.args([
            "--checks",
            "all",
            "--phases",
            phases,
            "--max-examples",
            &examples.to_string(),
            "--url",
            &self.api.url,
        ]);
        command.arg(&self.document).current_dir(self.folder).env("NO_PROXY", "*");
        // The same seed shall draw the same requests.
        command.env("PYTHONHASHSEED", "0");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let status = Running::start(&mut command)?.wait_while(Some(RUN_LIMIT), || server.check_running())?;
        process::check_interrupted()?;

        let substitutes: Vec<_> = tokens
            .iter()
            .map(|(variable, token)| Substitute { value: token.clone(), variable })
            .chain([Substitute { value: self.api.url.clone(), variable: "SERVER" }])
            .collect();
        let cases = report.cases;
        report.read(&events, &substitutes)?;
        let summary: Value = fs::read(&summary)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .with_context(|| format!("schemathesis left no summary ({status}): {}", self.output(&name)))?;
        report.errors.extend(summary["errors"].as_array().into_iter().flatten().map(Value::to_string));
        // 0: nothing found, 1: failures, which the event log has.
        if !matches!(status.code(), Some(0 | 1)) || summary["complete"] != true {
            bail!("schemathesis did not get to its end ({status}): {}", self.output(&name));
        }
        for (variable, token) in &tokens {
            if self.args.document.is_none() && !self.api.is_known(token)? {
                report
                    .errors
                    .insert(format!("{variable} stopped working during the run: much was not tested"));
            }
        }
        if self.args.wait {
            eprintln!("export SERVER={}", self.api.url);
            for (variable, token) in &tokens {
                eprintln!("export {variable}={token}");
            }
        }
        eprintln!(
            "contract: round {}, {}: {} cases in {} s",
            round + 1,
            callers.name(),
            report.cases - cases,
            started.elapsed().as_secs()
        );
        Ok(())
    }

    /// What schemathesis printed last.
    fn output(&self, name: &str) -> String {
        let text = fs::read_to_string(self.folder.join(format!("{name}.txt"))).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// schemathesis' own configuration.
    fn config(&self, name: &str, tokens: &[(&str, String)]) -> Result<String> {
        // The strings of JSON are strings of TOML.
        let string = |text: &str| Value::from(text).to_string();
        let mut config = format!(
            "continue-on-failure = true\n\
             tls-verify = {}\n\
             request-timeout = {ANSWER_SECONDS}\n\
             [generation]\n\
             database = \"none\"\n\
             [output.sanitization]\n\
             enabled = false\n",
            string(&self.api.certificate.to_string_lossy()),
        );
        for (field, value) in [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("email", &api::owner_email("ada0")),
            ("password", PASSWORD),
        ] {
            config.push_str(&format!(
                "[dictionaries.{field}]\nvalues = [{}]\n\
                 [parameters.\"body.{field}\"]\ndictionary = \"{field}\"\nprobability = {KNOWN_VALUES}\n",
                string(value)
            ));
        }
        match tokens {
            [(_, token)] => {
                config.push_str(&format!(
                    "[headers]\nAuthorization = {}\n",
                    string(&format!("Bearer {token}"))
                ));
            }
            tokens => {
                let peers = self.folder.join(format!("{name}-peers.json"));
                let users = tokens.iter().map(|(variable, token)| {
                    let header = json!({"name": "Authorization", "value": format!("Bearer {token}")});
                    json!({"name": variable, "fixedHeaders": [header]})
                });
                fs::write(&peers, json!({"auth": users.collect::<Vec<_>>()}).to_string())?;
                let names: Vec<_> = tokens.iter().map(|(variable, _)| string(variable)).collect();
                config.push_str(&format!(
                    "[auth.wfc]\npath = {}\npeers = [{}]\n",
                    string(&peers.to_string_lossy()),
                    names.join(", ")
                ));
                // An owner who does it is nobody from then on.
                config.push_str(
                    "[[operations]]\n\
                     include-path = \"/api/v1/organization\"\n\
                     include-method = \"DELETE\"\n\
                     enabled = false\n",
                );
            }
        }
        Ok(config)
    }
}
