//! What the API costs: the real server beside a bare one on the same libraries, over HTTP/2 and HTTP/3.

mod client;
mod report;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bed::beside;
use crate::cli::ApiArgs;
use crate::live::Live;
use crate::machine::{self, usual_cores};
use crate::procfs::{MachineReading, ProcessReading};
use crate::server::{API_CLIENT_ID, ApiServer, BareHttp};
pub(crate) use client::Addresses;
use client::Connection;
pub(crate) use client::Protocol;
use report::{Measured, Report};
pub(crate) use work::Case;
use work::Subject;

/// Before each window, at most: connections, code and caches are warm then.
const WARM_UP: Duration = Duration::from_millis(500);

/// One case over one protocol.
struct Lane {
    case: Case,
    protocol: Protocol,
    to: Addresses,
    pid: u32,
    measured: Vec<Measured>,
}

/// Measures every case over every protocol by turns, and prints the report.
pub(crate) async fn run(args: &ApiArgs) -> Result<()> {
    let (server_cores, client_cores) = usual_cores();
    let server_cores = args.server_cores.clone().unwrap_or(server_cores);
    let client_cores = args.client_cores.clone().unwrap_or(client_cores);
    machine::check_apart(&server_cores, &client_cores)?;
    client_cores.pin_this_thread()?;

    let folder = tempfile::Builder::new().prefix("darktower-load-").tempdir()?;
    let (certificate, private_key) = write_certificate(folder.path())?;
    let program = |given: &Option<_>, name| given.clone().map_or_else(|| beside(name), Ok);
    let mut ours =
        ApiServer::start(&program(&args.server, "darktower")?, &server_cores, &certificate, &private_key)?;
    let mut bare =
        BareHttp::start(&program(&args.reference, "bare-http")?, &server_cores, &certificate, &private_key)?;

    let mut first = Connection::open(Protocol::Http2, ours.addresses()?, &certificate).await?;
    let subject = Arc::new(work::prepare(&mut first, API_CLIENT_ID, ours.secret()).await?);
    let mut lanes = Vec::new();
    let cases = Case::ALL.into_iter().filter(|case| args.cases.is_empty() || args.cases.contains(case));
    for case in cases {
        for protocol in Protocol::ALL {
            if !args.protocols.is_empty() && !args.protocols.contains(&protocol) {
                continue;
            }
            let (pid, to) = match case {
                Case::Hello => (bare.pid(), bare.addresses()?),
                _ => (ours.pid(), ours.addresses()?),
            };
            lanes.push(Lane { case, protocol, to, pid, measured: Vec::new() });
        }
    }

    let mut live = Live::new();
    live.say(&format!(
        "API: {} connections, {} requests at a time on each, {} rounds of {} s in all per case",
        args.connections, args.in_flight, args.rounds, args.seconds
    ));
    let machine_before = MachineReading::take();
    let length = Duration::from_secs_f64(args.seconds.max(0.1) / f64::from(args.rounds));
    for round in 0..args.rounds {
        // Who is first alternates, as noise of the machine may follow a pattern.
        let order: Vec<usize> = match round % 2 {
            0 => (0..lanes.len()).collect(),
            _ => (0..lanes.len()).rev().collect(),
        };
        for index in order {
            let Some(lane) = lanes.get_mut(index) else { continue };
            live.renew(&format!("round {}: {} over {}", round + 1, lane.case.name(), lane.protocol.name()));
            lane.measure(args, &certificate, &subject, length).await?;
            ours.check()?;
            bare.check()?;
        }
    }
    let steal_s = MachineReading::take().steal_s_since(&machine_before);
    drop(live);
    let report = Report::new(args, &lanes, steal_s, server_cores.to_string(), client_cores.to_string());
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

impl Lane {
    /// One window on connections of its own: those of another turn would have been closed as idle meanwhile.
    async fn measure(
        &mut self,
        args: &ApiArgs,
        certificate: &Path,
        subject: &Arc<Subject>,
        length: Duration,
    ) -> Result<()> {
        let mut connections = Vec::new();
        for _ in 0..args.connections {
            let opened = Connection::open(self.protocol, self.to, certificate).await;
            connections
                .push(opened.with_context(|| format!("cannot connect over {}", self.protocol.name()))?);
        }
        work::window(self.case, &connections, args.in_flight, subject, WARM_UP.min(length)).await?;
        let own_before = ProcessReading::take(std::process::id())?;
        let before = ProcessReading::take(self.pid)?;
        let window = work::window(self.case, &connections, args.in_flight, subject, length).await?;
        let server = ProcessReading::take(self.pid)?.since(&before);
        let tester = ProcessReading::take(std::process::id())?.since(&own_before);
        self.measured.push(Measured { window, server, tester });
        Ok(())
    }
}

fn write_certificate(folder: &Path) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, private_key) = (folder.join("certificate.pem"), folder.join("private-key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&private_key, made.signing_key.serialize_pem())?;
    Ok((certificate, private_key))
}
