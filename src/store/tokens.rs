//! The sealed refresh tokens, and what a sign-in leaves behind.
//!
//! Each token has a generation, which is part of its seal and counts up. Every change names the
//! generation it comes from and does nothing when another is stored by now, so that two who refresh
//! at once cannot undo each other. Tokens come sealed and go sealed; only `access` opens them.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::accounts::{account_id, json};
use super::{Store, StoreError};
use crate::account::{AccountId, Address, Person, Profile, Standing};

/// A refresh token as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Part of the seal's associated data.
    pub generation: u64,
    pub sealed: Vec<u8>,
    /// The token before this one, until this one has worked once.
    pub previous: Option<(u64, Vec<u8>)>,
}

/// What a sign-in leaves behind.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub person: Person,
    pub profile: Profile,
    pub granted: Vec<String>,
    pub aliases: Vec<Address>,
    /// The generation that `sealed` was sealed for; it must follow the stored one.
    pub generation: u64,
    pub sealed: Vec<u8>,
}

/// Which refresh token Entra took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worked {
    Current,
    Previous,
}

impl Store {
    /// The account needs a sign-in, but only while the token that was refused is still the stored
    /// one: a sign-in that came in between is not undone. Returns whether it was so.
    pub async fn token_was_refused(
        &self,
        id: AccountId,
        generation: u64,
        why: &str,
    ) -> Result<bool, StoreError> {
        let standing = json(&Standing::NeedsSignIn(why.to_owned()))?;
        self.change_accounts(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE account SET standing = ?1 WHERE id = ?2 AND EXISTS \
                     (SELECT 1 FROM refresh_token WHERE account = ?2 AND generation = ?3)",
                )
                .bind(standing)
                .bind(id.0.as_bytes().as_slice())
                .bind(generation.cast_signed())
                .execute(connection)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// The stored refresh token, read from the disk.
    pub async fn sealed_token(&self, id: AccountId) -> Result<Option<StoredToken>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query("SELECT * FROM refresh_token WHERE account = ?")
            .bind(id.0.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
        Ok(row.as_ref().map(stored_token).transpose()?)
    }

    /// The accounts that have a stored token.
    pub async fn accounts_with_token(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("SELECT account FROM refresh_token ORDER BY account")
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(|row| account_id(row, "account")).collect::<Result<_, _>>()?)
    }

    /// Puts the next token in place of the one of `from_generation`, which becomes the previous
    /// one. `worked`: the previous one was used because the stored one was refused, so it is the
    /// one to keep. `false`, and nothing is changed, when another token is stored by now.
    pub async fn replace_token(
        &self,
        id: AccountId,
        from_generation: u64,
        sealed: Vec<u8>,
        worked: Worked,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                // The token that has just worked is kept, until the new one has worked too.
                let statement = match worked {
                    Worked::Current => {
                        "UPDATE refresh_token SET previous_generation = generation, \
                         previous_sealed = sealed, generation = generation + 1, sealed = ? \
                         WHERE account = ? AND generation = ?"
                    }
                    Worked::Previous => {
                        "UPDATE refresh_token SET generation = generation + 1, sealed = ? \
                         WHERE account = ? AND generation = ?"
                    }
                };
                let done = sqlx::query(statement)
                    .bind(sealed)
                    .bind(id.0.as_bytes().as_slice())
                    .bind(from_generation.cast_signed())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Stores a sign-in whole: person, permissions, aliases, token; the account is ready. `false`,
    /// and nothing is changed, when the account is gone, belongs to another person, or its token is
    /// not the one before `sign_in.generation`.
    pub async fn save_sign_in(&self, id: AccountId, sign_in: SignIn) -> Result<bool, StoreError> {
        let SignIn { person, profile, granted, aliases, generation, sealed } = sign_in;
        let (person, profile) = (json(&person)?, json(&profile)?);
        let (granted, aliases) = (json(&granted)?, json(&aliases)?);
        let standing = json(&Standing::Ready)?;
        self.change_accounts(move |connection| {
            Box::pin(async move {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                let account = sqlx::query(
                    "UPDATE account SET person = ?1, profile = ?2, granted = ?3, aliases = ?4, \
                     standing = ?5 WHERE id = ?6 AND coalesce(person, ?1) = ?1",
                )
                .bind(person)
                .bind(profile)
                .bind(granted)
                .bind(aliases)
                .bind(standing)
                .bind(id.0.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
                if account.rows_affected() != 1 {
                    return Ok(false);
                }
                // A new sign-in ends the old chain of tokens: none before it is worth keeping.
                let token = sqlx::query(
                    "INSERT INTO refresh_token (account, generation, sealed) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (account) DO UPDATE SET generation = ?2, sealed = ?3, \
                     previous_generation = NULL, previous_sealed = NULL \
                     WHERE generation = ?2 - 1",
                )
                .bind(id.0.as_bytes().as_slice())
                .bind(generation.cast_signed())
                .bind(sealed)
                .execute(&mut *transaction)
                .await?;
                if token.rows_affected() != 1 {
                    return Ok(false);
                }
                transaction.commit().await?;
                Ok(true)
            })
        })
        .await
    }
}

fn stored_token(row: &SqliteRow) -> Result<StoredToken, sqlx::Error> {
    let previous: Option<i64> = row.try_get("previous_generation")?;
    let previous_sealed: Option<Vec<u8>> = row.try_get("previous_sealed")?;
    Ok(StoredToken {
        generation: row.try_get::<i64, _>("generation")?.cast_unsigned(),
        sealed: row.try_get("sealed")?,
        previous: previous.map(i64::cast_unsigned).zip(previous_sealed),
    })
}
