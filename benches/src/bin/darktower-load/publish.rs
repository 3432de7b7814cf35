//! One published stream: frames at their times, noted in the ledger just before they leave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use darktower_protocol::FrameType;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::link::{Faults, Link};
use crate::media::Sending;
use crate::tally::{lock, now_us};
use crate::workload::{Frame, Source};

/// When media flows: since the instant, or not at all.
pub(crate) type Gate = Option<Instant>;

/// When the gate was opened; `None` if it never will be.
async fn opened(gate: &mut watch::Receiver<Gate>) -> Option<Instant> {
    *gate.wait_for(Option::is_some).await.ok()?
}

/// A stream that is being published.
pub(crate) struct Publication {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) source: Source,
    /// Added to the times of all frames, so that not all streams send at the same instant.
    pub(crate) phase: Duration,
    pub(crate) link: Arc<Link>,
    /// A QUIC stream per group, as our protocol has it; else one for all.
    pub(crate) stream_per_group: bool,
    pub(crate) gate: watch::Receiver<Gate>,
    /// Microseconds by which frames left after their time: when this grows, the tester is the bottleneck.
    pub(crate) lateness_us: Arc<Mutex<Histogram<u64>>>,
    pub(crate) faults: Arc<Faults>,
}

impl Publication {
    /// Publishes whenever the gate is open, until it is gone.
    pub(crate) async fn run(mut self) {
        let faults = Arc::clone(&self.faults);
        if let Err(error) = self.publish().await {
            faults.note(format!("publishing failed: {error:#}"));
        }
    }

    async fn publish(&mut self) -> Result<()> {
        let mut stream: Option<Sending> = None;
        loop {
            let Some(start) = opened(&mut self.gate).await else { return Ok(()) };
            self.source.restart_group();
            let interval = self.source.model().interval();
            for number in 0.. {
                let due = start + self.phase + interval * number;
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    changed = self.gate.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                }
                let late = Instant::now().saturating_duration_since(due);
                lock(&self.lateness_us).saturating_record(late.as_micros() as u64);
                let frame = self.source.next_frame(self.link.take_key_frame_wish(self.ledger.stream_id));
                self.send(&mut stream, frame).await?;
            }
            if self.stream_per_group
                && let Some(mut ended) = stream.take()
            {
                ended.finish();
            }
        }
    }

    async fn send(&self, stream: &mut Option<Sending>, frame: Frame) -> Result<()> {
        let payload = self.ledger.payload(frame);
        let starts_group = frame.frame_type == FrameType::VideoKey && self.stream_per_group;
        if !self.ledger.is_audio && (starts_group || stream.is_none()) {
            if let Some(ended) = stream {
                ended.finish();
            }
            *stream = Some(self.link.media.open_uni().await.context("cannot open a stream")?);
        }
        // From here on nothing waits before the unit is QUIC's.
        let timestamp = now_us();
        let sequence = self.ledger.append(timestamp, frame);
        let sent = self.ledger.get(sequence).context("the unit was appended just now")?;
        let header = self.ledger.header(sequence, &sent);
        let Some(stream) = stream else {
            let mut unit = BytesMut::with_capacity(header.len() + payload.len());
            unit.extend_from_slice(&header);
            unit.extend_from_slice(&payload);
            return self.link.media.send_datagram(unit.freeze()).await.context("cannot send a datagram");
        };
        let header = Bytes::copy_from_slice(&header);
        let written = if starts_group {
            let preamble = GroupPreamble {
                kind: GroupKind::Video,
                continuation: false,
                discontinuity: false,
                stream_id: self.ledger.stream_id,
                group: sequence,
                first_sequence: sequence,
            };
            stream.write_chunks(&mut [preamble.encode(), header, payload]).await
        } else {
            stream.write_chunks(&mut [header, payload]).await
        };
        written.context("cannot write to a stream")
    }
}
