//! A script of faults: which requests it hits, and what happens to them. Pure.
//!
//! Each rule counts the requests that it matches, from 1; a route of `*` without a method counts
//! them all. Chance comes from the script's seed, so that a run can be repeated.

use serde::{Deserialize, Serialize};

/// Rules in one script.
const RULES_MAX: usize = 200;
/// The longest delay, in milliseconds.
const DELAY_MAX: u64 = 10 * 60 * 1000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub faults: Vec<Rule>,
}

/// When: exactly one of `nth`, `every`, `probability`; `every` if none is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `None`: any method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A prefix of the path, or with `*` a pattern of the whole of it.
    #[serde(default = "any_route")]
    pub route: String,
    /// Only requests of this mailbox (by its token, code or refresh token).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nth: Vec<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// At most this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    #[serde(rename = "do")]
    pub act: Act,
}

fn any_route() -> String {
    "*".to_owned()
}

/// What happens. The *effect* is what the route would have done without us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// No effect, this answer.
    Answer(Answer),
    /// The effect, then this answer in place of the true one.
    ActThenAnswer(Answer),
    /// This answer, and the effect later; by the sandbox's clock, as soon as somebody asks for
    /// anything after that.
    AnswerThenAct(LateAct),
    /// Waits before the effect; goes together with other acts.
    DelayMs(u64),
    /// The connection is reset; no effect.
    CutBefore,
    /// The effect; then the connection is reset without an octet of the answer.
    CutAfter,
    /// The effect; then the head of the answer and half of its body.
    Truncate,
    /// The caller's access tokens (everybody's, if nobody's token is shown) expire first.
    ExpireTokens,
    /// His access and refresh tokens are revoked first.
    RevokeTokens,
    /// SIGKILL to a process, then the connection is reset.
    Kill(Kill),
    /// The token endpoint refuses with an AADSTS code; no effect.
    TokenError(TokenError),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub status: u16,
    /// Graph's `error.code`, or Entra's `error`.
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Sent as it stands: seconds, a fraction, an HTTP date, or nonsense. `None`: no header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateAct {
    pub answer: Answer,
    pub after_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub pid: i32,
    pub when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// No effect.
    Before,
    /// After the effect, before the answer.
    After,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenError {
    /// The number after AADSTS; `error`, `suberror` and text come with it.
    pub code: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suberror: Option<String>,
}

impl Act {
    /// As in the script, for the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Act::Answer(_) => "answer",
            Act::ActThenAnswer(_) => "act_then_answer",
            Act::AnswerThenAct(_) => "answer_then_act",
            Act::DelayMs(_) => "delay_ms",
            Act::CutBefore => "cut_before",
            Act::CutAfter => "cut_after",
            Act::Truncate => "truncate",
            Act::ExpireTokens => "expire_tokens",
            Act::RevokeTokens => "revoke_tokens",
            Act::Kill(Kill { when: When::Before, .. }) => "kill_before",
            Act::Kill(Kill { when: When::After, .. }) => "kill_after",
            Act::TokenError(_) => "token_error",
        }
    }
}

impl Script {
    /// Says what is wrong with a script before it is taken. `own_pid` may not be killed.
    pub fn check(&self, own_pid: u32) -> Result<(), String> {
        if self.faults.len() > RULES_MAX {
            return Err(format!("more than {RULES_MAX} faults"));
        }
        for (at, rule) in self.faults.iter().enumerate() {
            rule.check(own_pid).map_err(|problem| format!("faults[{at}]: {problem}"))?;
        }
        Ok(())
    }
}

impl Rule {
    fn check(&self, own_pid: u32) -> Result<(), String> {
        let given = [!self.nth.is_empty(), self.every, self.probability.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err("give one of nth, every, probability".to_owned());
        }
        if self.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("probability is from 0 to 1".to_owned());
        }
        if self.nth.contains(&0) {
            return Err("nth counts from 1".to_owned());
        }
        if self.route.matches('*').count() > 8 || self.route.len() > 500 {
            return Err("route is too long or has more than 8 stars".to_owned());
        }
        match &self.act {
            Act::Answer(answer)
            | Act::ActThenAnswer(answer)
            | Act::AnswerThenAct(LateAct { answer, .. }) => {
                if !(200..=599).contains(&answer.status) {
                    return Err("status is from 200 to 599".to_owned());
                }
                let retry_after = answer.retry_after.as_deref().unwrap_or_default();
                if retry_after.len() > 200 || retry_after.bytes().any(|b| !(32..127).contains(&b)) {
                    return Err("retry_after is at most 200 characters of ASCII".to_owned());
                }
            }
            Act::DelayMs(delay) if *delay > DELAY_MAX => {
                return Err(format!("delay_ms is at most {DELAY_MAX}"));
            }
            // Never a process group (0 and below), never init, never ourselves.
            Act::Kill(kill) if kill.pid <= 1 || u32::try_from(kill.pid) == Ok(own_pid) => {
                return Err("pid is that of another process, greater than 1".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn matches(&self, method: &str, path: &str, mailbox: Option<&str>) -> bool {
        let method_fits = self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method));
        let mailbox_fits = self
            .mailbox
            .as_ref()
            .is_none_or(|own| mailbox.is_some_and(|mailbox| mailbox.eq_ignore_ascii_case(own)));
        method_fits && mailbox_fits && route_matches(&self.route, path)
    }
}

/// A route without `*` is a prefix; with it, a pattern of the whole path.
fn route_matches(route: &str, path: &str) -> bool {
    let Some((head, rest)) = route.split_once('*') else { return path.starts_with(route) };
    let Some(mut left) = path.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            // The last piece ends the path; an empty one, after a final star, always does.
            return left.ends_with(piece);
        }
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    true
}

/// A script under way: what has been counted and what has fired.
#[derive(Debug, Default)]
pub struct Running {
    script: Script,
    chance: u64,
    counts: Vec<Count>,
}

/// One rule's tally.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Requests that the rule's method, route and mailbox fit.
    pub matched: u64,
    /// How often it was carried out.
    pub fired: u64,
}

impl Running {
    pub fn new(script: Script) -> Running {
        let counts = vec![Count::default(); script.faults.len()];
        Running { chance: script.seed, counts, script }
    }

    pub fn script(&self) -> &Script {
        &self.script
    }

    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// What is to be done to this request, in the script's order. Delays and token acts add up; of
    /// the others only the first is taken.
    pub fn decide(&mut self, method: &str, path: &str, mailbox: Option<&str>) -> Vec<Act> {
        let mut acts: Vec<Act> = Vec::new();
        let mut ended = false;
        for (rule, count) in self.script.faults.iter().zip(&mut self.counts) {
            if !rule.matches(method, path, mailbox) {
                continue;
            }
            count.matched += 1;
            let due = match rule.probability {
                Some(probability) => chance(&mut self.chance) < probability,
                None if rule.nth.is_empty() => true,
                None => rule.nth.contains(&count.matched),
            };
            let last = !matches!(rule.act, Act::DelayMs(_) | Act::ExpireTokens | Act::RevokeTokens);
            if !due || rule.times.is_some_and(|times| count.fired >= times) || (last && ended) {
                continue;
            }
            ended |= last;
            count.fired += 1;
            acts.push(rule.act.clone());
        }
        acts
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), as a number from 0 to 1.
fn chance(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 53 bits fill the fraction of an f64.
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(faults: &str) -> Running {
        let script: Script =
            serde_json::from_str(&format!(r#"{{"seed":7,"faults":[{faults}]}}"#)).unwrap();
        script.check(1).unwrap();
        Running::new(script)
    }

    #[test]
    fn a_route_is_a_prefix_or_with_stars_a_pattern() {
        let check = |route, path| route_matches(route, path);
        assert!(check("/v1.0/me", "/v1.0/me/sendMail"));
        assert!(check("*", "/anything"));
        assert!(check("/*/oauth2/v2.0/token", "/common/oauth2/v2.0/token"));
        assert!(!check("/*/oauth2/v2.0/token", "/common/oauth2/v2.0/token/x"));
        assert!(check("/v1.0/users/*/sendMail*", "/v1.0/users/7/sendMail"));
        assert!(!check("/v1.0/users/*/sendMail", "/v1.0/me/sendMail"));
    }

    #[test]
    fn the_nth_request_of_all_is_counted_over_every_method_and_route() {
        let mut running = running(r#"{"nth":[2],"do":"cut_before"}"#);
        assert!(running.decide("GET", "/a", None).is_empty());
        assert_eq!(running.decide("POST", "/b", None), [Act::CutBefore]);
        assert!(running.decide("GET", "/a", None).is_empty());
        assert_eq!(running.counts(), [Count { matched: 3, fired: 1 }]);
    }

    #[test]
    fn a_delay_goes_with_a_cut_and_a_second_cut_does_not_fire() {
        let mut running = running(
            r#"{"do":{"delay_ms":5}},{"do":"cut_after","times":1},{"do":"cut_before","times":1}"#,
        );
        assert_eq!(running.decide("GET", "/", None), [Act::DelayMs(5), Act::CutAfter]);
        assert_eq!(running.decide("GET", "/", None), [Act::DelayMs(5), Act::CutBefore]);
        assert_eq!(running.decide("GET", "/", None), [Act::DelayMs(5)]);
    }

    #[test]
    fn the_same_seed_hits_the_same_requests() {
        let run = || {
            let mut running = running(r#"{"probability":0.3,"do":"truncate"}"#);
            (0..100).map(|_| running.decide("GET", "/", None).len()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        let hits: usize = run().iter().sum();
        assert!((15..45).contains(&hits), "{hits}");
    }

    #[test]
    fn a_script_may_not_kill_groups_init_or_the_sandbox() {
        for pid in [-1, 0, 1, 77] {
            let rule = format!(r#"{{"do":{{"kill":{{"pid":{pid},"when":"before"}}}}}}"#);
            let script: Script =
                serde_json::from_str(&format!(r#"{{"faults":[{rule}]}}"#)).unwrap();
            assert!(script.check(77).is_err(), "{pid}");
        }
    }
}
