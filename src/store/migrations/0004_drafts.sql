-- How far the sending of a mail came, as JSON (store::progress::Progress): its draft, and the doubt
-- about it.
ALTER TABLE entry ADD COLUMN progress TEXT;
-- Unix ms: when drafts may be looked for that its end left behind; none where there can be none.
ALTER TABLE entry ADD COLUMN sweep_at INTEGER;
CREATE INDEX entry_sweep ON entry (sweep_at) WHERE sweep_at IS NOT NULL;
