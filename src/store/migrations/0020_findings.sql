-- What a tenant answered to questions that are asked of it once: see src/finding.rs.
CREATE TABLE finding (
    account   BLOB NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    question  TEXT NOT NULL,
    answer    TEXT NOT NULL,                   -- in words
    at        INTEGER NOT NULL,                -- Unix ms
    PRIMARY KEY (account, question)
) STRICT, WITHOUT ROWID;
