use std::time::Duration;

use async_trait::async_trait;
use darktower_core::meeting::quality::score::grade;
use darktower_core::meeting::quality::{Ingress, QualityRecord};
use darktower_protocol::signaling::pb::NetworkGrade;
use darktower_protocol::{MeetingSessionId, ParticipantId};
use futures_util::future::BoxFuture;

use super::dialect::{Backend, Connection, Query, Row};
use super::page;
use super::row::{get, id, listed, number, optional_number, time};
use crate::storage::model::{Listed, Page, QualitySample, QualityTotal};
use crate::storage::representation::micros;
use crate::storage::store::{QualityStore, StoreError, Stored};

#[async_trait]
impl QualityStore for Backend {
    async fn add_quality_sample(&self, sample: &QualitySample) -> Stored<()> {
        self.queues.quality_samples.write(sample.clone()).await
    }

    async fn quality_samples(
        &self,
        session: MeetingSessionId,
        participant: ParticipantId,
        page: Page,
    ) -> Stored<Listed<QualitySample>> {
        let rows = sqlx::query(page!(
            "SELECT * FROM quality_samples WHERE session_id = $1 AND participant_id = $2",
            order by "at", limit "$3", offset "$4"
        ))
        .bind(session.as_uuid())
        .bind(participant.as_uuid())
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "at", read_sample)
    }

    async fn quality_totals(&self, session: MeetingSessionId, page: Page) -> Stored<Listed<QualityTotal>> {
        let rows = sqlx::query(page!(
            "SELECT * FROM quality_totals WHERE session_id = $1",
            order by "participant_id", limit "$2", offset "$3"
        ))
        .bind(session.as_uuid())
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .fetch_all(self.reader())
        .await?;
        listed(&rows, "participant_id", read_total)
    }
}

/// The columns from `lowest_score` to `lost_packets` are bound by [`bind_counts`].
const INSERT_SAMPLE: &str = "INSERT INTO quality_samples (session_id, participant_id, at, duration, score, rtt, \
     available_bps, reported_loss, lowest_score, max_rtt, jitter, audio_units, audio_bytes, audio_missing, \
     video_units, video_bytes, video_missing, sent_bytes, dropped, sent_packets, lost_packets) VALUES \
     ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

const ADD_TO_TOTAL: &str = "INSERT INTO quality_totals AS total (session_id, participant_id, duration, excellent, good, \
     fair, poor, score_duration, rtt_duration, lowest_score, max_rtt, jitter, audio_units, audio_bytes, audio_missing, \
     video_units, video_bytes, video_missing, sent_bytes, dropped, sent_packets, lost_packets) VALUES \
     ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
     ON CONFLICT (session_id, participant_id) DO UPDATE SET \
     duration = total.duration + excluded.duration, \
     excellent = total.excellent + excluded.excellent, \
     good = total.good + excluded.good, \
     fair = total.fair + excluded.fair, \
     poor = total.poor + excluded.poor, \
     score_duration = total.score_duration + excluded.score_duration, \
     rtt_duration = total.rtt_duration + excluded.rtt_duration, \
     lowest_score = CASE WHEN total.lowest_score < excluded.lowest_score THEN total.lowest_score \
         ELSE excluded.lowest_score END, \
     max_rtt = CASE WHEN total.max_rtt > excluded.max_rtt THEN total.max_rtt ELSE excluded.max_rtt END, \
     jitter = CASE WHEN total.jitter > excluded.jitter THEN total.jitter ELSE excluded.jitter END, \
     audio_units = total.audio_units + excluded.audio_units, \
     audio_bytes = total.audio_bytes + excluded.audio_bytes, \
     audio_missing = total.audio_missing + excluded.audio_missing, \
     video_units = total.video_units + excluded.video_units, \
     video_bytes = total.video_bytes + excluded.video_bytes, \
     video_missing = total.video_missing + excluded.video_missing, \
     sent_bytes = total.sent_bytes + excluded.sent_bytes, \
     dropped = total.dropped + excluded.dropped, \
     sent_packets = total.sent_packets + excluded.sent_packets, \
     lost_packets = total.lost_packets + excluded.lost_packets";

/// Adds samples, each of them to its total, too.
pub(super) fn add_samples<'c>(
    connection: &'c mut Connection,
    samples: &'c [QualitySample],
) -> BoxFuture<'c, Stored<Vec<()>>> {
    Box::pin(async move {
        for sample in samples {
            insert_sample(sample).execute(&mut *connection).await?;
            add_to_total(sample).execute(&mut *connection).await?;
        }
        Ok(vec![(); samples.len()])
    })
}

fn insert_sample(sample: &QualitySample) -> Query {
    let record = &sample.record;
    let insert = sqlx::query(INSERT_SAMPLE)
        .bind(*sample.session_id.as_uuid())
        .bind(*record.participant.as_uuid())
        .bind(micros(sample.at))
        .bind(stored_duration(record.duration))
        .bind(record.score)
        .bind(stored_duration(record.rtt))
        .bind(record.available_bps.map(stored))
        .bind(record.reported_loss);
    bind_counts(insert, record)
}

fn add_to_total(sample: &QualitySample) -> Query {
    let record = &sample.record;
    let duration = stored_duration(record.duration);
    let grade = grade(record.score);
    let of = |other| if grade == other { duration } else { 0 };
    let add = sqlx::query(ADD_TO_TOTAL)
        .bind(*sample.session_id.as_uuid())
        .bind(*record.participant.as_uuid())
        .bind(duration)
        .bind(of(NetworkGrade::Excellent))
        .bind(of(NetworkGrade::Good))
        .bind(of(NetworkGrade::Fair))
        .bind(of(NetworkGrade::Poor))
        .bind(record.score * duration as f64)
        .bind(stored_duration(record.rtt) as f64 * duration as f64);
    bind_counts(add, record)
}

/// What both tables have.
fn bind_counts(query: Query, record: &QualityRecord) -> Query {
    let QualityRecord { audio, video, .. } = record;
    let query = query
        .bind(record.lowest_score)
        .bind(stored_duration(record.max_rtt))
        .bind(stored_duration(record.jitter));
    let counts = [
        audio.units,
        audio.bytes,
        audio.missing,
        video.units,
        video.bytes,
        video.missing,
        record.sent_bytes,
        record.dropped,
        record.sent_packets,
        record.lost_packets,
    ];
    counts.into_iter().fold(query, |query, count| query.bind(stored(count)))
}

fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn stored_duration(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(row: &Row, column: &'static str) -> Stored<Duration> {
    number(row, column).map(Duration::from_micros)
}

fn audio(row: &Row) -> Stored<Ingress> {
    let (units, bytes) = (number(row, "audio_units")?, number(row, "audio_bytes")?);
    Ok(Ingress { units, bytes, missing: number(row, "audio_missing")? })
}

fn video(row: &Row) -> Stored<Ingress> {
    let (units, bytes) = (number(row, "video_units")?, number(row, "video_bytes")?);
    Ok(Ingress { units, bytes, missing: number(row, "video_missing")? })
}

fn read_sample(row: &Row) -> Stored<QualitySample> {
    Ok(QualitySample {
        session_id: id(row, "session_id", MeetingSessionId::from_uuid)?,
        at: time(row, "at")?,
        record: QualityRecord {
            score: get(row, "score")?,
            rtt: duration(row, "rtt")?,
            available_bps: optional_number(row, "available_bps")?,
            reported_loss: get(row, "reported_loss")?,
            ..read_record(row)?
        },
    })
}

fn read_total(row: &Row) -> Stored<QualityTotal> {
    let record = read_record(row)?;
    let weight = record.duration.as_micros() as f64;
    if weight <= 0.0 {
        return Err(StoreError::Damaged("a total of nothing"));
    }
    let (scores, rtts): (f64, f64) = (get(row, "score_duration")?, get(row, "rtt_duration")?);
    Ok(QualityTotal {
        excellent: duration(row, "excellent")?,
        good: duration(row, "good")?,
        fair: duration(row, "fair")?,
        poor: duration(row, "poor")?,
        record: QualityRecord {
            score: scores / weight,
            rtt: Duration::from_micros((rtts / weight) as u64),
            ..record
        },
    })
}

/// What both tables have; the rest is as in a record of nothing.
fn read_record(row: &Row) -> Stored<QualityRecord> {
    Ok(QualityRecord {
        participant: id(row, "participant_id", ParticipantId::from_uuid)?,
        duration: duration(row, "duration")?,
        score: 0.0,
        lowest_score: get(row, "lowest_score")?,
        rtt: Duration::ZERO,
        max_rtt: duration(row, "max_rtt")?,
        jitter: duration(row, "jitter")?,
        audio: audio(row)?,
        video: video(row)?,
        sent_bytes: number(row, "sent_bytes")?,
        dropped: number(row, "dropped")?,
        sent_packets: number(row, "sent_packets")?,
        lost_packets: number(row, "lost_packets")?,
        available_bps: None,
        reported_loss: None,
    })
}
