-- What the sender has been told of a mail, so that it is told once.
ALTER TABLE entry ADD COLUMN delay_reported INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN held_reported INTEGER NOT NULL DEFAULT 0;
-- What Graph answered at its end, such as '403 ErrorSendAsDenied'.
ALTER TABLE entry ADD COLUMN answered TEXT;
-- 1: it failed, and its octets are still there for another try.
ALTER TABLE entry ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
-- Of a report: the mail that it speaks of.
ALTER TABLE entry ADD COLUMN about TEXT;

CREATE INDEX entry_about ON entry (about) WHERE about IS NOT NULL AND state = 'queued';
CREATE INDEX entry_kept ON entry (due_at) WHERE kept = 1;
CREATE INDEX entry_held ON entry (held_reported) WHERE state = 'held';
