//! The test bed: servers on their cores, fleets on theirs, and rounds that go to one and the other by turns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use darktower_client::Trust;
use darktower_client::api::Api;

use crate::cli::CommonArgs;
use crate::disturbance::Disturbers;
use crate::fleet::{Fleet, FleetSettings};
use crate::link::Target;
use crate::live::Live;
use crate::machine::{self, Cores, usual_cores};
use crate::measure::{Measuring, Server, Slice};
use crate::plan::{Grows, Plan};
use crate::report::{Context, JoinMs, Report};
use crate::runtimes::Runtimes;
use crate::server::{DarkTower, Naive};
use crate::workload::noise;

/// Media before every round but the first: connections are warm already.
const PAUSE_WARM_UP: Duration = Duration::from_millis(500);
/// Files and sockets besides those of participants.
const OWN_DESCRIPTORS: u64 = 200;
/// A participant's socket, and one while it is replaced.
const DESCRIPTORS_PER_PARTICIPANT: u64 = 2;

/// Which cores belong to whom.
#[derive(Debug, Clone)]
pub(crate) struct Pinning {
    pub(crate) server: Cores,
    pub(crate) clients: Cores,
}

impl Pinning {
    /// As asked for, or the usual split; this thread moves to the clients' cores.
    pub(crate) fn apply(common: &CommonArgs) -> Result<Self> {
        let (server, clients) = usual_cores();
        let server = common.server_cores.clone().unwrap_or(server);
        let clients = common.client_cores.clone().unwrap_or(clients);
        machine::check_apart(&server, &clients)?;
        clients.pin_this_thread()?;
        Ok(Self { server, clients })
    }
}

/// A server and the people who use it. The people go first.
#[derive(Debug)]
struct Side {
    fleet: Fleet,
    server: Server,
}

/// Everything that is running.
#[derive(Debug)]
pub(crate) struct Bed {
    sides: Vec<Side>,
    plan: Plan,
    pinning: Pinning,
    transport: String,
    warm: bool,
    pub(crate) live: Live,
}

/// Starts our server, or takes the one that runs.
pub(crate) fn start_darktower(common: &CommonArgs, pinning: &Pinning) -> Result<(DarkTower, Target)> {
    let server = match &common.attach {
        Some(url) => DarkTower::attach(url.clone(), common.server_pid),
        None => {
            let program = common.server.clone().map_or_else(|| beside("darktower"), Ok)?;
            DarkTower::start(&program, &pinning.server)?
        }
    };
    let mut api = Api::new(&server.http_url, Trust::System)?;
    if let Some(token) = &common.api_token {
        api = api.with_bearer_token(token);
    }
    Ok((server, Target::DarkTower { api, kind: common.transport.kind() }))
}

/// A program in this program's folder.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program lies")?;
    Ok(own.with_file_name(name))
}

impl Bed {
    /// Starts servers and tester; nobody joins yet. `largest` is the largest size that will be asked for.
    pub(crate) fn start(common: &CommonArgs, plan: Plan, reference: bool, largest: usize) -> Result<Self> {
        let pinning = Pinning::apply(common)?;
        let servers = if reference { 2 } else { 1 };
        let participants = plan.participants(largest) as u64;
        machine::raise_descriptor_limit(
            OWN_DESCRIPTORS + servers * DESCRIPTORS_PER_PARTICIPANT * participants,
        )?;
        let runtimes = Arc::new(Runtimes::start(&pinning.clients)?);
        let settings = FleetSettings {
            plan: plan.meeting.clone(),
            concurrency: common.ramp,
            per_socket: common.per_socket,
            late_after: common.late_after(),
            noise: noise(plan.largest_payload),
        };
        let (server, target) = start_darktower(common, &pinning)?;
        let fleet = Fleet::new(target, settings.clone(), Arc::clone(&runtimes));
        let mut sides = vec![Side { fleet, server: Server::DarkTower(server) }];
        if reference {
            let program = common.reference.clone().map_or_else(|| beside("naive-fanout"), Ok)?;
            let server = Naive::start(&program, &pinning.server)?;
            let trust = Trust::PinnedSha256(vec![server.certificate_hash]);
            let target = Target::Naive { url: server.url.clone(), trust };
            let fleet = Fleet::new(target, settings, runtimes);
            sides.push(Side { fleet, server: Server::Naive(server) });
        }
        let transport = match common.per_socket {
            1 => common.transport.name().to_owned(),
            shared => format!("{}, {shared} subscribers per socket", common.transport.name()),
        };
        Ok(Self { sides, plan, pinning, transport, warm: false, live: Live::new() })
    }

    /// Brings the people in, or sends some away, until the number that grows is `size`.
    pub(crate) async fn resize(&mut self, size: usize) -> Result<()> {
        self.plan = match self.plan.grows {
            Grows::Subscribers => Plan { subscribers: size, ..self.plan.clone() },
            Grows::Meetings => Plan { meetings: size, ..self.plan.clone() },
        };
        let (meetings, subscribers) = (self.plan.meetings, self.plan.subscribers);
        let all = self.plan.participants(size);
        for Side { fleet, server } in &mut self.sides {
            let (live, name) = (&mut self.live, server.name());
            let mut progress = |count| live.renew(&format!("{name}: {count} of {all} are in"));
            let grown = async {
                fleet.set_meetings(meetings, &mut progress).await?;
                fleet.set_subscribers(subscribers, &mut progress).await
            };
            // A server that died explains the failed join best.
            if let Err(error) = grown.await {
                server.check()?;
                return Err(error.context(format!("{name}: not everybody could join")));
            }
        }
        self.warm = false;
        Ok(())
    }

    /// Lets others into the meetings of our server who misbehave from now on. The reference has nobody to disturb it.
    pub(crate) async fn disturb(&mut self, disturbers: Disturbers) -> Result<()> {
        if disturbers.count() == 0 {
            return Ok(());
        }
        self.allow_descriptors(self.plan.size() + disturbers.count())?;
        let ours = self.sides.first_mut().context("there is no server")?;
        ours.fleet.disturb(disturbers).await
    }

    /// One window on one side.
    async fn slice(&mut self, side: usize, warm_up: Duration, length: Duration) -> Result<Slice> {
        let Side { fleet, server } = &mut self.sides[side];
        Measuring {
            fleet,
            server,
            warm_up,
            length,
            churn_percent_per_minute: self.plan.churn_percent_per_minute,
            live: &mut self.live,
        }
        .run()
        .await
    }

    /// Rounds on all sides: `[0]` are ours, `[1]` the reference's if it runs. Who comes first alternates, so that what
    /// drifts hits both alike.
    pub(crate) async fn rounds(
        &mut self,
        rounds: u32,
        length: Duration,
        warm_up: Duration,
    ) -> Result<Vec<Vec<Slice>>> {
        let count = self.sides.len();
        let mut slices = vec![Vec::new(); count];
        for round in 0..rounds {
            for turn in 0..count {
                let side = if round % 2 == 0 { turn } else { count - 1 - turn };
                let warm_up = if self.warm { PAUSE_WARM_UP } else { warm_up };
                let slice = self.slice(side, warm_up, length).await?;
                slices[side].push(slice);
            }
            self.warm = true;
        }
        Ok(slices)
    }

    /// The figures of rounds on this bed.
    pub(crate) fn report(&self, slices: &[Vec<Slice>]) -> Result<Report> {
        let ours = &self.sides.first().context("there is no server")?.fleet;
        let reference = slices.get(1).map_or(&[][..], Vec::as_slice);
        let (faults_in_all, mut faults) = ours.faults.all();
        if faults_in_all > faults.len() as u64 {
            faults.push(format!("{faults_in_all} faults in all"));
        }
        let ms =
            |quantile| crate::statistics::rounded(ours.join_us.value_at_quantile(quantile) as f64 / 1000.0);
        let context = Context {
            workload: self.plan.description.clone(),
            transport: self.transport.clone(),
            join_ms: JoinMs { p50: ms(0.5), p99: ms(0.99) },
            server_cores: self.pinning.server.to_string(),
            client_cores: self.pinning.clients.to_string(),
            client_core_count: self.pinning.clients.count(),
            faults,
            disturbance: ours.disturbance(),
        };
        Report::new(slices.first().map_or(&[][..], Vec::as_slice), reference, context)
            .context("nothing was measured")
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many cores the tester has; `None` if it was not pinned.
    pub(crate) fn client_cores(&self) -> Option<usize> {
        self.pinning.clients.count()
    }

    /// Makes room for the sockets of a larger size.
    pub(crate) fn allow_descriptors(&self, size: usize) -> Result<()> {
        let participants = self.plan.participants(size) as u64;
        machine::raise_descriptor_limit(
            OWN_DESCRIPTORS + self.sides.len() as u64 * DESCRIPTORS_PER_PARTICIPANT * participants,
        )
    }
}
