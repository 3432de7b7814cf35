-- How media of participants got through.
--
-- Durations and times of travel are microseconds; scores and losses are floating-point numbers.

-- About ten seconds of one participant each. Kept for days.
CREATE TABLE quality_samples (
    session_id     BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id BLOB    NOT NULL CHECK (length(participant_id) = 16),
    -- The end of it.
    at             INTEGER NOT NULL,
    duration       INTEGER NOT NULL,
    score          REAL    NOT NULL,
    lowest_score   REAL    NOT NULL,
    rtt            INTEGER NOT NULL,
    max_rtt        INTEGER NOT NULL,
    jitter         INTEGER NOT NULL,
    audio_units    INTEGER NOT NULL,
    audio_bytes    INTEGER NOT NULL,
    audio_missing  INTEGER NOT NULL,
    video_units    INTEGER NOT NULL,
    video_bytes    INTEGER NOT NULL,
    video_missing  INTEGER NOT NULL,
    sent_bytes     INTEGER NOT NULL,
    dropped        INTEGER NOT NULL,
    sent_packets   INTEGER NOT NULL,
    lost_packets   INTEGER NOT NULL,
    available_bps  INTEGER,
    reported_loss  REAL,
    PRIMARY KEY (session_id, participant_id, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX quality_samples_by_time ON quality_samples (at);

-- Sums of all samples of a participant in a session, which outlive them: they are kept as long as the session.
CREATE TABLE quality_totals (
    session_id     BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id BLOB    NOT NULL CHECK (length(participant_id) = 16),
    duration       INTEGER NOT NULL,
    -- Durations of the samples of each grade.
    excellent      INTEGER NOT NULL,
    good           INTEGER NOT NULL,
    fair           INTEGER NOT NULL,
    poor           INTEGER NOT NULL,
    -- Sums in which each sample counts as long as it is.
    score_duration REAL    NOT NULL,
    rtt_duration   REAL    NOT NULL,
    lowest_score   REAL    NOT NULL,
    max_rtt        INTEGER NOT NULL,
    jitter         INTEGER NOT NULL,
    audio_units    INTEGER NOT NULL,
    audio_bytes    INTEGER NOT NULL,
    audio_missing  INTEGER NOT NULL,
    video_units    INTEGER NOT NULL,
    video_bytes    INTEGER NOT NULL,
    video_missing  INTEGER NOT NULL,
    sent_bytes     INTEGER NOT NULL,
    dropped        INTEGER NOT NULL,
    sent_packets   INTEGER NOT NULL,
    lost_packets   INTEGER NOT NULL,
    PRIMARY KEY (session_id, participant_id)
) STRICT, WITHOUT ROWID;
