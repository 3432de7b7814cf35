-- How media of participants got through.
--
-- Durations and times of travel are microseconds; scores and losses are floating-point numbers.

-- About ten seconds of one participant each. Kept for days.
CREATE TABLE quality_samples (
    session_id     UUID             NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id UUID             NOT NULL,
    -- The end of it.
    at             BIGINT           NOT NULL,
    duration       BIGINT           NOT NULL,
    score          DOUBLE PRECISION NOT NULL,
    lowest_score   DOUBLE PRECISION NOT NULL,
    rtt            BIGINT           NOT NULL,
    max_rtt        BIGINT           NOT NULL,
    jitter         BIGINT           NOT NULL,
    audio_units    BIGINT           NOT NULL,
    audio_bytes    BIGINT           NOT NULL,
    audio_missing  BIGINT           NOT NULL,
    video_units    BIGINT           NOT NULL,
    video_bytes    BIGINT           NOT NULL,
    video_missing  BIGINT           NOT NULL,
    sent_bytes     BIGINT           NOT NULL,
    dropped        BIGINT           NOT NULL,
    sent_packets   BIGINT           NOT NULL,
    lost_packets   BIGINT           NOT NULL,
    available_bps  BIGINT,
    reported_loss  DOUBLE PRECISION,
    PRIMARY KEY (session_id, participant_id, at)
);

CREATE INDEX quality_samples_by_time ON quality_samples (at);

-- Sums of all samples of a participant in a session, which outlive them: they are kept as long as the session.
CREATE TABLE quality_totals (
    session_id     UUID             NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id UUID             NOT NULL,
    duration       BIGINT           NOT NULL,
    -- Durations of the samples of each grade.
    excellent      BIGINT           NOT NULL,
    good           BIGINT           NOT NULL,
    fair           BIGINT           NOT NULL,
    poor           BIGINT           NOT NULL,
    -- Sums in which each sample counts as long as it is.
    score_duration DOUBLE PRECISION NOT NULL,
    rtt_duration   DOUBLE PRECISION NOT NULL,
    lowest_score   DOUBLE PRECISION NOT NULL,
    max_rtt        BIGINT           NOT NULL,
    jitter         BIGINT           NOT NULL,
    audio_units    BIGINT           NOT NULL,
    audio_bytes    BIGINT           NOT NULL,
    audio_missing  BIGINT           NOT NULL,
    video_units    BIGINT           NOT NULL,
    video_bytes    BIGINT           NOT NULL,
    video_missing  BIGINT           NOT NULL,
    sent_bytes     BIGINT           NOT NULL,
    dropped        BIGINT           NOT NULL,
    sent_packets   BIGINT           NOT NULL,
    lost_packets   BIGINT           NOT NULL,
    PRIMARY KEY (session_id, participant_id)
);
