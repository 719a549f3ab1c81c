-- What became of each entry, a line for each change of its state: written in the commit that makes the
-- change, and gone with the entry.
CREATE TABLE history (
    entry    TEXT NOT NULL REFERENCES entry (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,                 -- Unix ms
    attempt  INTEGER NOT NULL,                 -- attempts made by then
    state    TEXT NOT NULL,                    -- what it is from then on
    note     TEXT,                             -- why, in words
    due_at   INTEGER NOT NULL                  -- Unix ms: of a queued one, when it is tried next
) STRICT;

CREATE INDEX history_entry ON history (entry);
