//! The cost of a broadcast as its audience grows.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::bed::Bed;
use crate::cli::SweepArgs;
use crate::plan;
use crate::report::Report;
use crate::svg::{Chart, Series};
use crate::tally::Class;

#[derive(Debug, Serialize)]
struct Sweep {
    points: Vec<Report>,
}

/// Measures every size with all servers connected, writes what was asked for.
pub(crate) async fn run(args: &SweepArgs) -> Result<()> {
    let sizes = &args.subscribers;
    ensure!(sizes.is_sorted(), "--subscribers must ascend: people come in, nobody is sent away");
    let largest = sizes.last().copied().context("--subscribers names no number")?;
    let plan = plan::fanout(largest, &args.broadcast)?;
    let common = &args.common;
    let mut bed = Bed::start(common, plan, common.with_reference(), largest)?;
    bed.live.say(&bed.plan().description.clone());
    let (rounds, length) = common.rounds();
    let mut points = Vec::new();
    for size in sizes {
        bed.resize(*size).await?;
        let slices = bed.rounds(rounds, length, Duration::from_secs_f64(common.warm_up)).await?;
        let report = bed.report(&slices)?;
        bed.live.say(&line(&report));
        points.push(report);
    }
    drop(bed);
    if let Some(path) = &args.csv {
        fs::write(path, csv(&points)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, svg(&points)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let defects: Vec<_> = points
        .iter()
        .flat_map(|point| {
            point.defects(0.0).into_iter().map(|defect| format!("{}: {defect}", point.subscribers))
        })
        .collect();
    if common.json {
        println!("{}", serde_json::to_string(&Sweep { points })?);
    } else {
        print!("{}", csv(&points));
    }
    if !defects.is_empty() {
        bail!("the run was not right: {}", defects.join("; "));
    }
    Ok(())
}

fn line(report: &Report) -> String {
    let reference = report
        .reference_ms_per_subscriber_second
        .map_or(String::new(), |cost| format!(", reference {cost} ms"));
    format!(
        "{} subscribers: {} ms of CPU per subscriber and second{reference}",
        report.subscribers, report.server_ms_per_subscriber_second
    )
}

fn csv(points: &[Report]) -> String {
    let mut text = String::from(
        "subscribers,server_ms_per_subscriber_second,reference_ms_per_subscriber_second,tester_ms_per_subscriber_second,\
         audio_p50_us,audio_p99_us,delta_p50_us,delta_p99_us,key_p50_us,key_p99_us,units_expected,units_received,\
         units_late,server_rss_bytes,steal_s\n",
    );
    for point in points {
        let reference =
            point.reference_ms_per_subscriber_second.map_or(String::new(), |cost| cost.to_string());
        let _ = write!(
            text,
            "{},{},{reference},{}",
            point.subscribers, point.server_ms_per_subscriber_second, point.tester.ms_per_subscriber_second
        );
        for class in Class::ALL {
            match point.latency_us.class(class) {
                Some(latency) => {
                    let _ = write!(text, ",{},{}", latency.p50, latency.p99);
                }
                None => text.push_str(",,"),
            }
        }
        let _ = writeln!(
            text,
            ",{},{},{},{},{}",
            point.units_expected,
            point.units_received,
            point.units_late,
            point.server_rss_bytes,
            point.steal_s
        );
    }
    text
}

fn svg(points: &[Report]) -> String {
    let line = |name: &str, value: &dyn Fn(&Report) -> Option<f64>| Series {
        name: name.to_owned(),
        points: points.iter().filter_map(|point| Some((point.subscribers as f64, value(point)?))).collect(),
    };
    let p99 =
        |class: Class| line(class.name(), &|point| Some(point.latency_us.class(class)?.p99 as f64 / 1000.0));
    let cost = Chart {
        title: "Server CPU per subscriber".to_owned(),
        x_label: "subscribers".to_owned(),
        y_label: "ms of CPU per subscriber and second".to_owned(),
        series: vec![
            line("darktower", &|point| Some(point.server_ms_per_subscriber_second)),
            line("reference (naive)", &|point| point.reference_ms_per_subscriber_second),
        ],
    };
    let latency = Chart {
        title: "Latency p99, darktower".to_owned(),
        x_label: "subscribers".to_owned(),
        y_label: "ms from send to whole frame".to_owned(),
        series: Class::ALL.into_iter().map(p99).collect(),
    };
    let subtitle = points.first().map_or(String::new(), |point| {
        format!("{}; {}; {}", point.workload, point.transport, point.machine.cpu)
    });
    crate::svg::page(&subtitle, &[cost, latency])
}
