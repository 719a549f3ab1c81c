-- In what order the mails of an account are claimed: those of invites, those that were begun before, new
-- ones; each in the order they fell due. A mail that waits is in one of the three.
CREATE INDEX entry_due_invite ON entry (account, due_at, id, size)
    WHERE state = 'queued' AND series IS NOT NULL;
CREATE INDEX entry_due_begun ON entry (account, due_at, id, size)
    WHERE state = 'queued' AND series IS NULL AND attempts > 0;
CREATE INDEX entry_due_new ON entry (account, due_at, id, size)
    WHERE state = 'queued' AND series IS NULL AND attempts = 0;
