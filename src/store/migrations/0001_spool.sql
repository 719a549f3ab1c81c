-- The spool: one row for each mail that was acknowledged, kept after its end for the record.
CREATE TABLE entry (
    id            TEXT PRIMARY KEY NOT NULL,
    account       BLOB NOT NULL,               -- AccountId, 16 octets
    kind          TEXT NOT NULL,               -- submission | report
    envelope      TEXT NOT NULL,               -- JSON, submission::Envelope
    size          INTEGER NOT NULL,            -- octets, as the client sent them
    digest        BLOB NOT NULL,               -- SHA-256 over account, envelope and octets
    repeat_until  INTEGER NOT NULL,            -- Unix ms: until then the same digest is the same mail
    accepted_at   INTEGER NOT NULL,            -- Unix ms
    state         TEXT NOT NULL,               -- queued | attempting | sending | sent | failed | held
    attempts      INTEGER NOT NULL DEFAULT 0,
    due_at        INTEGER NOT NULL,            -- Unix ms: the next attempt, or when it came to its end
    waited_ms     INTEGER NOT NULL DEFAULT 0,  -- the sum of all waits between attempts
    note          TEXT                         -- the last outcome, in words
) STRICT, WITHOUT ROWID;

-- What is due, account by account. Only what is on its way is in it, so it stays small.
CREATE INDEX entry_due ON entry (account, state, due_at) WHERE state IN ('queued', 'attempting', 'sending');
CREATE INDEX entry_digest ON entry (digest);
CREATE INDEX entry_ended ON entry (due_at) WHERE state IN ('sent', 'failed');

-- The octets of small mails; those of large ones are files in spool/.
CREATE TABLE body (
    entry  TEXT PRIMARY KEY NOT NULL REFERENCES entry (id) ON DELETE CASCADE,
    octets BLOB NOT NULL
) STRICT;
