//! How many requests Graph answered, and how: plain counts since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::StatusCode;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 2xx
    Done,
    /// 429
    Throttled,
    /// 4xx, and whatever else is no success.
    Refused,
    /// 5xx
    Failed,
    /// No answer came.
    Lost,
    /// It was not made: the pace of its mailbox did not allow it.
    PutOff,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Done, Kind::Throttled, Kind::Refused, Kind::Failed, Kind::Lost, Kind::PutOff];

    pub(super) fn of(status: StatusCode) -> Kind {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Kind::Throttled,
            status if status.is_success() => Kind::Done,
            status if status.is_server_error() => Kind::Failed,
            _ => Kind::Refused,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Done => "done",
            Kind::Throttled => "throttled",
            Kind::Refused => "refused",
            Kind::Failed => "failed",
            Kind::Lost => "lost",
            Kind::PutOff => "put_off",
        }
    }
}

/// Each counts up.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Kind::ALL.len()]);

impl Tally {
    pub(super) fn count(&self, kind: Kind) {
        if let Some(counter) = self.0.get(kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn counted(&self, kind: Kind) -> u64 {
        self.0.get(kind as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_counted_as_what_it_is() {
        let tally = Tally::default();
        for status in [200, 202, 429, 404, 302, 503] {
            tally.count(Kind::of(StatusCode::from_u16(status).unwrap()));
        }
        tally.count(Kind::Lost);
        let counted = Kind::ALL.map(|kind| (kind.name(), tally.counted(kind)));
        let expected = [
            ("done", 2),
            ("throttled", 1),
            ("refused", 2),
            ("failed", 1),
            ("lost", 1),
            ("put_off", 0),
        ];
        assert_eq!(counted, expected);
    }
}
