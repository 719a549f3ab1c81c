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
             WHERE history.at >= ? AND history.attempt > 0 AND entry.kind <> 'report' \
             GROUP BY hour, history.state",
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
