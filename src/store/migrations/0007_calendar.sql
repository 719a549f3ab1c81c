-- The calendars that CalDAV shows, which are our own record of what went through the bridge. The one that
-- every account has comes into being with its first object.
CREATE TABLE calendar (
    account     BLOB NOT NULL,
    name        TEXT NOT NULL,                 -- the segment of its URL
    properties  TEXT NOT NULL DEFAULT '[]',    -- JSON: dead properties, as (namespace, name, XML)
    change      INTEGER NOT NULL DEFAULT 0,    -- counts up with each change of an object in it
    forgotten   INTEGER NOT NULL DEFAULT 0,    -- the newest change of which nothing is known any more
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE object (
    account       BLOB NOT NULL,
    calendar      TEXT NOT NULL,
    name          TEXT NOT NULL,               -- the last segment of its URL
    uid           TEXT NOT NULL,
    octets        BLOB NOT NULL,               -- as they were PUT, with what the server owns in them
    etag          TEXT NOT NULL,               -- over the octets, with its quotes
    schedule_tag  TEXT NOT NULL,               -- stays where only answers of attendees changed
    change        INTEGER NOT NULL,            -- of its calendar, the last that concerned it
    changed_at    INTEGER NOT NULL,            -- Unix ms
    entry         TEXT,                        -- the spool entry of the last change by a client
    gone          INTEGER NOT NULL DEFAULT 0,  -- 1: deleted; kept to tell those who synchronise
    first_at      INTEGER,                     -- Unix ms: what it can occupy; NULL: unbounded
    last_at       INTEGER,
    PRIMARY KEY (account, calendar, name)
) STRICT;
CREATE UNIQUE INDEX object_uid ON object (account, uid) WHERE gone = 0;
CREATE INDEX object_changed ON object (account, calendar, change);
CREATE INDEX object_time ON object (account, calendar, last_at, first_at) WHERE gone = 0;

-- A client's change of an object that is on its way to the mailbox, with what it took the place of.
CREATE TABLE object_change (
    entry         TEXT PRIMARY KEY NOT NULL REFERENCES entry (id) ON DELETE CASCADE,
    account       BLOB NOT NULL,
    calendar      TEXT NOT NULL,
    name          TEXT NOT NULL,
    deletes       INTEGER NOT NULL,            -- 0: PUT, 1: DELETE
    before        BLOB,                        -- the octets before; NULL: there was none
    before_tag    TEXT,                        -- its Schedule-Tag
    before_first  INTEGER,
    before_last   INTEGER
) STRICT;
CREATE INDEX object_change_of ON object_change (account, calendar, name, entry);
