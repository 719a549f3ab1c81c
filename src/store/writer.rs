//! The one task that writes: what waits is committed together, and answered after the commit.

use std::future::Future;
use std::pin::Pin;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, die, schema};

/// The most changes in one commit: bounds what a failed commit takes down with it.
const BATCH_MAX: usize = 256;
/// Changes that may wait; those beyond wait at the caller.
const WAITING_MAX: usize = 1024;

type Working<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// What [`super::Store::write`] takes: an async closure on the writing connection.
pub trait Change<T>:
    for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, T> + Send + 'static
{
}

impl<T, F> Change<T> for F where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, T> + Send + 'static
{
}

/// Told whether the commit held; passes the change's own value on if it did.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Answer> + Send>;

#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<(Job, Answer)>,
}

impl Writer {
    /// `options` open another connection where `connection` is no longer to be relied on.
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Writer {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(run(connection, options, waiting));
        tokio::spawn(async {
            if let Err(error) = task.await
                && error.is_panic()
            {
                // A change panicked: what its transaction held is gone, and so is the connection.
                die(&error);
            }
        });
        Writer { jobs }
    }

    pub(super) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Change<T>,
    {
        // Two ways to the caller: the change's value, or why it did not come to be.
        let (sender, receiver) = oneshot::channel::<Result<T, StoreError>>();
        let sender = std::sync::Arc::new(std::sync::Mutex::new(Some(sender)));
        let refused = sender.clone();
        let job: Job = Box::new(move |connection| {
            let work = change(connection);
            Box::pin(async move {
                let value = work.await?;
                let answer: Answer = Box::new(move |committed| {
                    if let Some(sender) = take(&sender) {
                        let _ = sender.send(committed.map(|()| value));
                    }
                });
                Ok(answer)
            })
        });
        let refuse: Answer = Box::new(move |error| {
            if let (Some(sender), Err(error)) = (take(&refused), error) {
                let _ = sender.send(Err(error));
            }
        });
        let gone = || StoreError::Failed("the store is closed".into());
        self.jobs.send((job, refuse)).await.map_err(|_| gone())?;
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn take<T>(slot: &std::sync::Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

async fn run(
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    mut waiting: mpsc::Receiver<(Job, Answer)>,
) {
    let mut open = Some(connection);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut answers = Vec::with_capacity(batch.len());
        let outcome = match connected(&mut open, &options).await {
            Ok(connection) => commit(connection, &mut batch, &mut answers).await,
            Err(error) => {
                answers.extend(batch.drain(..).map(|(_, refuse)| refuse));
                Err(error)
            }
        };
        if let Err(error) = &outcome {
            if schema::is_failed_fsync(error) {
                die(error);
            }
            tracing::warn!(%error, changes = answers.len(), "a commit failed; nothing of it was kept");
            // On a full disk SQLite ends the transaction by itself, and every savepoint with it,
            // while sqlx still counts them and would begin no other. A new connection is in none.
            if let Some(connection) = open.take() {
                let _ = connection.close().await;
            }
        }
        let outcome = outcome.map_err(StoreError::from);
        for answer in answers {
            answer(outcome.clone());
        }
    }
    if let Some(connection) = open {
        let _ = connection.close().await;
    }
}

/// The connection, or another one in its place.
async fn connected<'o>(
    open: &'o mut Option<SqliteConnection>,
    options: &SqliteConnectOptions,
) -> Result<&'o mut SqliteConnection, sqlx::Error> {
    match open {
        Some(connection) => Ok(connection),
        None => Ok(open.insert(options.connect().await?)),
    }
}

/// Runs the changes in one transaction. On an error nothing of it is kept, and `answers` holds an
/// answer for each change that must be told so.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &mut Vec<(Job, Answer)>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut jobs = std::mem::take(batch).into_iter();
    let result = async {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for (job, refuse) in jobs.by_ref() {
            match job(&mut transaction).await {
                Ok(answer) => answers.push(answer),
                Err(error) if schema::spares_the_transaction(&error) => {
                    refuse(Err(error.into()));
                }
                Err(error) => {
                    answers.push(refuse);
                    // SQLite may have rolled all of it back by itself: nothing after this change
                    // may run in a transaction that is no more.
                    let _ = transaction.rollback().await;
                    return Err(error);
                }
            }
        }
        transaction.commit().await
    }
    .await;
    answers.extend(jobs.map(|(_, refuse)| refuse));
    result
}
