-- The UID of the invite in a mail: mails of one UID are acted on one after the other, in their order.
ALTER TABLE entry ADD COLUMN series TEXT;
CREATE INDEX entry_series ON entry (account, series, id)
    WHERE series IS NOT NULL AND state IN ('queued', 'attempting', 'sending');

-- What is remembered of each invite.
CREATE TABLE invite (
    account    BLOB NOT NULL,
    uid        TEXT NOT NULL,
    record     TEXT NOT NULL,      -- JSON, invite::Invite
    octets     BLOB NOT NULL,      -- the calendar object last accepted, as it came
    updated_at INTEGER NOT NULL,   -- Unix ms
    PRIMARY KEY (account, uid)
) STRICT, WITHOUT ROWID;

-- Why each message did what it did.
CREATE TABLE decision (
    id      INTEGER PRIMARY KEY,
    account BLOB NOT NULL,
    uid     TEXT NOT NULL,
    entry   TEXT NOT NULL,         -- the mail's spool id
    at      INTEGER NOT NULL,      -- Unix ms
    why     TEXT NOT NULL
) STRICT;
CREATE INDEX decision_invite ON decision (account, uid, id);
