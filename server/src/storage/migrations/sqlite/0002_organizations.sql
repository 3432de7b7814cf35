-- Organizations, users, presets, sessions and the audit log; meetings and participants with what these need of them.
--
-- Times are microseconds since the Unix epoch; ids are the 16 bytes of the UUID; settings, presets and details are JSON
-- that only the program reads. `search_text` holds what is searched, in lower case as Unicode has it, which SQLite's own
-- lower() does not know.

CREATE TABLE organizations (
    id                  BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    slug                TEXT    NOT NULL UNIQUE,
    name                TEXT    NOT NULL,
    settings            TEXT    NOT NULL,
    -- Also in the settings; here for the query that looks for sessions that go on for too long.
    max_meeting_minutes INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email           TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    role            TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'host', 'member')),
    password_hash   TEXT,
    avatar_url      TEXT,
    is_active       INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    last_login_at   INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    search_text     TEXT    NOT NULL,
    UNIQUE (organization_id, email)
) STRICT;

CREATE UNIQUE INDEX users_one_owner ON users (organization_id) WHERE role = 'owner';

-- Spent tokens stay until they end, so that a second use is noticed; revoked ones are deleted.
CREATE TABLE refresh_tokens (
    hash       BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    family     BLOB    NOT NULL CHECK (length(family) = 16),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    spent_at   INTEGER
) STRICT;

CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id, family);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

-- Without a user it makes an owner.
CREATE TABLE setup_secrets (
    hash            BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    organization_id BLOB    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id         BLOB    REFERENCES users (id) ON DELETE CASCADE,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER
) STRICT;

CREATE UNIQUE INDEX setup_secrets_one_per_user ON setup_secrets (user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX setup_secrets_one_owner ON setup_secrets (organization_id) WHERE user_id IS NULL;
CREATE INDEX setup_secrets_by_organization ON setup_secrets (organization_id);

CREATE TABLE clients (
    id              TEXT    NOT NULL PRIMARY KEY,
    organization_id BLOB    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    secret_hash     BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    -- Names with a space between.
    scopes          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX clients_by_organization ON clients (organization_id, id);

CREATE TABLE presets (
    organization_id BLOB    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    document        TEXT    NOT NULL,
    is_shipped      INTEGER NOT NULL CHECK (is_shipped IN (0, 1)),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, name)
) STRICT;

-- Meetings that were there before organizations were belong to one of their own. Its id is a UUIDv7 of now.
INSERT INTO organizations (id, slug, name, settings, created_at, updated_at)
SELECT unhex(
           printf('%012x', CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER))
           || '7' || substr(hex(randomblob(2)), 2)
           || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(8)), 2)
       ),
       'default', 'Default',
       '{"guest_access":"link_only","max_concurrent_meetings":null,"max_participants":null,"max_meeting_minutes":null,"hosts_host_everywhere":false}',
       unixepoch('now') * 1000000, unixepoch('now') * 1000000
WHERE EXISTS (SELECT 1 FROM meetings);

CREATE TABLE new_meetings (
    id                 BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organization_id    BLOB    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    slug               TEXT    NOT NULL UNIQUE,
    display_name       TEXT    NOT NULL,
    description        TEXT,
    meeting_type       TEXT    NOT NULL CHECK (meeting_type IN ('video', 'audio', 'webinar', 'livestream')),
    scheduling         TEXT    NOT NULL CHECK (scheduling IN ('instant', 'scheduled', 'permanent')),
    status             TEXT    NOT NULL
                       CHECK (status IN ('draft', 'scheduled', 'active', 'ended', 'cancelled', 'failed')),
    -- NULL follows the organization.
    access_policy      TEXT    CHECK (access_policy IN ('invited', 'members', 'link', 'open')),
    max_participants   INTEGER NOT NULL CHECK (max_participants >= 0),
    max_guests         INTEGER CHECK (max_guests >= 0),
    keep_alive_seconds INTEGER NOT NULL CHECK (keep_alive_seconds >= 0),
    settings           TEXT    NOT NULL,
    created_by         TEXT,
    scheduled_start    INTEGER,
    scheduled_end      INTEGER,
    started_at         INTEGER,
    ended_at           INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    version            INTEGER NOT NULL,
    search_text        TEXT    NOT NULL
) STRICT;

-- Meetings used to go on until somebody ended them, so those that are active become permanent: no link stops working.
-- The program fills in `search_text`.
INSERT INTO new_meetings
SELECT meetings.id, organizations.id, meetings.slug, display_name, NULL, 'video',
       CASE WHEN ended_at IS NULL THEN 'permanent' ELSE 'instant' END,
       CASE WHEN ended_at IS NULL THEN 'active' ELSE 'ended' END,
       CASE WHEN require_auth THEN 'members' ELSE 'link' END,
       max_participants, NULL, 60,
       json_object('enable_e2e_encryption', json(iif(enable_e2e_encryption, 'true', 'false')),
                   'recording_enabled', json(iif(recording_enabled, 'true', 'false'))),
       created_by, NULL, NULL, NULL, ended_at, meetings.created_at, coalesce(ended_at, meetings.created_at), 0,
       ''
FROM meetings CROSS JOIN organizations;

-- Every participant a join token was issued for, whether or not it ever joined.
CREATE TABLE new_participants (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    meeting_id BLOB    NOT NULL REFERENCES new_meetings (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('host', 'participant', 'guest', 'viewer')),
    preset     TEXT    NOT NULL,
    user_id    TEXT,
    is_guest   INTEGER NOT NULL CHECK (is_guest IN (0, 1)),
    issued_by  TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- Tokens used to live for 24 hours.
INSERT INTO new_participants
SELECT id, meeting_id, name, role, 'video_' || role, user_id, 0, NULL, created_at, created_at + 86400000000, NULL
FROM participants;

DROP TABLE participants;
DROP TABLE meetings;
ALTER TABLE new_meetings RENAME TO meetings;
ALTER TABLE new_participants RENAME TO participants;

-- The list shows the newest meeting first.
CREATE INDEX meetings_by_organization ON meetings (organization_id, created_at DESC, id DESC);
CREATE INDEX meetings_due ON meetings (scheduled_start) WHERE status = 'scheduled';
CREATE INDEX meetings_unjoined ON meetings (created_at) WHERE status = 'active' AND started_at IS NULL;
CREATE INDEX meetings_by_end ON meetings (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX participants_by_meeting ON participants (meeting_id);
CREATE INDEX participants_by_end ON participants (expires_at);
CREATE INDEX participants_by_user ON participants (user_id, meeting_id) WHERE user_id IS NOT NULL;

CREATE TABLE invitations (
    meeting_id BLOB    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    invited_at INTEGER NOT NULL,
    PRIMARY KEY (meeting_id, user_id)
) STRICT;

CREATE INDEX invitations_by_user ON invitations (user_id, meeting_id);

-- Outlives its meeting: whoever holds that live has to learn of the end.
CREATE TABLE removals (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    meeting_id     BLOB    NOT NULL CHECK (length(meeting_id) = 16),
    participant_id BLOB    CHECK (length(participant_id) = 16),
    meeting_over   INTEGER NOT NULL CHECK (meeting_over IN (0, 1)),
    at             INTEGER NOT NULL
) STRICT;

CREATE INDEX removals_by_time ON removals (at, id);

CREATE TABLE sessions (
    id                BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    meeting_id        BLOB    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    -- The meeting's, which never changes.
    organization_id   BLOB    NOT NULL CHECK (length(organization_id) = 16),
    started_at        INTEGER NOT NULL,
    ended_at          INTEGER,
    participant_count INTEGER NOT NULL CHECK (participant_count >= 0),
    live_count        INTEGER NOT NULL CHECK (live_count >= 0),
    peak_count        INTEGER NOT NULL CHECK (peak_count >= 0),
    last_seen_at      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX sessions_one_running ON sessions (meeting_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_meeting ON sessions (meeting_id);
CREATE INDEX sessions_by_organization ON sessions (organization_id, started_at DESC, id DESC);
CREATE INDEX sessions_running ON sessions (organization_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- What is said of the participant is as it was when it came.
CREATE TABLE attendances (
    -- In the order of coming.
    number         INTEGER NOT NULL PRIMARY KEY,
    session_id     BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id BLOB    NOT NULL CHECK (length(participant_id) = 16),
    name           TEXT    NOT NULL,
    role           TEXT    NOT NULL CHECK (role IN ('host', 'participant', 'guest', 'viewer')),
    user_id        TEXT,
    is_guest       INTEGER NOT NULL CHECK (is_guest IN (0, 1)),
    joined_at      INTEGER NOT NULL,
    left_at        INTEGER,
    leave_reason   TEXT
) STRICT;

CREATE INDEX attendances_by_session ON attendances (session_id, joined_at, number);
CREATE INDEX attendances_by_participant ON attendances (session_id, participant_id);
CREATE UNIQUE INDEX attendances_one_stay ON attendances (session_id, participant_id) WHERE left_at IS NULL;

-- Entries outlive what they are about; those of an organization go with it.
CREATE TABLE audit_entries (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB    CHECK (length(organization_id) = 16),
    at              INTEGER NOT NULL,
    actor_kind      TEXT    NOT NULL,
    actor_id        TEXT,
    action          TEXT    NOT NULL,
    target_kind     TEXT,
    target_id       TEXT,
    details         TEXT    NOT NULL,
    request_id      TEXT
) STRICT;

CREATE INDEX audit_entries_by_organization ON audit_entries (organization_id, at DESC, id DESC);
CREATE INDEX audit_entries_by_time ON audit_entries (at);
