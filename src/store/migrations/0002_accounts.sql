-- The accounts: whom we send for. No secret is in here but the digest of the local password.
CREATE TABLE account (
    id              BLOB PRIMARY KEY NOT NULL,      -- AccountId, 16 octets
    address         TEXT NOT NULL,                  -- the primary address; the local login
    login           TEXT NOT NULL UNIQUE,           -- the same, lower-cased
    aliases         TEXT NOT NULL DEFAULT '[]',     -- JSON, addresses
    profile         TEXT NOT NULL,                  -- JSON, account::Profile
    granted         TEXT NOT NULL DEFAULT '[]',     -- JSON, bare scope names
    person          TEXT,                           -- JSON, account::Person: who signed in first
    standing        TEXT NOT NULL,                  -- JSON, account::Standing
    password_salt   BLOB NOT NULL,
    password_digest BLOB NOT NULL,                  -- SHA-256 over salt and password
    added_at        INTEGER NOT NULL                -- Unix ms
) STRICT, WITHOUT ROWID;

-- Refresh tokens, sealed (see entra::seal); the key is not in here.
CREATE TABLE refresh_token (
    account             BLOB PRIMARY KEY NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    generation          INTEGER NOT NULL,           -- counts up with each new token; part of the seal
    sealed              BLOB NOT NULL,
    previous_generation INTEGER,                    -- the token before, until this one has worked
    previous_sealed     BLOB
) STRICT, WITHOUT ROWID;
