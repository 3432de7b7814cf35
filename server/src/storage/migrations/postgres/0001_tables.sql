-- Organizations, users, presets, meetings, participants, sessions and the audit log.
--
-- The same as in SQLite, with the same queries: times are microseconds since the Unix epoch; settings, presets and
-- details are JSON that only the program reads; `search_text` holds what is searched, in lower case. What lists are
-- ordered by has the collation "C", so that every database orders them alike, by bytes.

CREATE TABLE organizations (
    id                  UUID    NOT NULL PRIMARY KEY,
    slug                TEXT    NOT NULL UNIQUE,
    name                TEXT    NOT NULL,
    settings            TEXT    NOT NULL,
    -- Also in the settings; here for the query that looks for sessions that go on for too long.
    max_meeting_minutes BIGINT,
    created_at          BIGINT  NOT NULL,
    updated_at          BIGINT  NOT NULL
);

CREATE TABLE users (
    id              UUID    NOT NULL PRIMARY KEY,
    organization_id UUID    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email           TEXT    COLLATE "C" NOT NULL,
    name            TEXT    NOT NULL,
    role            TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'host', 'member')),
    password_hash   TEXT,
    avatar_url      TEXT,
    is_active       BOOLEAN NOT NULL,
    last_login_at   BIGINT,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    search_text     TEXT    NOT NULL,
    UNIQUE (organization_id, email)
);

CREATE UNIQUE INDEX users_one_owner ON users (organization_id) WHERE role = 'owner';

-- Spent tokens stay until they end, so that a second use is noticed; revoked ones are deleted.
CREATE TABLE refresh_tokens (
    hash       BYTEA   NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    user_id    UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    family     UUID    NOT NULL,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    spent_at   BIGINT
);

CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id, family);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

-- Without a user it makes an owner.
CREATE TABLE setup_secrets (
    hash            BYTEA   NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    organization_id UUID    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id         UUID    REFERENCES users (id) ON DELETE CASCADE,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT
);

CREATE UNIQUE INDEX setup_secrets_one_per_user ON setup_secrets (user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX setup_secrets_one_owner ON setup_secrets (organization_id) WHERE user_id IS NULL;
CREATE INDEX setup_secrets_by_organization ON setup_secrets (organization_id);

CREATE TABLE clients (
    id              TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id UUID    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    secret_hash     BYTEA   NOT NULL CHECK (length(secret_hash) = 32),
    -- Names with a space between.
    scopes          TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL
);

CREATE INDEX clients_by_organization ON clients (organization_id, id);

CREATE TABLE presets (
    organization_id UUID    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT    COLLATE "C" NOT NULL,
    document        TEXT    NOT NULL,
    is_shipped      BOOLEAN NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    PRIMARY KEY (organization_id, name)
);

CREATE TABLE meetings (
    id                 UUID    NOT NULL PRIMARY KEY,
    organization_id    UUID    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    slug               TEXT    NOT NULL UNIQUE,
    display_name       TEXT    NOT NULL,
    description        TEXT,
    meeting_type       TEXT    NOT NULL CHECK (meeting_type IN ('video', 'audio', 'webinar', 'livestream')),
    scheduling         TEXT    NOT NULL CHECK (scheduling IN ('instant', 'scheduled', 'permanent')),
    status             TEXT    NOT NULL
                       CHECK (status IN ('draft', 'scheduled', 'active', 'ended', 'cancelled', 'failed')),
    -- NULL follows the organization.
    access_policy      TEXT    CHECK (access_policy IN ('invited', 'members', 'link', 'open')),
    max_participants   BIGINT  NOT NULL CHECK (max_participants >= 0),
    max_guests         BIGINT  CHECK (max_guests >= 0),
    keep_alive_seconds BIGINT  NOT NULL CHECK (keep_alive_seconds >= 0),
    settings           TEXT    NOT NULL,
    created_by         TEXT,
    scheduled_start    BIGINT,
    scheduled_end      BIGINT,
    started_at         BIGINT,
    ended_at           BIGINT,
    created_at         BIGINT  NOT NULL,
    updated_at         BIGINT  NOT NULL,
    version            BIGINT  NOT NULL,
    search_text        TEXT    NOT NULL
);

-- Every participant a join token was issued for, whether or not it ever joined.
CREATE TABLE participants (
    id         UUID    NOT NULL PRIMARY KEY,
    meeting_id UUID    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('host', 'participant', 'guest', 'viewer')),
    preset     TEXT    NOT NULL,
    user_id    TEXT,
    is_guest   BOOLEAN NOT NULL,
    issued_by  TEXT,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    revoked_at BIGINT
);

-- The list shows the newest meeting first.
CREATE INDEX meetings_by_organization ON meetings (organization_id, created_at DESC, id DESC);
CREATE INDEX meetings_due ON meetings (scheduled_start) WHERE status = 'scheduled';
CREATE INDEX meetings_unjoined ON meetings (created_at) WHERE status = 'active' AND started_at IS NULL;
CREATE INDEX meetings_by_end ON meetings (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX participants_by_meeting ON participants (meeting_id);
CREATE INDEX participants_by_end ON participants (expires_at);
CREATE INDEX participants_by_user ON participants (user_id, meeting_id) WHERE user_id IS NOT NULL;

CREATE TABLE invitations (
    meeting_id UUID    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    user_id    UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    invited_at BIGINT  NOT NULL,
    PRIMARY KEY (meeting_id, user_id)
);

CREATE INDEX invitations_by_user ON invitations (user_id, meeting_id);

-- Outlives its meeting: whoever holds that live has to learn of the end.
CREATE TABLE removals (
    id             UUID    NOT NULL PRIMARY KEY,
    meeting_id     UUID    NOT NULL,
    participant_id UUID,
    meeting_over   BOOLEAN NOT NULL,
    at             BIGINT  NOT NULL
);

CREATE INDEX removals_by_time ON removals (at, id);

CREATE TABLE sessions (
    id                UUID    NOT NULL PRIMARY KEY,
    meeting_id        UUID    NOT NULL REFERENCES meetings (id) ON DELETE CASCADE,
    -- The meeting's, which never changes.
    organization_id   UUID    NOT NULL,
    started_at        BIGINT  NOT NULL,
    ended_at          BIGINT,
    participant_count BIGINT  NOT NULL CHECK (participant_count >= 0),
    live_count        BIGINT  NOT NULL CHECK (live_count >= 0),
    peak_count        BIGINT  NOT NULL CHECK (peak_count >= 0),
    last_seen_at      BIGINT  NOT NULL
);

CREATE UNIQUE INDEX sessions_one_running ON sessions (meeting_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_meeting ON sessions (meeting_id);
CREATE INDEX sessions_by_organization ON sessions (organization_id, started_at DESC, id DESC);
CREATE INDEX sessions_running ON sessions (organization_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- What is said of the participant is as it was when it came.
CREATE TABLE attendances (
    -- In the order of coming.
    number         BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     UUID    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    participant_id UUID    NOT NULL,
    name           TEXT    NOT NULL,
    role           TEXT    NOT NULL CHECK (role IN ('host', 'participant', 'guest', 'viewer')),
    user_id        TEXT,
    is_guest       BOOLEAN NOT NULL,
    joined_at      BIGINT  NOT NULL,
    left_at        BIGINT,
    leave_reason   TEXT
);

CREATE INDEX attendances_by_session ON attendances (session_id, joined_at, number);
CREATE INDEX attendances_by_participant ON attendances (session_id, participant_id);
CREATE UNIQUE INDEX attendances_one_stay ON attendances (session_id, participant_id) WHERE left_at IS NULL;

-- Entries outlive what they are about; those of an organization go with it.
CREATE TABLE audit_entries (
    id              UUID    NOT NULL PRIMARY KEY,
    organization_id UUID,
    at              BIGINT  NOT NULL,
    actor_kind      TEXT    NOT NULL,
    actor_id        TEXT,
    action          TEXT    NOT NULL,
    target_kind     TEXT,
    target_id       TEXT,
    details         TEXT    NOT NULL,
    request_id      TEXT
);

CREATE INDEX audit_entries_by_organization ON audit_entries (organization_id, at DESC, id DESC);
CREATE INDEX audit_entries_by_time ON audit_entries (at);
