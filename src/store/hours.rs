//! What became of mails, hour by hour: for charts. Entries and their history are kept a week, so that is how
//! far back one can look.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::spool::{State, state};
use super::{Store, StoreError};

const HOUR_MS: i64 = 3_600_000;
/// As far back as entries are kept.
const HOURS_MAX: u32 = 168;

/// One hour of UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    pub begins: Timestamp,
    pub accepted: u64,
    pub sent: u64,
    pub failed: u64,
    pub held: u64,
    /// Attempts after which a mail waits for another: Microsoft asked for a pause, or did not answer.
    pub put_off: u64,
    /// From acceptance until it was sent, of those sent in this hour: half of them took no longer, and 95
    /// in a hundred no longer than `slow_ms`. `None`: none was sent.
    pub median_ms: Option<u64>,
    pub slow_ms: Option<u64>,
}

impl Hour {
    fn new(begins: Timestamp) -> Hour {
        let (median_ms, slow_ms) = (None, None);
        Hour { begins, accepted: 0, sent: 0, failed: 0, held: 0, put_off: 0, median_ms, slow_ms }
    }
}

impl Store {
    /// The last so many hours, the present one last; those without any mail as well.
    pub async fn hours(&self, most: u32) -> Result<Vec<Hour>, StoreError> {
        let most = i64::from(most.clamp(1, HOURS_MAX));
        let first = self.clock().now().as_millisecond().div_euclid(HOUR_MS) - (most - 1);
        let mut hours = Vec::new();
        for at in first..first + most {
            let begins = Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_hours(at));
            hours.push(Hour::new(begins.unwrap_or(Timestamp::MAX)));
        }
        let since = first.saturating_mul(HOUR_MS);
        let mut connection = self.read().await?;
        let mut with = |at: i64, change: &dyn Fn(&mut Hour)| {
            let at = usize::try_from(at - first).ok();
            if let Some(hour) = at.and_then(|at| hours.get_mut(at)) {
                change(hour);
            }
        };

        let rows = sqlx::query(
            "SELECT accepted_at / 3600000 AS hour, count(*) AS n FROM entry \
             WHERE accepted_at >= ? AND kind <> 'report' GROUP BY hour",
        )
        .bind(since)
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let n = row.get::<i64, _>("n").cast_unsigned();
            with(row.get("hour"), &|hour| hour.accepted = n);
        }

        let rows = sqlx::query(
            "SELECT history.at / 3600000 AS hour, history.state AS state, count(*) AS n \
             FROM history JOIN entry ON entry.id = history.entry \
             WHERE history.at >= ? AND (history.state <> 'queued' OR history.due_at > history.at) \
             AND entry.kind <> 'report' GROUP BY hour, history.state",
        )
        .bind(since)
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let n = row.get::<i64, _>("n").cast_unsigned();
            let state = state(&row)?;
            with(row.get("hour"), &|hour| match state {
                State::Sent => hour.sent = n,
                State::Failed => hour.failed = n,
                State::Held => hour.held = n,
                State::Queued => hour.put_off = n,
                State::Attempting | State::Sending => {}
            });
        }

        // The first condition is that of the index `entry_ended`, word for word.
        let rows = sqlx::query(
            "WITH ended AS (SELECT due_at / 3600000 AS hour, due_at - accepted_at AS ms FROM entry \
             WHERE state IN ('sent', 'failed') AND due_at >= ? AND state = 'sent' AND kind <> 'report'), \
             ranked AS (SELECT hour, ms, row_number() OVER (PARTITION BY hour ORDER BY ms) AS place, \
             count(*) OVER (PARTITION BY hour) AS n FROM ended) \
             SELECT hour, max(CASE WHEN place = (n + 1) / 2 THEN ms END) AS median, \
             max(CASE WHEN place = (n * 95 + 99) / 100 THEN ms END) AS slow FROM ranked GROUP BY hour",
        )
        .bind(since)
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let ms = |column| row.get::<Option<i64>, _>(column).map(|ms| ms.max(0).cast_unsigned());
            let (median, slow) = (ms("median"), ms("slow"));
            with(row.get("hour"), &|hour| (hour.median_ms, hour.slow_ms) = (median, slow));
        }
        Ok(hours)
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Order;
    use super::super::queue::Most;
    use super::super::spool::{Entry, Outcome};
    use super::*;
    use crate::account::{Account, Address, Profile};
    use crate::clock::Clock;
    use crate::store::Room;
    use crate::submission::{Envelope, MailParameters};
    use std::sync::Arc;
    use std::time::Duration;

    struct Bench {
        clock: Clock,
        store: Store,
        account: Arc<Account>,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        async fn new() -> Bench {
            let directory = tempfile::tempdir().unwrap();
            let clock = Clock::default();
            let path = directory.path().join("state");
            let store = Store::open_at(&path, Room::default(), clock.clone()).await.unwrap();
            let address = Address::parse("adele@contoso.example").unwrap();
            let (account, _) = store.add_account(address, Profile::Full).await.unwrap();
            // Close to the beginning of an hour, so that what follows stays within it.
            let within = clock.now().as_millisecond().rem_euclid(HOUR_MS);
            clock.advance(Duration::from_millis((HOUR_MS - within).unsigned_abs()));
            Bench { clock, store, account, _directory: directory }
        }

        /// Accepted now, and being attempted after so long.
        async fn attempted(&self, text: &str, after: Duration) -> Entry {
            let to = vec![Address::parse("alex@contoso.example").unwrap().into()];
            let envelope = Envelope::new(None, to, MailParameters::default()).unwrap();
            let mut incoming = self.store.begin(&self.account);
            incoming.write(text.as_bytes()).await.unwrap();
            incoming.commit(&envelope, true, None).await.unwrap();
            self.clock.advance(after);
            self.claimed().await
        }

        async fn claimed(&self) -> Entry {
            let now = self.clock.now();
            let of = vec![(self.account.id, Most::ALL)];
            self.store.claim(of, now, now).await.unwrap().remove(0)
        }

        async fn settle(&self, entry: &Entry, outcome: Outcome) {
            self.store.settle(entry, outcome, None, self.clock.now()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn each_hour_tells_what_became_of_mails_in_it_and_how_long_that_took() {
        let bench = Bench::new().await;
        for n in 1..=20_u64 {
            let entry = bench.attempted(&format!("{n}"), Duration::from_secs(n)).await;
            bench.settle(&entry, Outcome::Sent).await;
        }
        bench.clock.advance(Duration::from_secs(3600));
        let entry = bench.attempted("later", Duration::ZERO).await;
        let due_at = bench.clock.now() + SignedDuration::from_mins(1);
        let later = Outcome::Later { due_at, waited: Duration::ZERO, note: "busy".into() };
        bench.settle(&entry, later).await;
        bench.settle(&entry, Outcome::Held { note: "lost".into() }).await;
        // An operator's word is no attempt.
        bench.store.order(entry.id, Order::SendAgain).await.unwrap().unwrap();
        let _again = bench.claimed().await;
        let entry = bench.attempted("failed", Duration::ZERO).await;
        let failed = Outcome::Failed { status: [5, 0, 0], note: "no".into(), answered: None };
        bench.settle(&entry, failed).await;

        let hours = bench.store.hours(3).await.unwrap();
        let empty = Hour::new(hours[0].begins);
        assert_eq!(hours[0], empty);
        assert_eq!(hours[1].begins.duration_since(empty.begins), SignedDuration::from_hours(1));
        assert_eq!((hours[1].accepted, hours[1].sent), (20, 20));
        // Half of 20 and 19 of 20, each measured to the millisecond it took to write it down.
        let seconds = |ms: Option<u64>| ms.unwrap() / 1_000;
        assert_eq!((seconds(hours[1].median_ms), seconds(hours[1].slow_ms)), (10, 19));
        let last =
            Hour { accepted: 2, held: 1, failed: 1, put_off: 1, ..Hour::new(hours[2].begins) };
        assert_eq!(hours[2], last);
        let counted = bench.store.counted();
        assert_eq!((counted.accepted, counted.sent, counted.failed), (22, 20, 1));
        assert_eq!((counted.held, counted.put_off), (1, 1));
        assert_eq!(counted.latency.buckets.iter().sum::<u64>(), 20);
    }
}
