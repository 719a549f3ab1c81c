//! A copy of the whole store at one moment, while a daemon may be at work on it, and what is changed in such
//! a copy before it leaves. Nothing here touches the store itself.
//!
//! The database is copied by SQLite, which sees one state of it; large mails are files, and are linked or
//! copied after that. One that is gone by then has come to its end meanwhile: the copy is told how.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::entry_id::EntryId;
use super::schema;
use super::spool::decode;
use crate::account::{AccountId, Standing};

/// The database's name in a state directory, and in a copy of one.
pub const DATABASE: &str = "postbridge.db";
/// The same for the directory of large mails.
pub const SPOOL: &str = "spool";

/// Why there is no copy, or it could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} cannot be read as a database: {source}")]
    Database { path: PathBuf, source: sqlx::Error },
}

/// What is in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    pub accounts: u64,
    /// Mails that wait, are being sent, or are held.
    pub mails: u64,
    pub invites: u64,
    pub objects: u64,
    /// Its shape: the number of its last migration.
    pub shape: i64,
}

/// The shape of database that this program knows; it reads older ones as well.
pub fn newest_shape() -> i64 {
    schema::newest()
}

/// Copies the store of `state` into the directory `to`, which exists and is empty.
pub async fn take(state: &Path, to: &Path) -> Result<(), SnapshotError> {
    let (from, copy) = (state.join(DATABASE), to.join(DATABASE));
    let failed = |source| SnapshotError::Database { path: from.clone(), source };
    let mut live = open(&from, true).await?;
    schema::copy_into(&mut live, &copy).await.map_err(failed)?;
    let files = Files { from: state.join(SPOOL), to: to.join(SPOOL) };
    let made = fs::DirBuilder::new().mode(0o700).create(&files.to);
    made.map_err(|source| SnapshotError::File { path: files.to.clone(), source })?;

    let mut copy = Copy::open(to).await?;
    for id in copy.in_files().await? {
        if !files.link(id)? {
            copy.ended_meanwhile(&mut live, id).await?;
        }
    }
    let _ = live.close().await;
    copy.close().await?;
    for directory in [&files.to, to] {
        let synced = File::open(directory).and_then(|file| file.sync_all());
        synced.map_err(|source| SnapshotError::File { path: directory.to_owned(), source })?;
    }
    Ok(())
}

/// Large mails, from a spool into a copy.
struct Files {
    from: PathBuf,
    to: PathBuf,
}

impl Files {
    /// Whether it was there. No file of the spool is ever written again, so a link is a copy.
    fn link(&self, id: EntryId) -> Result<bool, SnapshotError> {
        let (from, to) = (self.from.join(id.to_string()), self.to.join(id.to_string()));
        let copied = match fs::hard_link(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // Another file system, or one without links.
            Err(_) => fs::copy(&from, &to).and_then(|_| File::open(&to)?.sync_all()),
            Ok(()) => Ok(()),
        };
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(SnapshotError::File { path: to, source }),
            Ok(()) => Ok(true),
        }
    }
}

async fn open(path: &Path, read_only: bool) -> Result<SqliteConnection, SnapshotError> {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(read_only)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(30))
        .pragma("secure_delete", "on")
        .log_statements(tracing::log::LevelFilter::Off)
        .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
        .connect()
        .await
        .map_err(|source| SnapshotError::Database { path: path.to_owned(), source })
}

/// A copy that is being made ready.
pub struct Copy {
    directory: PathBuf,
    connection: SqliteConnection,
}

impl Copy {
    pub async fn open(directory: &Path) -> Result<Copy, SnapshotError> {
        let connection = open(&directory.join(DATABASE), false).await?;
        Ok(Copy { directory: directory.to_owned(), connection })
    }

    /// What was changed is on disk then.
    pub async fn close(self) -> Result<(), SnapshotError> {
        let path = self.directory.join(DATABASE);
        let failed = |source| SnapshotError::Database { path: path.clone(), source };
        self.connection.close().await.map_err(failed)
    }

    fn failed(&self, source: sqlx::Error) -> SnapshotError {
        SnapshotError::Database { path: self.directory.join(DATABASE), source }
    }

    async fn execute(&mut self, statements: &'static str) -> Result<u64, SnapshotError> {
        match sqlx::query(statements).execute(&mut self.connection).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub async fn contents(&mut self) -> Result<Contents, SnapshotError> {
        let counts = sqlx::query(
            "SELECT (SELECT count(*) FROM account) AS accounts, (SELECT count(*) FROM invite) AS invites, \
             (SELECT count(*) FROM object WHERE gone = 0) AS objects, \
             (SELECT count(*) FROM entry WHERE state NOT IN ('sent', 'failed')) AS mails, \
             (SELECT max(version) FROM _sqlx_migrations) AS shape",
        );
        let row =
            counts.fetch_one(&mut self.connection).await.map_err(|error| self.failed(error))?;
        let count = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
        let contents = || {
            Ok(Contents {
                accounts: count("accounts")?,
                mails: count("mails")?,
                invites: count("invites")?,
                objects: count("objects")?,
                shape: row.try_get("shape")?,
            })
        };
        contents().map_err(|error| self.failed(error))
    }

    /// The mails that are files.
    pub async fn in_files(&mut self) -> Result<Vec<EntryId>, SnapshotError> {
        let ids: Result<Vec<String>, _> = sqlx::query_scalar(
            "SELECT id FROM entry WHERE (state NOT IN ('sent', 'failed') OR kept = 1) \
             AND NOT EXISTS (SELECT 1 FROM body WHERE entry = id)",
        )
        .fetch_all(&mut self.connection)
        .await;
        let parse = |ids: Vec<String>| ids.iter().map(|id| decode(id.parse())).collect();
        ids.and_then(parse).map_err(|error| self.failed(error))
    }

    /// A mail whose file was gone when it was to be copied: the copy says of it what the store says now.
    async fn ended_meanwhile(
        &mut self,
        live: &mut SqliteConnection,
        id: EntryId,
    ) -> Result<(), SnapshotError> {
        let row = sqlx::query("SELECT state, note, due_at, answered FROM entry WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(live)
            .await;
        let row = row.map_err(|error| self.failed(error))?;
        let (state, note, due_at, answered) = match &row {
            Some(row) => (
                row.try_get::<String, _>("state"),
                row.try_get::<Option<String>, _>("note"),
                row.try_get::<Option<i64>, _>("due_at"),
                row.try_get::<Option<String>, _>("answered"),
            ),
            None => (Ok("failed".to_owned()), Ok(None), Ok(None), Ok(None)),
        };
        let changed = async {
            sqlx::query(
                "UPDATE entry SET state = ?, note = ?, due_at = coalesce(?, due_at), answered = ?, \
                 kept = 0 WHERE id = ?",
            )
            .bind(state?)
            .bind(note?)
            .bind(due_at?)
            .bind(answered?)
            .bind(id.to_string())
            .execute(&mut self.connection)
            .await
        };
        changed.await.map(drop).map_err(|error| self.failed(error))
    }

    /// The daemon goes on with what waits: whoever works with the copy must not send it as well.
    pub async fn hold_what_waits(&mut self, note: &str) -> Result<u64, SnapshotError> {
        let held = sqlx::query(
            "UPDATE entry SET state = 'held', note = ?, held_reported = 0 \
             WHERE state IN ('queued', 'attempting', 'sending')",
        )
        .bind(note)
        .execute(&mut self.connection)
        .await;
        held.map(|done| done.rows_affected()).map_err(|error| self.failed(error))
    }

    /// Leaves out what is not yet at its end; the record of the rest stays.
    pub async fn without_queue(&mut self) -> Result<(), SnapshotError> {
        self.execute("DELETE FROM entry WHERE state NOT IN ('sent', 'failed') OR kept = 1").await?;
        self.emptied().await
    }

    /// Leaves out the stored sign-ins; the accounts wait for their users.
    pub async fn without_sign_ins(&mut self, why: &str) -> Result<(), SnapshotError> {
        let standing = super::accounts::json(&Standing::NeedsSignIn(why.to_owned()));
        let standing = standing.unwrap_or_default();
        let changed = sqlx::query(
            "UPDATE account SET standing = ? WHERE EXISTS \
             (SELECT 1 FROM refresh_token WHERE account = id)",
        )
        .bind(standing)
        .execute(&mut self.connection)
        .await;
        changed.map_err(|error| self.failed(error))?;
        self.execute("DELETE FROM refresh_token").await?;
        self.emptied().await
    }

    /// What was deleted is not in the file any more.
    async fn emptied(&mut self) -> Result<(), SnapshotError> {
        self.execute("VACUUM").await.map(drop)
    }

    /// Seals each stored sign-in anew; one that does not open is left out, and its account waits for its user.
    /// How many those were.
    pub async fn seal_anew(
        &mut self,
        why: &str,
        anew: impl Fn(AccountId, u64, Vec<u8>) -> Option<Vec<u8>>,
    ) -> Result<u64, SnapshotError> {
        let rows = sqlx::query("SELECT account, generation, sealed FROM refresh_token")
            .fetch_all(&mut self.connection)
            .await;
        let mut left_out = 0;
        for row in rows.map_err(|error| self.failed(error))? {
            let one = || {
                let account = super::accounts::account_id(&row, "account")?;
                Ok((account, row.try_get::<i64, _>("generation")?, row.try_get("sealed")?))
            };
            let (account, generation, sealed) = one().map_err(|error| self.failed(error))?;
            let id = account.0.as_bytes().to_vec();
            let changed = match anew(account, generation.cast_unsigned(), sealed) {
                // The one before is sealed with the old key.
                Some(sealed) => {
                    sqlx::query(
                        "UPDATE refresh_token SET sealed = ?, previous_generation = NULL, \
                         previous_sealed = NULL WHERE account = ?",
                    )
                    .bind(sealed)
                    .bind(id)
                    .execute(&mut self.connection)
                    .await
                }
                None => {
                    left_out += 1;
                    sqlx::query("DELETE FROM refresh_token WHERE account = ?")
                        .bind(id)
                        .execute(&mut self.connection)
                        .await
                }
            };
            changed.map_err(|error| self.failed(error))?;
        }
        let standing = |standing| super::accounts::json(&standing).unwrap_or_default();
        let waits = sqlx::query(
            "UPDATE account SET standing = ? WHERE standing = ? AND NOT EXISTS \
             (SELECT 1 FROM refresh_token WHERE account = id)",
        )
        .bind(standing(Standing::NeedsSignIn(why.to_owned())))
        .bind(standing(Standing::Ready))
        .execute(&mut self.connection)
        .await;
        waits.map_err(|error| self.failed(error))?;
        self.emptied().await?;
        Ok(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Address, Profile};
    use crate::store::incoming::ROW_OCTETS_MAX;
    use crate::store::spool::State;
    use crate::store::{Room, Store};
    use crate::submission::Envelope;

    fn private() -> tempfile::TempDir {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().unwrap()
    }

    /// The large mail is sent between the copy of the database and that of the files.
    #[tokio::test]
    async fn of_a_mail_that_ended_meanwhile_the_copy_says_so() {
        let (state, to) = (private(), private());
        let store = Store::open(state.path(), Room { keep_free_octets: 0, ..Room::default() })
            .await
            .unwrap();
        let address = Address::parse("a@contoso.example").unwrap();
        let (account, _) = store.add_account(address.clone(), Profile::Full).await.unwrap();
        let mut incoming = store.begin(&account);
        incoming.write(&vec![b'x'; ROW_OCTETS_MAX + 1]).await.unwrap();
        let envelope = Envelope::new(None, vec![address.into()], Default::default()).unwrap();
        let id = incoming.commit(&envelope, true, None).await.unwrap().id();
        take(state.path(), to.path()).await.unwrap();
        assert!(to.path().join(SPOOL).join(id.to_string()).exists());

        let mut live = open(&state.path().join(DATABASE), false).await.unwrap();
        sqlx::query("UPDATE entry SET state = 'sent', note = 'gone'")
            .execute(&mut live)
            .await
            .unwrap();
        let mut copy = Copy::open(to.path()).await.unwrap();
        assert_eq!(copy.in_files().await.unwrap(), [id]);
        copy.ended_meanwhile(&mut live, id).await.unwrap();
        assert_eq!(copy.in_files().await.unwrap(), []);
        copy.close().await.unwrap();
        let copied = Store::open(to.path(), Room::default()).await.unwrap();
        let entry = copied.entry(id).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.note.as_deref()), (State::Sent, Some("gone")));
    }
}
