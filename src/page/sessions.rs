//! Who is logged in: sessions in memory, each with the token that its forms must carry.
//!
//! A browser holds 256 bits in a cookie; here only their digest is kept, so that looking it up tells nobody
//! anything by the time it takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::clock::Clock;
use crate::link::{self, NoRandom};
use crate::secret::Secret;

const IDLE: Duration = Duration::from_secs(30 * 60);
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// At once; the one that was idle longest makes room.
const SESSIONS_MAX: usize = 64;

type Name = [u8; 32];

pub(super) struct Sessions {
    clock: Clock,
    by_name: Mutex<HashMap<Name, Session>>,
}

struct Session {
    form_token: Arc<Secret>,
    /// By [`Clock::running`].
    begun: Duration,
    seen: Duration,
}

impl Session {
    fn lives(&self, now: Duration) -> bool {
        now.saturating_sub(self.begun) < LIFETIME && now.saturating_sub(self.seen) < IDLE
    }
}

impl Sessions {
    pub(super) fn new(clock: Clock) -> Sessions {
        Sessions { clock, by_name: Mutex::default() }
    }

    /// The value of the new session's cookie.
    pub(super) fn begin(&self) -> Result<Secret, NoRandom> {
        let (cookie, form_token) = (link::random()?, Arc::new(link::random()?));
        let now = self.clock.running();
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.lives(now));
        if sessions.len() >= SESSIONS_MAX {
            let idle = sessions.iter().min_by_key(|(_, session)| session.seen);
            let idle = idle.map(|(name, _)| *name);
            idle.and_then(|name| sessions.remove(&name));
        }
        sessions.insert(name(cookie.expose()), Session { form_token, begun: now, seen: now });
        Ok(cookie)
    }

    /// The token for forms of the session that has this cookie, which is not idle from now on. Where
    /// nobody looks at the page but a script of its own asks, it stays as idle as it is.
    pub(super) fn find(&self, cookie: &str, by_a_person: bool) -> Option<Arc<Secret>> {
        let now = self.clock.running();
        let mut sessions = self.lock();
        let session = sessions.get_mut(&name(cookie)).filter(|session| session.lives(now))?;
        if by_a_person {
            session.seen = now;
        }
        Some(Arc::clone(&session.form_token))
    }

    pub(super) fn end(&self, cookie: &str) {
        self.lock().remove(&name(cookie));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Session>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(cookie: &str) -> Name {
    let digest = digest::digest(&digest::SHA256, cookie.as_bytes());
    let mut name = [0; 32];
    name.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_session_ends_when_it_is_idle_for_half_an_hour() {
        let clock = Clock::default();
        let sessions = Sessions::new(clock.clone());
        let cookie = sessions.begin().unwrap();
        assert!(sessions.find("", true).is_none() && sessions.find("x", true).is_none());
        clock.advance(29 * MINUTE);
        assert!(sessions.find(cookie.expose(), true).is_some());
        clock.advance(29 * MINUTE);
        assert!(sessions.find(cookie.expose(), false).is_some(), "it was seen meanwhile");
        clock.advance(MINUTE);
        assert!(sessions.find(cookie.expose(), true).is_none(), "a script keeps none alive");
    }

    #[test]
    fn a_session_ends_after_half_a_day_however_busy() {
        let clock = Clock::default();
        let sessions = Sessions::new(clock.clone());
        let cookie = sessions.begin().unwrap();
        for _ in 0..47 {
            clock.advance(15 * MINUTE);
            assert!(sessions.find(cookie.expose(), true).is_some());
        }
        clock.advance(15 * MINUTE);
        assert!(sessions.find(cookie.expose(), true).is_none());
    }

    #[test]
    fn each_session_has_a_token_of_its_own_and_ends_alone() {
        let sessions = Sessions::new(Clock::default());
        let (one, other) = (sessions.begin().unwrap(), sessions.begin().unwrap());
        let token = |cookie: &Secret| sessions.find(cookie.expose(), true);
        let (first, second) = (token(&one).unwrap(), token(&other).unwrap());
        assert!(!first.equals(second.expose()) && !first.equals(one.expose()));
        sessions.end(one.expose());
        assert!(token(&one).is_none() && token(&other).is_some());
    }
}
