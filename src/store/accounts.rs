//! The accounts, and the local passwords they are known by.
//!
//! Accounts are few and asked for with every command of every session, so all of them are kept in
//! memory too; each change replaces that picture after its commit. Tokens are not kept: see `tokens`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::password::{self, Digest};
use super::{Store, StoreError};
use crate::account::{Account, AccountId, Address, Profile, Standing};
use crate::secret::Secret;

/// The accounts as they are on disk, in memory.
#[derive(Default)]
pub(super) struct Shared {
    picture: RwLock<Arc<Picture>>,
    /// By login: what the configuration lets an account send as beside its own addresses.
    send_as: RwLock<HashMap<String, Vec<Address>>>,
    /// Held from a change to the new picture, so that pictures follow each other as commits do.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Picture {
    known: HashMap<AccountId, Known>,
    /// By lower-cased login.
    logins: HashMap<String, AccountId>,
}

#[derive(Clone)]
struct Known {
    account: Arc<Account>,
    password: Digest,
}

/// Why an account was not added.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AddError {
    #[error("there is an account for this address already")]
    Exists,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
    pub(super) async fn open(connection: &mut SqliteConnection) -> Result<Shared, sqlx::Error> {
        let shared = Shared::default();
        shared.show(read_all(connection).await?);
        Ok(shared)
    }

    fn show(&self, mut known: Vec<Known>) {
        let send_as = self.send_as.read().unwrap_or_else(PoisonError::into_inner);
        for one in &mut known {
            let allowed = send_as.get(&one.account.address.key()).cloned().unwrap_or_default();
            Arc::make_mut(&mut one.account).send_as = allowed;
        }
        let logins = known.iter().map(|k| (k.account.address.key(), k.account.id)).collect();
        let known = known.into_iter().map(|k| (k.account.id, k)).collect();
        let picture = Arc::new(Picture { known, logins });
        *self.picture.write().unwrap_or_else(PoisonError::into_inner) = picture;
    }

    fn picture(&self) -> Arc<Picture> {
        self.picture.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store {
    /// What the configuration lets each account send as (by login) beside its own addresses.
    pub async fn set_send_as(&self, send_as: impl IntoIterator<Item = (Address, Vec<Address>)>) {
        let shared = &self.inner.accounts;
        let _changing = shared.changing.lock().await;
        *shared.send_as.write().unwrap_or_else(PoisonError::into_inner) =
            send_as.into_iter().map(|(login, allowed)| (login.key(), allowed)).collect();
        let known = shared.picture().known.values().cloned().collect();
        shared.show(known);
    }

    /// All accounts, by address.
    pub async fn accounts(&self) -> Result<Vec<Arc<Account>>, StoreError> {
        let picture = self.inner.accounts.picture();
        let mut accounts: Vec<_> = picture.known.values().map(|k| k.account.clone()).collect();
        accounts.sort_by_key(|account| account.address.key());
        Ok(accounts)
    }

    pub async fn account(&self, id: AccountId) -> Result<Option<Arc<Account>>, StoreError> {
        Ok(self.inner.accounts.picture().known.get(&id).map(|known| known.account.clone()))
    }

    /// By its primary address; case does not count.
    pub async fn account_by_login(&self, login: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let picture = self.inner.accounts.picture();
        let known = picture.logins.get(&login.to_lowercase()).and_then(|id| picture.known.get(id));
        Ok(known.map(|known| known.account.clone()))
    }

    /// The account, if this is its local password. An unknown login costs the same work as a wrong
    /// password, and neither touches anything of Microsoft's.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &str,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let picture = self.inner.accounts.picture();
        let known = picture.logins.get(&login.to_lowercase()).and_then(|id| picture.known.get(id));
        let kept = known.map_or_else(Digest::of_nobody, |known| known.password.clone());
        let matches = kept.matches(password);
        Ok(known.filter(|_| matches).map(|known| known.account.clone()))
    }

    /// Adds an account that has not signed in yet, and makes its local password, which is readable
    /// here once and never again.
    pub async fn add_account(
        &self,
        address: Address,
        profile: Profile,
    ) -> Result<(Arc<Account>, Secret), AddError> {
        let (password, digest) = new_password()?;
        let id = AccountId(Uuid::now_v7());
        let login = address.key();
        let (profile, standing) = (json(&profile)?, json(&Standing::New)?);
        let now = self.clock().now().as_millisecond();
        let added = self
            .change_accounts(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "INSERT INTO account (id, address, login, profile, standing, \
                         password_salt, password_digest, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                         ON CONFLICT (login) DO NOTHING",
                    )
                    .bind(id.0.as_bytes().as_slice())
                    .bind(address.as_str())
                    .bind(login)
                    .bind(profile)
                    .bind(standing)
                    .bind(digest.salt)
                    .bind(digest.digest)
                    .bind(now)
                    .execute(connection)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await?;
        match self.account(id).await? {
            Some(account) if added => Ok((account, password)),
            _ => Err(AddError::Exists),
        }
    }

    /// A new local password; the old one is void at once. `None` when there is no such account.
    pub async fn set_password(&self, id: AccountId) -> Result<Option<Secret>, StoreError> {
        let (password, digest) = new_password()?;
        let changed = self
            .change_accounts(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE account SET password_salt = ?, password_digest = ? WHERE id = ?",
                    )
                    .bind(digest.salt)
                    .bind(digest.digest)
                    .bind(id.0.as_bytes().as_slice())
                    .execute(connection)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await?;
        Ok(changed.then_some(password))
    }

    /// Forgets an account and its tokens. `false` when there was none.
    pub async fn remove_account(&self, id: AccountId) -> Result<bool, StoreError> {
        self.change_accounts(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM account WHERE id = ?")
                    .bind(id.0.as_bytes().as_slice())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// How many mails of an account are still on their way.
    pub async fn waiting_mails(&self, id: AccountId) -> Result<u64, StoreError> {
        let mut connection = self.read().await?;
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM entry WHERE account = ? \
             AND state IN ('queued', 'attempting', 'sending')",
        )
        .bind(id.0.as_bytes().as_slice())
        .fetch_one(&mut *connection)
        .await?;
        Ok(count.cast_unsigned())
    }

    /// The account cannot act until its user does something; `why` says what.
    pub async fn needs_sign_in(&self, id: AccountId, why: &str) -> Result<(), StoreError> {
        let standing = json(&Standing::NeedsSignIn(why.to_owned()))?;
        self.change_accounts(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE account SET standing = ? WHERE id = ?")
                    .bind(standing)
                    .bind(id.0.as_bytes().as_slice())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// A change after which the picture in memory is drawn anew.
    pub(super) async fn change_accounts<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: super::Change<T>,
    {
        // In a task of its own: a caller that goes away must not leave an old picture behind.
        let store = self.clone();
        let task = tokio::spawn(async move {
            let shared = &store.inner.accounts;
            let _changing = shared.changing.lock().await;
            let (value, known) = store
                .write(move |connection| {
                    Box::pin(async move {
                        let value = change(connection).await?;
                        // Read in the same transaction, shown only after its commit.
                        Ok((value, read_all(connection).await?))
                    })
                })
                .await?;
            shared.show(known);
            Ok(value)
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string().into())))
    }
}

fn new_password() -> Result<(Secret, Digest), StoreError> {
    let failed = |_| StoreError::Failed("the system gives no random numbers".into());
    let password = password::generate().map_err(failed)?;
    let digest = Digest::of(&password).map_err(failed)?;
    Ok((password, digest))
}

async fn read_all(connection: &mut SqliteConnection) -> Result<Vec<Known>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM account").fetch_all(connection).await?;
    rows.iter().map(known).collect()
}

fn known(row: &SqliteRow) -> Result<Known, sqlx::Error> {
    let address: String = row.try_get("address")?;
    let account = Account {
        id: account_id(row, "id")?,
        address: Address::parse(&address).map_err(|error| broken("address", error))?,
        aliases: from_json(row, "aliases")?,
        send_as: Vec::new(),
        profile: from_json(row, "profile")?,
        granted: from_json(row, "granted")?,
        person: match row.try_get::<Option<&str>, _>("person")? {
            Some(_) => Some(from_json(row, "person")?),
            None => None,
        },
        standing: from_json(row, "standing")?,
    };
    let password =
        Digest { salt: row.try_get("password_salt")?, digest: row.try_get("password_digest")? };
    Ok(Known { account: Arc::new(account), password })
}

pub(super) fn account_id(row: &SqliteRow, column: &'static str) -> Result<AccountId, sqlx::Error> {
    let octets: &[u8] = row.try_get(column)?;
    Uuid::from_slice(octets).map(AccountId).map_err(|error| broken(column, error))
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string().into()))
}

fn from_json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| broken(column, error))
}

fn broken(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Person;
    use crate::store::Room;
    use crate::store::tokens::{SignIn, Worked};

    struct Fixture {
        store: Store,
        directory: tempfile::TempDir,
    }

    impl Fixture {
        async fn new() -> Fixture {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state");
            Fixture { store: Store::open(&path, Room::default()).await.unwrap(), directory }
        }

        async fn reopen(self) -> Fixture {
            let Fixture { store, directory } = self;
            drop(store);
            let path = directory.path().join("state");
            // The writer lets go of the lock when its task has seen that nobody is left.
            for _ in 0..1000 {
                match Store::open(&path, Room::default()).await {
                    Ok(store) => return Fixture { store, directory },
                    Err(_) => tokio::task::yield_now().await,
                }
            }
            panic!("the store stays locked");
        }

        async fn add(&self, address: &str) -> (Arc<Account>, Secret) {
            self.store.add_account(parse(address), Profile::Mail).await.unwrap()
        }

        async fn sign_in(&self, id: AccountId, oid: &str, generation: u64) -> bool {
            self.store.save_sign_in(id, sign_in(oid, generation)).await.unwrap()
        }
    }

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn sign_in(oid: &str, generation: u64) -> SignIn {
        SignIn {
            person: Person { object_id: oid.into(), tenant_id: "t".into() },
            profile: Profile::Full,
            granted: vec!["Mail.Send".into()],
            aliases: vec![parse("adele@contoso.example")],
            generation,
            sealed: format!("sealed {generation}").into_bytes(),
        }
    }

    #[tokio::test]
    async fn an_account_authenticates_by_its_password_and_by_nothing_else() {
        let f = Fixture::new().await;
        let (account, password) = f.add("Adele.Vance@contoso.example").await;
        let (_, other) = f.add("alex.wilber@contoso.example").await;
        let works = async |login: &str, password: &str| {
            let found = f.store.authenticate(login, password).await.unwrap();
            found.is_some_and(|found| found.id == account.id)
        };
        assert!(works("adele.vance@CONTOSO.example", password.expose()).await);
        assert!(!works("adele.vance@contoso.example", other.expose()).await);
        assert!(!works("adele.vance@contoso.example", "").await);
        assert!(!works("nobody@contoso.example", password.expose()).await);
        let new = f.store.set_password(account.id).await.unwrap().unwrap();
        assert!(!works("adele.vance@contoso.example", password.expose()).await);
        assert!(works("adele.vance@contoso.example", new.expose()).await);
    }

    #[tokio::test]
    async fn an_address_is_added_once() {
        let f = Fixture::new().await;
        f.add("adele.vance@contoso.example").await;
        let again = f.store.add_account(parse("Adele.Vance@contoso.example"), Profile::Full).await;
        assert!(matches!(again, Err(AddError::Exists)));
        assert_eq!(f.store.accounts().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_a_sign_in_leaves_outlives_the_process() {
        let f = Fixture::new().await;
        let (account, password) = f.add("adele.vance@contoso.example").await;
        assert!(f.sign_in(account.id, "o", 1).await);
        let f = f.reopen().await;
        let again = f.store.authenticate("adele.vance@contoso.example", password.expose());
        let again = again.await.unwrap().unwrap();
        assert_eq!(again.standing, Standing::Ready);
        assert_eq!(again.profile, Profile::Full);
        assert_eq!(again.person.as_ref().unwrap().object_id, "o");
        assert!(again.may_send_as(&parse("adele@contoso.example")));
        let token = f.store.sealed_token(account.id).await.unwrap().unwrap();
        assert_eq!(token.sealed, b"sealed 1");
        assert_eq!(f.store.accounts_with_token().await.unwrap(), [account.id]);
    }

    #[tokio::test]
    async fn another_person_or_an_overtaken_token_changes_nothing() {
        let f = Fixture::new().await;
        let id = f.add("adele.vance@contoso.example").await.0.id;
        assert!(f.sign_in(id, "o", 1).await);
        assert!(!f.sign_in(id, "other", 2).await);
        assert!(!f.sign_in(id, "o", 1).await);
        assert!(!f.sign_in(id, "o", 3).await);
        assert_eq!(f.store.sealed_token(id).await.unwrap().unwrap().sealed, b"sealed 1");
        assert!(!f.sign_in(AccountId(Uuid::from_u128(9)), "o", 1).await);
        assert!(f.sign_in(id, "o", 2).await);
    }

    #[tokio::test]
    async fn a_token_is_replaced_by_its_successor_only_and_the_one_that_worked_is_kept() {
        let f = Fixture::new().await;
        let id = f.add("adele.vance@contoso.example").await.0.id;
        assert!(f.sign_in(id, "o", 1).await);
        let replace = async |from, with: &[u8], worked| {
            f.store.replace_token(id, from, with.to_vec(), worked).await.unwrap()
        };
        assert!(replace(1, b"two", Worked::Current).await);
        assert!(!replace(1, b"late", Worked::Current).await);
        let token = f.store.sealed_token(id).await.unwrap().unwrap();
        assert_eq!((token.generation, token.sealed.as_slice()), (2, b"two".as_slice()));
        assert_eq!(token.previous, Some((1, b"sealed 1".to_vec())));
        assert!(replace(2, b"three", Worked::Previous).await);
        let token = f.store.sealed_token(id).await.unwrap().unwrap();
        assert_eq!(token.previous, Some((1, b"sealed 1".to_vec())));
        assert!(f.sign_in(id, "o", 4).await);
        assert_eq!(f.store.sealed_token(id).await.unwrap().unwrap().previous, None);
    }

    #[tokio::test]
    async fn a_refused_token_marks_the_account_only_while_it_is_the_stored_one() {
        let f = Fixture::new().await;
        let id = f.add("adele.vance@contoso.example").await.0.id;
        assert!(f.sign_in(id, "o", 1).await);
        assert!(!f.store.token_was_refused(id, 0, "old news").await.unwrap());
        assert_eq!(f.store.account(id).await.unwrap().unwrap().standing, Standing::Ready);
        assert!(f.store.token_was_refused(id, 1, "revoked").await.unwrap());
        let standing = f.store.account(id).await.unwrap().unwrap().standing.clone();
        assert_eq!(standing, Standing::NeedsSignIn("revoked".into()));
    }

    #[tokio::test]
    async fn a_removed_account_leaves_no_token() {
        let f = Fixture::new().await;
        let (account, password) = f.add("adele.vance@contoso.example").await;
        assert!(f.sign_in(account.id, "o", 1).await);
        assert!(f.store.remove_account(account.id).await.unwrap());
        assert!(!f.store.remove_account(account.id).await.unwrap());
        assert!(f.store.accounts_with_token().await.unwrap().is_empty());
        let login = account.address.as_str();
        assert!(f.store.authenticate(login, password.expose()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_configuration_adds_senders() {
        let f = Fixture::new().await;
        let id = f.add("adele.vance@contoso.example").await.0.id;
        let jobs = parse("jobs@contoso.example");
        let login = parse("Adele.Vance@contoso.example");
        f.store.set_send_as([(login, vec![jobs.clone()])]).await;
        assert!(f.store.account(id).await.unwrap().unwrap().may_send_as(&jobs));
        f.store.needs_sign_in(id, "x").await.unwrap();
        assert!(f.store.account(id).await.unwrap().unwrap().may_send_as(&jobs));
    }
}
