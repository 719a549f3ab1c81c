//! The configuration: one TOML file, everything in it optional but the app registration.
//!
//! Unknown keys are refused. A refusal names the file, the key, the value and the remedy, and nothing
//! has been touched by then. `config/postbridge.toml` is the annotated example and equals the
//! defaults; a test holds it to that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::Deserialize;
use toml::Spanned;

use crate::account::Address;
use crate::caldav::names;
use crate::doubt::{Patience, QUIET};
use crate::entra;
use crate::smtp::limits::Limits;
use crate::store::Room;

/// The largest mail that a mailbox of Exchange Online sends by default, and the largest that its
/// administrator can allow it, in octets.
const MESSAGE_OCTETS: u64 = 35 << 20;
const MESSAGE_OCTETS_MAX: u64 = 150 << 20;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept. Absent: `$STATE_DIRECTORY`, else a place that suits the user.
    pub state_dir: Option<PathBuf>,
    /// The app registration; needed for real mail, not for the demo.
    pub entra: Option<entra::Settings>,
    pub smtp: Smtp,
    pub caldav: CalDav,
    pub page: Page,
    pub spool: Spool,
    pub doubt: Doubt,
    pub report: Report,
    pub log: Log,
    /// Settings of single accounts, by address.
    pub account: BTreeMap<Address, AccountSettings>,
}

/// `[smtp]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Listeners that offer STARTTLS; AUTH only after it.
    pub starttls: Vec<SocketAddr>,
    /// Listeners with TLS from the first octet (RFC 8314).
    pub implicit_tls: Vec<SocketAddr>,
    /// Listeners that offer AUTH in clear as well, for devices that cannot do TLS. Loopback only.
    pub clear: Vec<Spanned<SocketAddr>>,
    /// The name in the greeting and in the certificate. Absent: the machine's.
    pub hostname: Option<String>,
    /// PEM files of the user's own. Absent: made on the first run.
    pub certificate: Option<PathBuf>,
    pub key: Option<Spanned<PathBuf>>,
    /// The largest message taken, in octets; SIZE says it.
    pub message_octets_max: Spanned<u64>,
    /// How long the reply to a mail is held back until it is known what becomes of it.
    pub wait: Spanned<SignedDuration>,
    pub limits: Limits,
}

/// A client waits ten minutes for the reply to its mail (RFC 5321 §4.5.3.2.6), a person does not; nor do
/// calendar programs.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(60);

impl Smtp {
    pub fn wait(&self) -> Duration {
        self.wait.get_ref().unsigned_abs()
    }
}

impl Default for Smtp {
    fn default() -> Smtp {
        Smtp {
            starttls: both(1587),
            implicit_tls: both(1465),
            clear: Vec::new(),
            hostname: None,
            certificate: None,
            key: None,
            message_octets_max: Spanned::new(0..0, MESSAGE_OCTETS),
            wait: Spanned::new(0..0, SignedDuration::ZERO),
            limits: Limits::default(),
        }
    }
}

/// Each event is a request, of which a mailbox has 10,000 in ten minutes; and who waits a day need not ask.
const WATCH_MIN: SignedDuration = SignedDuration::from_mins(1);
const WATCH_MAX: SignedDuration = SignedDuration::from_hours(24);

/// `[caldav]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalDav {
    /// Listeners in clear. Loopback only.
    pub listen: Vec<Spanned<SocketAddr>>,
    /// Listeners with TLS, by the key pair of SMTP.
    pub tls: Vec<SocketAddr>,
    /// How long the answer to a change is held back until it is known what becomes of it.
    pub wait: Spanned<SignedDuration>,
    /// How often Outlook is asked what became of the events that the bridge made.
    pub watch: Spanned<SignedDuration>,
    /// Whether clients may make calendars beside the mailbox's own (MKCALENDAR).
    pub make_calendars: bool,
    /// Further names that it may be asked by, beside loopback's and the machine's.
    pub hosts: Vec<Spanned<String>>,
}

impl CalDav {
    pub fn wait(&self) -> Duration {
        self.wait.get_ref().unsigned_abs()
    }

    pub fn watch(&self) -> Duration {
        self.watch.get_ref().unsigned_abs()
    }

    /// The listeners in clear.
    pub fn clear(&self) -> Vec<SocketAddr> {
        self.listen.iter().map(|one| *one.get_ref()).collect()
    }
}

impl Default for CalDav {
    fn default() -> CalDav {
        CalDav {
            listen: both(1080).into_iter().map(|one| Spanned::new(0..0, one)).collect(),
            tls: both(1443),
            wait: Spanned::new(0..0, SignedDuration::from_secs(10)),
            watch: Spanned::new(0..0, SignedDuration::from_mins(5)),
            make_calendars: true,
            hosts: Vec::new(),
        }
    }
}

/// `[page]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Loopback only.
    pub listen: Vec<Spanned<SocketAddr>>,
    /// Whether `/metrics` is there.
    pub metrics: bool,
}

impl Page {
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.iter().map(|one| *one.get_ref()).collect()
    }
}

impl Default for Page {
    fn default() -> Page {
        let listen = both(1088).into_iter().map(|one| Spanned::new(0..0, one)).collect();
        Page { listen, metrics: true }
    }
}

/// A port on both loopback addresses.
fn both(port: u16) -> Vec<SocketAddr> {
    vec![([127, 0, 0, 1], port).into(), ([0, 0, 0, 0, 0, 0, 0, 1u16], port).into()]
}

/// `[spool]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The most that waiting mails may hold, in MiB.
    pub quota_mib: u64,
    /// What is left free on the file system, in MiB.
    pub keep_free_mib: u64,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { quota_mib: 2048, keep_free_mib: 256 }
    }
}

impl Spool {
    pub fn room(&self) -> Room {
        let octets = |mib: u64| mib.saturating_mul(1 << 20);
        Room { quota_octets: octets(self.quota_mib), keep_free_octets: octets(self.keep_free_mib) }
    }
}

/// `[doubt]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Doubt {
    /// How long after a send without an answer its draft is looked for first, in seconds; all further
    /// waits are in proportion.
    pub quiet_seconds: f64,
    /// What becomes of a mail of an account with Mail.Send alone, which cannot be looked for.
    pub send_only: SendOnly,
}

/// What becomes of a mail that may have been sent and cannot be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum SendOnly {
    /// It is held until a person says what became of it.
    #[default]
    Hold,
    /// It is sent once more, and may arrive twice; then it is held.
    SendAgain,
}

impl Default for Doubt {
    fn default() -> Doubt {
        Doubt { quiet_seconds: QUIET.as_secs_f64(), send_only: SendOnly::Hold }
    }
}

impl Doubt {
    pub fn patience(&self) -> Patience {
        const LONGEST: Duration = Duration::from_secs(3600);
        let quiet = Duration::try_from_secs_f64(self.quiet_seconds).unwrap_or(LONGEST);
        let tries_again = self.send_only == SendOnly::SendAgain;
        Patience::new(quiet.min(LONGEST)).trying_again(tries_again)
    }
}

/// `[report]`
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Program and arguments; it gets a copy of each report on its standard input.
    pub command: Vec<String>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// How much is told. The environment's `RUST_LOG` has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    /// A line for each change of state.
    #[default]
    Info,
    /// Addresses of people too.
    Debug,
}

impl LogLevel {
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text; for the journal with its priorities and without the time.
    #[default]
    Auto,
    Text,
    /// One object in each line.
    Json,
}

/// `[account."address"]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    /// Further addresses it may send as: mailboxes on which it has Send As or Send on Behalf.
    pub send_as: Vec<Address>,
    /// What a mailed invite becomes.
    pub invites: InvitePolicy,
    /// IANA name of the zone for whole days and for times without one. Absent: the machine's.
    pub time_zone: Option<TimeZoneName>,
    /// What becomes of a recurrence for which Exchange has no pattern.
    pub recurrence: RecurrencePolicy,
    /// Makes every event with attendees a Teams meeting, asked for or not.
    pub online_meetings: bool,
    /// How many mails are begun in a minute. Absent: as many as Microsoft takes.
    pub mails_per_minute: Option<Spanned<u32>>,
}

/// What a mailed invite becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum InvitePolicy {
    /// An event in the account's calendar; Exchange invites the attendees.
    #[default]
    Event,
    /// A mail, as it stands.
    Mail,
}

/// What becomes of a recurrence for which Exchange has no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum RecurrencePolicy {
    /// One event for each occurrence, up to 100 under the one UID.
    #[default]
    Spread,
    /// Its sender is told.
    Refuse,
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeZoneName(pub TimeZone);

impl TryFrom<String> for TimeZoneName {
    type Error = String;
    fn try_from(name: String) -> Result<TimeZoneName, String> {
        TimeZone::get(&name)
            .map(TimeZoneName)
            .map_err(|_| format!("{name:?} is no time zone; one is \"Europe/Berlin\""))
    }
}

/// A configuration that cannot be used (exit status 78): file, key, value and remedy.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{}: {message}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    message: String,
    #[source_code]
    source_code: Arc<NamedSource<String>>,
    #[label("here")]
    place: Option<SourceSpan>,
    #[help]
    remedy: Option<String>,
}

impl ConfigError {
    fn new(path: &Path, text: &str, bad: Bad) -> ConfigError {
        let source = NamedSource::new(path.display().to_string(), text.to_owned());
        ConfigError {
            path: path.to_owned(),
            message: bad.message,
            source_code: Arc::new(source.with_language("TOML")),
            place: bad.place.map(SourceSpan::from),
            remedy: bad.remedy,
        }
    }
}

impl Config {
    /// The file that is meant: this one, or the first of the usual ones that exists.
    pub fn find(path: Option<&Path>) -> Option<PathBuf> {
        match path {
            Some(path) => Some(path.to_owned()),
            None => usual_places().into_iter().find(|path| path.exists()),
        }
    }

    /// Reads the file that [`Config::find`] finds; the defaults if there is none.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let Some(path) = Config::find(path) else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let message = format!("it cannot be read: {error}");
            let remedy = Some("give the path of a readable file with --config".into());
            ConfigError::new(&path, "", Bad { message, place: None, remedy })
        })?;
        Config::parse(&path, &text)
    }

    /// `path` is for the errors.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let message = error.message().to_owned();
            ConfigError::new(path, text, Bad { message, place: error.span(), remedy: None })
        })?;
        config.check().map_err(|bad| ConfigError::new(path, text, bad))?;
        Ok(config)
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), Bad> {
        if let Some(entra) = &self.entra {
            entra.check().map_err(|bad| Bad {
                message: format!("entra.{} = {:?} cannot be meant", bad.key, bad.value),
                place: None,
                remedy: Some(bad.remedy.to_owned()),
            })?;
        }
        for (key, listeners, others) in [
            ("smtp.clear", &self.smtp.clear, "smtp.starttls or smtp.implicit_tls"),
            ("caldav.listen", &self.caldav.listen, "caldav.tls"),
        ] {
            let far = listeners.iter().find(|listener| !listener.get_ref().ip().is_loopback());
            if let Some(far) = far {
                return Err(Bad::at(
                    far,
                    format!(
                        "{key} = \"{}\" would take passwords in clear from the network",
                        far.get_ref()
                    ),
                    &format!("use a loopback address here, or put this one under {others}"),
                ));
            }
        }
        let far = self.page.listen.iter().find(|one| !one.get_ref().ip().is_loopback());
        if let Some(far) = far {
            return Err(Bad::at(
                far,
                format!("page.listen = \"{}\" would show the page to the network", far.get_ref()),
                "use a loopback address; from elsewhere, come by ssh -L",
            ));
        }
        if let Some(host) = self.caldav.hosts.iter().find(|host| !names::is_name(host.get_ref())) {
            return Err(Bad::at(
                host,
                format!("caldav.hosts = {:?} is no name of a host", host.get_ref()),
                "give a name as programs ask for it, such as \"calendar.contoso.example\"",
            ));
        }
        let size = &self.smtp.message_octets_max;
        if !(1024..=MESSAGE_OCTETS_MAX).contains(size.get_ref()) {
            return Err(Bad::at(
                size,
                format!("smtp.message_octets_max = {} cannot be kept", size.get_ref()),
                &format!(
                    "no mailbox of Exchange Online takes a mail of more than {MESSAGE_OCTETS_MAX} octets; \
                     choose 1024 to that"
                ),
            ));
        }
        for (key, wait) in [("smtp.wait", &self.smtp.wait), ("caldav.wait", &self.caldav.wait)] {
            if !(SignedDuration::ZERO..=WAIT_MAX).contains(wait.get_ref()) {
                return Err(Bad::at(
                    wait,
                    format!("{key} = \"{:#}\" cannot be meant", wait.get_ref()),
                    "choose \"0s\" to \"60s\"",
                ));
            }
        }
        let watch = &self.caldav.watch;
        if !(WATCH_MIN..=WATCH_MAX).contains(watch.get_ref()) {
            return Err(Bad::at(
                watch,
                format!("caldav.watch = \"{:#}\" cannot be meant", watch.get_ref()),
                "choose \"1m\" to \"24h\"",
            ));
        }
        for own in self.account.values() {
            if let Some(pace) = own.mails_per_minute.as_ref().filter(|pace| *pace.get_ref() == 0) {
                return Err(Bad::at(
                    pace,
                    "mails_per_minute = 0 would never send anything".to_owned(),
                    "choose 1 or more, or leave it out to send as fast as Microsoft takes it",
                ));
            }
        }
        if let Some(program) = self.report.command.first()
            && !Path::new(program).is_absolute()
        {
            return Err(Bad {
                message: format!("report.command begins with {program:?}"),
                place: None,
                remedy: Some(
                    "give the full path of the program, then its arguments: no shell reads them"
                        .into(),
                ),
            });
        }
        if let (None, Some(key)) = (&self.smtp.certificate, &self.smtp.key) {
            return Err(Bad::at(
                key,
                format!("smtp.key = {:?} has no certificate beside it", key.get_ref()),
                "give smtp.certificate as well, or neither",
            ));
        }
        if let (Some(certificate), None) = (&self.smtp.certificate, &self.smtp.key) {
            return Err(Bad {
                message: format!("smtp.certificate = {certificate:?} has no key beside it"),
                place: None,
                remedy: Some("give smtp.key as well, or neither".into()),
            });
        }
        Ok(())
    }

    /// The keys in which `to` differs and that hold from start to stop.
    pub fn fixed_differences(&self, to: &Config) -> Vec<&'static str> {
        [
            ("state_dir", self.state_dir == to.state_dir),
            ("entra", self.entra == to.entra),
            ("spool", self.spool == to.spool),
            ("log", self.log == to.log),
            ("smtp.starttls", self.smtp.starttls == to.smtp.starttls),
            ("smtp.implicit_tls", self.smtp.implicit_tls == to.smtp.implicit_tls),
            ("smtp.clear", self.smtp.clear == to.smtp.clear),
            ("caldav.listen", self.caldav.listen == to.caldav.listen),
            ("caldav.tls", self.caldav.tls == to.caldav.tls),
            ("page.listen", self.page.listen == to.page.listen),
        ]
        .into_iter()
        .filter_map(|(key, same)| (!same).then_some(key))
        .collect()
    }

    /// Puts those back to what they were in `former`.
    pub fn keep_fixed_of(&mut self, former: Config) {
        (self.state_dir, self.entra, self.spool) = (former.state_dir, former.entra, former.spool);
        self.log = former.log;
        self.smtp.starttls = former.smtp.starttls;
        self.smtp.implicit_tls = former.smtp.implicit_tls;
        self.smtp.clear = former.smtp.clear;
        self.caldav.listen = former.caldav.listen;
        self.caldav.tls = former.caldav.tls;
        self.page.listen = former.page.listen;
    }

    /// Where everything is kept.
    pub fn state_dir(&self) -> PathBuf {
        if let Some(directory) = &self.state_dir {
            return directory.clone();
        }
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(directory) = variable("STATE_DIRECTORY") {
            return directory;
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/postbridge");
        }
        variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(|| PathBuf::from("/var/lib"))
            .join("postbridge")
    }
}

struct Bad {
    message: String,
    place: Option<std::ops::Range<usize>>,
    remedy: Option<String>,
}

impl Bad {
    fn at<T>(value: &Spanned<T>, message: String, remedy: &str) -> Bad {
        Bad { message, place: Some(value.span()), remedy: Some(remedy.to_owned()) }
    }
}

/// systemd's directory, the user's, the machine's.
pub fn usual_places() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    [
        variable("CONFIGURATION_DIRECTORY"),
        variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
            .map(|directory| directory.join("postbridge")),
        Some(PathBuf::from("/etc/postbridge")),
    ]
    .into_iter()
    .flatten()
    .map(|directory| directory.join("postbridge.toml"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("postbridge.toml"), text)
    }

    /// What a person sees, without colours.
    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err();
        let mut out = String::new();
        let handler = miette::NarratableReportHandler::new();
        handler.render_report(&mut out, &error).unwrap();
        out
    }

    #[test]
    fn the_annotated_example_is_the_defaults() {
        let example = include_str!("../config/postbridge.toml");
        assert_eq!(parse(example).unwrap(), Config::default());
        // Each commented-out setting can be switched on as it stands.
        let on: String = example
            .lines()
            .map(|line| match line.strip_prefix("#: ") {
                Some(setting) => format!("{setting}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        parse(&on).map_err(miette::Report::from).unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_place() {
        let text = refusal("[smtp]\nstartls = []\n");
        assert!(text.contains("startls") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn passwords_in_clear_from_the_network_are_refused() {
        let text = refusal("[smtp]\nclear = [\"127.0.0.1:1025\", \"0.0.0.0:25\"]\n");
        assert!(text.contains("0.0.0.0:25") && text.contains("smtp.starttls"), "{text}");
        let text = refusal("[caldav]\nlisten = [\"127.0.0.1:1080\", \"192.0.2.1:1080\"]\n");
        assert!(text.contains("192.0.2.1:1080") && text.contains("caldav.tls"), "{text}");
    }

    #[test]
    fn the_page_is_not_shown_to_the_network() {
        let text = refusal("[page]\nlisten = [\"192.0.2.1:1088\"]\n");
        assert!(text.contains("192.0.2.1:1088") && text.contains("ssh -L"), "{text}");
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_with_a_remedy() {
        for (text, hint) in [
            ("[smtp]\nmessage_octets_max = 157_286_401\n", "157286400"),
            ("[smtp]\nkey = \"k.pem\"\n", "smtp.certificate"),
            ("[smtp]\ncertificate = \"c.pem\"\n", "smtp.key"),
            ("[entra]\nclient_id = \"my app\"\n", "GUID"),
            ("[smtp]\nstarttls = [\"localhost\"]\n", "socket address"),
            ("[account.\"adele\"]\n", "'@'"),
            ("[spool]\nquota_mib = -1\n", "-1"),
            ("[smtp]\nwait = \"61s\"\n", "\"60s\""),
            ("[smtp]\nwait = \"-1s\"\n", "\"60s\""),
            ("[account.\"a@contoso.example\"]\nmails_per_minute = 0\n", "leave it out"),
            ("[caldav]\nwait = \"2m\"\n", "caldav.wait"),
            ("[caldav]\nwatch = \"1s\"\n", "caldav.watch"),
            (
                "[caldav]\nhosts = [\"http://calendar.contoso.example/\"]\n",
                "calendar.contoso.example",
            ),
            ("[report]\ncommand = [\"logger\"]\n", "full path"),
            ("[report]\ncommand = \"/usr/bin/logger -t postbridge\"\n", "sequence"),
        ] {
            let got = refusal(text);
            assert!(got.contains(hint), "{text} → {got}");
        }
    }
}
