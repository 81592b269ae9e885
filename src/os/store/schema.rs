//! The tables, and how older ones become today's. Times are milliseconds since 1970.

/// Says "this is ours" in the file's header: `VOIP`.
pub(super) const APPLICATION_ID: i32 = 0x564f_4950;

/// Each brings the version before it to its own, counted from 1 in `user_version`. What stands here
/// is never changed, only added to.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE users (
    username     TEXT NOT NULL,
    domain       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    ha1_md5      BLOB NOT NULL CHECK (length(ha1_md5) = 16),
    ha1_sha256   BLOB NOT NULL CHECK (length(ha1_sha256) = 32),
    disabled     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (domain, username)
) WITHOUT ROWID;
CREATE TABLE bindings (
    aor              TEXT NOT NULL,
    key              TEXT NOT NULL,
    contact          TEXT NOT NULL,
    parameters       TEXT NOT NULL,
    q                INTEGER NOT NULL,
    expires_at_ms    INTEGER NOT NULL,
    registered_at_ms INTEGER NOT NULL,
    call_id          TEXT NOT NULL,
    cseq             INTEGER NOT NULL,
    path             TEXT NOT NULL, -- a JSON list, topmost first
    transport        TEXT NOT NULL,
    local            TEXT NOT NULL,
    received         TEXT NOT NULL,
    behind_nat       INTEGER NOT NULL,
    instance         TEXT NOT NULL,
    reg_id           INTEGER NOT NULL,
    user_agent       TEXT NOT NULL,
    PRIMARY KEY (aor, key)
) WITHOUT ROWID;
CREATE TABLE cdrs (
    id        INTEGER PRIMARY KEY,
    call_id   TEXT NOT NULL,
    caller    TEXT NOT NULL,
    callee    TEXT NOT NULL,
    user      TEXT NOT NULL,
    source    TEXT NOT NULL,
    start_ms  INTEGER NOT NULL,
    answer_ms INTEGER,
    end_ms    INTEGER NOT NULL,
    status    INTEGER NOT NULL,
    cause     TEXT NOT NULL,
    codecs    TEXT NOT NULL,
    caller_packets_in  INTEGER,
    caller_packets_out INTEGER,
    caller_lost        INTEGER,
    caller_jitter_ms   REAL,
    callee_packets_in  INTEGER,
    callee_packets_out INTEGER,
    callee_lost        INTEGER,
    callee_jitter_ms   REAL
);
CREATE INDEX cdrs_by_end ON cdrs (end_ms);
CREATE TABLE bans (
    source   TEXT NOT NULL PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    reason   TEXT NOT NULL
) WITHOUT ROWID;
",
    "
ALTER TABLE bindings ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;
UPDATE bindings SET serial = numbered.n
    FROM (SELECT aor AS a, key AS k, row_number() OVER () AS n FROM bindings) AS numbered
    WHERE aor = numbered.a AND key = numbered.k;
CREATE INDEX bindings_by_serial ON bindings (serial);
",
    "
ALTER TABLE bans RENAME TO bans_of_sources;
CREATE TABLE bans (
    source   TEXT NOT NULL,
    user     TEXT NOT NULL, -- empty: whoever comes from there
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (source, user)
) WITHOUT ROWID;
INSERT INTO bans SELECT source, '', since_ms, until_ms, reason FROM bans_of_sources;
DROP TABLE bans_of_sources;
",
    "
CREATE TABLE features (
    aor      TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL, -- a JSON object; what it lacks is off
    revision INTEGER NOT NULL
) WITHOUT ROWID;
",
    "
ALTER TABLE cdrs ADD COLUMN way_in  TEXT NOT NULL DEFAULT '';
ALTER TABLE cdrs ADD COLUMN way_out TEXT NOT NULL DEFAULT '';
ALTER TABLE cdrs ADD COLUMN route   TEXT NOT NULL DEFAULT '';
ALTER TABLE cdrs ADD COLUMN note    TEXT NOT NULL DEFAULT '';
",
    "
CREATE TABLE mailboxes (
    aor             TEXT NOT NULL PRIMARY KEY,
    enabled         INTEGER,       -- NULL: as the configuration says
    pin             TEXT NOT NULL, -- a hash; empty: none
    email           TEXT NOT NULL,
    messages_max    INTEGER,       -- NULL: as the configuration says
    wrong_pins      INTEGER NOT NULL,
    locked_until_ms INTEGER NOT NULL,
    greetings       INTEGER NOT NULL, -- recorded: 1 unavailable, 2 busy, 4 name
    revision        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    mailbox     TEXT NOT NULL,
    folder      TEXT NOT NULL, -- recording, new, saved, deleted, gone
    file        TEXT NOT NULL, -- below the spool
    number      TEXT NOT NULL,
    name        TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    revision    INTEGER NOT NULL
);
",
    "
ALTER TABLE messages ADD COLUMN email TEXT NOT NULL DEFAULT 'no'; -- waiting, sent, failed
",
];

/// The version of a database that this program makes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

pub(super) const SELECT_USERS: &str =
    "SELECT username, domain, display_name, ha1_md5, ha1_sha256, disabled FROM users";

pub(super) const PUT_USER: &str = "INSERT OR REPLACE INTO users
    (username, domain, display_name, ha1_md5, ha1_sha256, disabled) VALUES (?, ?, ?, ?, ?, ?)";

pub(super) const DELETE_USER: &str = "DELETE FROM users WHERE username = ? AND domain = ?";

pub(super) const SELECT_FEATURES: &str = "SELECT aor, settings, revision FROM features";

/// Shards and commands change features at the same time: the later change wins, whichever comes
/// first.
pub(super) const PUT_FEATURES: &str = "INSERT INTO features (aor, settings, revision)
    VALUES (?, ?, ?) ON CONFLICT (aor) DO UPDATE
    SET settings = excluded.settings, revision = excluded.revision
    WHERE excluded.revision > features.revision";

/// Of nobody, or with nothing on.
pub(super) const DELETE_IDLE_FEATURES: &str = "DELETE FROM features WHERE settings = '{}'
    OR NOT EXISTS (SELECT 1 FROM users WHERE domain = substr(aor, instr(aor, '@') + 1)
    AND username = substr(aor, 1, instr(aor, '@') - 1))";

pub(super) const SELECT_MAILBOXES: &str = "SELECT aor, enabled, pin, email, messages_max,
    wrong_pins, locked_until_ms, greetings, revision FROM mailboxes";

/// As with features: the later change wins, whichever comes first.
pub(super) const PUT_MAILBOX: &str = "INSERT INTO mailboxes (aor, enabled, pin, email,
    messages_max, wrong_pins, locked_until_ms, greetings, revision)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (aor) DO UPDATE
    SET enabled = excluded.enabled, pin = excluded.pin, email = excluded.email,
    messages_max = excluded.messages_max, wrong_pins = excluded.wrong_pins,
    locked_until_ms = excluded.locked_until_ms, greetings = excluded.greetings,
    revision = excluded.revision
    WHERE excluded.revision > mailboxes.revision";

/// Of nobody, or with nothing of their own.
pub(super) const DELETE_IDLE_MAILBOXES: &str = "DELETE FROM mailboxes WHERE (enabled IS NULL
    AND pin = '' AND email = '' AND messages_max IS NULL AND wrong_pins = 0
    AND locked_until_ms = 0 AND greetings = 0)
    OR NOT EXISTS (SELECT 1 FROM users WHERE domain = substr(aor, instr(aor, '@') + 1)
    AND username = substr(aor, 1, instr(aor, '@') - 1))";

pub(super) const SELECT_MESSAGES: &str = "SELECT id, mailbox, folder, file, number, name,
    received_ms, duration_ms, email, revision FROM messages ORDER BY id";

pub(super) const PUT_MESSAGE: &str = "INSERT INTO messages (id, mailbox, folder, file, number,
    name, received_ms, duration_ms, email, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET folder = excluded.folder, file = excluded.file, duration_ms = excluded.duration_ms,
    email = excluded.email, revision = excluded.revision
    WHERE excluded.revision > messages.revision";

pub(super) const DELETE_GONE_MESSAGES: &str = "DELETE FROM messages WHERE folder = 'gone'";

pub(super) const SELECT_BINDINGS: &str = "SELECT aor, key, contact, parameters, q, expires_at_ms,
    registered_at_ms, call_id, cseq, path, transport, local, received, behind_nat, instance, reg_id,
    user_agent, serial FROM bindings";

pub(super) const PUT_BINDING: &str = "INSERT OR REPLACE INTO bindings
    (aor, key, contact, parameters, q, expires_at_ms, registered_at_ms, call_id, cseq, path,
    transport, local, received, behind_nat, instance, reg_id, user_agent, serial)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

pub(super) const TOUCH_BINDING: &str =
    "UPDATE bindings SET expires_at_ms = ?1, cseq = ?2 WHERE serial = ?3 AND cseq < ?2";

pub(super) const DELETE_BINDING: &str = "DELETE FROM bindings WHERE aor = ? AND key = ?";

pub(super) const DELETE_OLD_BINDINGS: &str = "DELETE FROM bindings WHERE expires_at_ms <= ?";

pub(super) const PUT_CDR: &str = "INSERT INTO cdrs
    (call_id, caller, callee, user, source, start_ms, answer_ms, end_ms, status, cause, codecs,
    caller_packets_in, caller_packets_out, caller_lost, caller_jitter_ms,
    callee_packets_in, callee_packets_out, callee_lost, callee_jitter_ms,
    way_in, way_out, route, note)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The newest first; as many as are looked at, not as many as are wanted.
pub(super) const SELECT_CDRS: &str = "SELECT call_id, caller, callee, user, source, start_ms,
    answer_ms, end_ms, status, cause, codecs,
    caller_packets_in, caller_packets_out, caller_lost, caller_jitter_ms,
    callee_packets_in, callee_packets_out, callee_lost, callee_jitter_ms,
    way_in, way_out, route, note, id FROM cdrs WHERE id < ? ORDER BY id DESC LIMIT ?";

pub(super) const DELETE_OLD_CDRS: &str = "DELETE FROM cdrs WHERE id IN
    (SELECT id FROM cdrs WHERE end_ms < ? ORDER BY end_ms LIMIT ?)";

pub(super) const DELETE_SURPLUS_CDRS: &str = "DELETE FROM cdrs WHERE id IN
    (SELECT id FROM cdrs WHERE id <= (SELECT max(id) FROM cdrs) - ? ORDER BY id LIMIT ?)";

pub(super) const SELECT_BANS: &str =
    "SELECT source, user, since_ms, until_ms, reason FROM bans WHERE until_ms > ?";

pub(super) const PUT_BAN: &str =
    "INSERT OR REPLACE INTO bans (source, user, since_ms, until_ms, reason) VALUES (?, ?, ?, ?, ?)";

pub(super) const DELETE_BAN: &str = "DELETE FROM bans WHERE source = ? AND user = ?";

pub(super) const DELETE_OLD_BANS: &str = "DELETE FROM bans WHERE until_ms <= ?";
