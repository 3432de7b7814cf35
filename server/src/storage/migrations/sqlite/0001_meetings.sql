-- Times are microseconds since the Unix epoch; ids are the 16 bytes of the UUID.

CREATE TABLE meetings (
    id                    BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    slug                  TEXT    NOT NULL UNIQUE,
    display_name          TEXT    NOT NULL,
    max_participants      INTEGER NOT NULL CHECK (max_participants > 0),
    enable_e2e_encryption INTEGER NOT NULL CHECK (enable_e2e_encryption IN (0, 1)),
    require_auth          INTEGER NOT NULL CHECK (require_auth IN (0, 1)),
    recording_enabled     INTEGER NOT NULL CHECK (recording_enabled IN (0, 1)),
    created_by            TEXT,
    created_at            INTEGER NOT NULL,
    -- NULL while the meeting is active.
    ended_at              INTEGER
) STRICT;

-- The list shows the newest meeting first.
CREATE INDEX meetings_by_time ON meetings (created_at DESC, id DESC);

-- Every participant a join token was issued for, whether or not it ever joined.
CREATE TABLE participants (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    meeting_id BLOB    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('host', 'participant')),
    user_id    TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX participants_by_meeting ON participants (meeting_id);
CREATE INDEX participants_by_user ON participants (user_id) WHERE user_id IS NOT NULL;
