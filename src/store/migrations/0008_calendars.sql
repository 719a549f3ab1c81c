-- Calendars that a client made are calendars of the mailbox as well, from their first event on.
ALTER TABLE calendar ADD COLUMN title TEXT;    -- what the mailbox is to call it; NULL: as its URL does
ALTER TABLE calendar ADD COLUMN graph_id TEXT; -- the mailbox's; NULL: the mailbox's own, or none yet
