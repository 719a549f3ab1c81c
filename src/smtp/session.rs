//! The state of one SMTP submission session: RFC 5321, RFC 6409. Sans-I/O and pure.
//!
//! Bytes go in, [`Step`]s come out: what to write, what to ask of the store, what to keep. A step
//! that asks a question is answered by the method it names before the next step is taken. Nothing
//! here knows a socket, a clock, the store or what becomes of the mail; how long to wait is the
//! driver's affair, and [`Session::stage`] tells it what for.
//!
//! ```text
//!            EHLO           AUTH            MAIL           RCPT          DATA, BDAT
//!  Command ───────► Command ─────► Command ──────► Command ────► Command ───────────► Data/Chunk
//!     ▲                                                                                  │
//!     └──────────────────────── Commit, or a refusal ────────────────────────────────────┘
//! ```

use std::sync::Arc;

use super::auth::{self, Exchange, Turn};
use super::body::{Body, Read};
use super::command::{self, Command, Problem, Recipient};
use super::data::Scanner;
use super::limits::Limits;
use super::line::{Line, Taken, TooLong, take, text_of};
use super::reply::{self, Offer, Reply};
use super::step::{Arrived, Login, Stage, Step, Transport};
use crate::account::{Account, Address};
use crate::plan;
use crate::submission::{Envelope, ForwardPath, MailParameters};

#[derive(Debug)]
enum Phase {
    Command,
    Exchange(Exchange),
    Data,
    /// A BDAT chunk: octets left, and whether it is the last.
    Chunk {
        left: u64,
        last: bool,
    },
    /// A BDAT chunk that cannot be used is read all the same (RFC 3030 §2), then this is the reply.
    Skip {
        left: u64,
        reply: Reply,
    },
    Closed,
}

#[derive(Debug)]
enum Asked {
    Mail,
    Data,
}

/// From MAIL to the end of the data.
#[derive(Debug)]
struct Transaction {
    reverse_path: Option<Address>,
    parameters: MailParameters,
    size: u64,
    forward_paths: Vec<ForwardPath>,
    body: Option<Box<Body>>,
}

#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    hostname: Arc<str>,
    transport: Transport,
    phase: Phase,
    line: Line,
    /// What follows the reply just given.
    then: Option<Then>,
    asked: Option<Asked>,
    greeted: bool,
    account: Option<Arc<Account>>,
    transaction: Option<Box<Transaction>>,
    errors: usize,
    idle_commands: usize,
    failed_logins: usize,
}

#[derive(Debug)]
enum Then {
    Reply(Reply),
    StartTls,
}

impl Session {
    pub fn new(limits: Arc<Limits>, hostname: Arc<str>, transport: Transport) -> Session {
        Session {
            limits,
            hostname,
            transport,
            phase: Phase::Command,
            line: Line::default(),
            then: None,
            asked: None,
            greeted: false,
            account: None,
            transaction: None,
            errors: 0,
            idle_commands: 0,
            failed_logins: 0,
        }
    }

    pub fn greeting(&self) -> Reply {
        Reply::greeting(&self.hostname)
    }

    pub fn stage(&self) -> Stage {
        match self.phase {
            _ if self.account.is_none() => Stage::Stranger,
            Phase::Data | Phase::Chunk { .. } | Phase::Skip { .. } => Stage::Data,
            _ => Stage::Command,
        }
    }

    /// Who has logged in.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// Whether a mail is on its way: such a session is not cut off when the daemon stops.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Takes from the front of `input` what one step needs.
    pub fn step<'i>(&mut self, input: &mut &'i [u8]) -> Step<'i> {
        match self.then.take() {
            Some(Then::Reply(reply)) => return Step::Reply(reply),
            Some(Then::StartTls) => return Step::StartTls,
            None => {}
        }
        match &mut self.phase {
            Phase::Command | Phase::Exchange(_) => self.line_step(input),
            Phase::Data => self.data_step(input),
            Phase::Chunk { left, last } => {
                let (left, last) = (*left, *last);
                self.chunk_step(left, last, input)
            }
            Phase::Skip { left, reply } => {
                *left -= take(input, *left).len() as u64;
                if *left > 0 {
                    return Step::Read;
                }
                let reply = reply.clone();
                self.phase = Phase::Command;
                self.reply(reply)
            }
            Phase::Closed => Step::Close,
        }
    }

    // ---- answers to steps that ask ----

    /// The answer to [`Step::Authenticate`].
    pub fn authenticated(&mut self, login: Login) -> Reply {
        match login {
            Login::As(account) => {
                self.account = Some(account);
                reply::LOGGED_IN
            }
            Login::Wrong => {
                self.failed_logins += 1;
                self.errors += 1;
                reply::LOGIN_FAILED
            }
            Login::Later => {
                self.failed_logins += 1;
                reply::LOGIN_LATER
            }
            Login::Unavailable => reply::LOGIN_UNAVAILABLE,
        }
    }

    /// The answer to [`Step::Room`]: `Err` is the store's refusal.
    pub fn room(&mut self, room: Result<(), Reply>) -> Reply {
        match (self.asked.take(), room) {
            (Some(Asked::Mail), Ok(())) => reply::SENDER_OK,
            (Some(Asked::Mail), Err(refusal)) => {
                self.transaction = None;
                refusal
            }
            (Some(Asked::Data), Ok(())) => {
                self.begin_body(Scanner::dotted);
                self.phase = Phase::Data;
                reply::START_DATA
            }
            (_, Err(refusal)) => refusal,
            (None, Ok(())) => reply::OK,
        }
    }

    /// The answer to [`Step::StartTls`]: the handshake is made. RFC 3207 §4.2: all that was said
    /// before it is forgotten.
    pub fn secured(&mut self) {
        *self = Session::new(Arc::clone(&self.limits), Arc::clone(&self.hostname), Transport::Tls);
    }

    // ---- lines ----

    fn line_step<'i>(&mut self, input: &mut &'i [u8]) -> Step<'i> {
        let exchange = matches!(self.phase, Phase::Exchange(_));
        let line = match self.line.read(input, exchange, &self.limits) {
            Taken::More => return Step::Read,
            Taken::Endless => return self.close_with(reply::LINE_TOO_LONG),
            Taken::Line(line) => line,
        };
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        match (line.as_ref().map(|line| text_of(line)), phase) {
            (Ok(Ok(text)), Phase::Exchange(exchange)) => self.turn(exchange.respond(text)),
            (Ok(Ok(text)), _) => self.command(text, input),
            (Ok(Err(refusal)), _) => self.reply(refusal),
            (Err(TooLong), Phase::Exchange(_)) => self.reply(reply::AUTH_TOO_LONG),
            (Err(TooLong), _) => self.reply(reply::LINE_TOO_LONG),
        }
    }

    fn command<'i>(&mut self, line: &str, input: &mut &'i [u8]) -> Step<'i> {
        let command = match command::parse(line) {
            Ok(command) => command,
            Err(problem @ (Problem::LostCount | Problem::Http)) => {
                return self.close_with(Reply::problem(problem));
            }
            Err(problem) => return self.reply(Reply::problem(problem)),
        };
        self.idle_commands += match command {
            Command::Mail { .. } | Command::Rcpt(_) | Command::Data | Command::Bdat { .. } => 0,
            _ => 1,
        };
        if self.idle_commands > self.limits.idle_commands {
            return self.close_with(reply::TOO_MANY_IDLE);
        }
        match command {
            Command::Ehlo => {
                self.greeted = true;
                let (starttls, auth) = match self.transport {
                    Transport::Clear { starttls, auth } => (starttls, auth),
                    Transport::Tls => (false, true),
                };
                let message_octets = self.limits.message_octets;
                let offer = Offer { message_octets, starttls, auth };
                self.forget(Reply::ehlo(&self.hostname, offer))
            }
            Command::Helo => {
                self.greeted = true;
                self.forget(Reply::helo(&self.hostname))
            }
            Command::StartTls => self.starttls(input),
            Command::Auth { mechanism, initial } => match self.may_log_in() {
                Ok(()) => self.turn(auth::begin(mechanism, initial.as_deref())),
                Err(step) => step,
            },
            Command::Mail { reverse_path, parameters, size } => {
                self.mail(reverse_path, parameters, size.unwrap_or(0))
            }
            Command::Rcpt(recipient) => {
                let reply = self.rcpt(recipient);
                self.reply(reply)
            }
            Command::Data => match self.may_send_text() {
                Ok(transaction) if transaction.body.is_some() => self.reply(reply::CHUNKS_BEGUN),
                Ok(transaction) => {
                    let size = transaction.size;
                    self.asked = Some(Asked::Data);
                    Step::Room(size)
                }
                Err(refusal) => self.reply(refusal),
            },
            Command::Bdat { octets, last } => self.bdat(octets, last, input),
            Command::Rset => self.forget(reply::OK),
            Command::Noop => self.reply(reply::OK),
            Command::Vrfy => self.reply(reply::VRFY),
            Command::Expn => self.reply(reply::EXPN),
            Command::Help => self.reply(reply::HELP),
            Command::Quit => self.close_with(reply::BYE),
        }
    }

    /// RFC 5321 §4.1.4, §4.1.1.5: EHLO, HELO and RSET end the mail that has begun; the login stays.
    fn forget<'i>(&mut self, reply: Reply) -> Step<'i> {
        let begun = self.transaction.take().is_some_and(|t| t.body.is_some());
        if begun { self.abandon(reply) } else { Step::Reply(reply) }
    }

    fn abandon<'i>(&mut self, reply: Reply) -> Step<'i> {
        self.then = Some(Then::Reply(reply));
        Step::Abandon
    }

    fn starttls<'i>(&mut self, input: &[u8]) -> Step<'i> {
        match self.transport {
            Transport::Tls => self.reply(reply::TLS_ALREADY),
            Transport::Clear { starttls: false, .. } => self.reply(reply::NO_STARTTLS),
            // RFC 3207 §5, CVE-2011-0411: what was sent in clear must not be taken for something
            // said under TLS.
            Transport::Clear { .. } if !input.is_empty() => self.close_with(reply::AFTER_STARTTLS),
            Transport::Clear { .. } => {
                self.then = Some(Then::StartTls);
                Step::Reply(reply::TLS_NOW)
            }
        }
    }

    // ---- logging in ----

    fn may_log_in<'i>(&mut self) -> Result<(), Step<'i>> {
        let refusal = match self.transport {
            _ if !self.greeted => reply::HELLO_FIRST,
            // RFC 4954 §4: not twice, and not within a mail.
            _ if self.account.is_some() => reply::LOGGED_IN_ALREADY,
            Transport::Clear { auth: false, .. } => reply::LOGIN_NEEDS_TLS,
            _ if self.failed_logins >= self.limits.login_tries => {
                return Err(self.close_with(reply::TOO_MANY_LOGINS));
            }
            _ => return Ok(()),
        };
        Err(self.reply(refusal))
    }

    fn turn<'i>(&mut self, turn: Turn) -> Step<'i> {
        match turn {
            Turn::Challenge(exchange) => {
                let challenge = Reply::challenge(exchange.challenge());
                self.phase = Phase::Exchange(exchange);
                Step::Reply(challenge)
            }
            Turn::Done(credentials) => Step::Authenticate(credentials),
            Turn::Cancelled => self.reply(reply::CANCELLED),
            Turn::Malformed => self.reply(reply::BAD_BASE64),
        }
    }

    /// The account, or what must be done first.
    fn logged_in(&self) -> Result<&Arc<Account>, Reply> {
        match (&self.account, self.transport) {
            (Some(account), _) => Ok(account),
            (None, _) if !self.greeted => Err(reply::HELLO_FIRST),
            (None, Transport::Clear { auth: false, starttls: true }) => Err(reply::STARTTLS_FIRST),
            (None, _) => Err(reply::AUTH_FIRST),
        }
    }

    // ---- the envelope ----

    fn mail<'i>(
        &mut self,
        reverse_path: Option<Address>,
        parameters: MailParameters,
        size: u64,
    ) -> Step<'i> {
        let refusal = match self.logged_in() {
            Err(refusal) => refusal,
            Ok(_) if !self.greeted => reply::HELLO_FIRST,
            Ok(_) if self.transaction.is_some() => reply::NESTED_MAIL,
            // RFC 6409 §6.1.
            Ok(account) if reverse_path.as_ref().is_some_and(|path| !account.may_send_as(path)) => {
                reply::NOT_YOUR_SENDER
            }
            // RFC 1870 §6.1.
            Ok(_) if size > self.limits.message_octets => reply::MESSAGE_TOO_LARGE,
            Ok(account) if plan::is_too_large(size, account) => {
                Reply::refused(552, [5, 3, 4], plan::TOO_LARGE_TO_SEND_ONLY)
            }
            Ok(_) => {
                let forward_paths = Vec::new();
                self.transaction = Some(Box::new(Transaction {
                    reverse_path,
                    parameters,
                    size,
                    forward_paths,
                    body: None,
                }));
                self.asked = Some(Asked::Mail);
                return Step::Room(size);
            }
        };
        self.reply(refusal)
    }

    fn rcpt(&mut self, recipient: Recipient) -> Reply {
        let domain = match self.logged_in() {
            Ok(account) => account.address.domain().to_owned(),
            Err(refusal) => return refusal,
        };
        let Some(transaction) = &mut self.transaction else { return reply::MAIL_FIRST };
        if transaction.body.is_some() {
            return reply::CHUNKS_BEGUN;
        }
        // RFC 5321 §4.5.3.1.10: the ones before stay, and the client sends the rest separately.
        if transaction.forward_paths.len() >= self.limits.recipients {
            return reply::TOO_MANY_RECIPIENTS;
        }
        let path = match recipient {
            Recipient::Path(path) => path,
            // RFC 6409 §6.2: an address without a domain is completed with the sender's.
            Recipient::Postmaster(notify) => {
                match Address::parse(&format!("postmaster@{domain}")) {
                    Ok(address) => ForwardPath { notify, ..ForwardPath::from(address) },
                    Err(_) => return Reply::problem(Problem::BadRecipient),
                }
            }
        };
        if !path.address.as_str().is_ascii() && !transaction.parameters.smtputf8 {
            return Reply::problem(Problem::NeedsSmtpUtf8);
        }
        transaction.forward_paths.push(path);
        reply::RECIPIENT_OK
    }

    // ---- the text ----

    fn may_send_text(&mut self) -> Result<&mut Transaction, Reply> {
        self.logged_in()?;
        match &mut self.transaction {
            None => Err(reply::MAIL_FIRST),
            Some(transaction) if transaction.forward_paths.is_empty() => Err(reply::NO_RECIPIENT),
            Some(transaction) => Ok(transaction),
        }
    }

    fn begin_body(&mut self, scanner: fn(usize) -> Scanner) {
        if let Some(transaction) = &mut self.transaction {
            let scanner = scanner(self.limits.line_octets);
            transaction.body = Some(Box::new(Body::new(scanner, &self.limits)));
        }
    }

    fn data_step<'i>(&mut self, input: &mut &'i [u8]) -> Step<'i> {
        let Some(body) = self.transaction.as_mut().and_then(|t| t.body.as_mut()) else {
            return self.lost();
        };
        match body.read(input, &self.limits) {
            Read::Text(text) => Step::Write(text),
            Read::Refused => Step::Abandon,
            Read::More => Step::Read,
            Read::End => self.arrived(true),
        }
    }

    fn bdat<'i>(&mut self, octets: u64, last: bool, input: &mut &'i [u8]) -> Step<'i> {
        let max = self.limits.message_octets;
        let refusal = match self.may_send_text() {
            Err(refusal) => refusal,
            Ok(transaction) => {
                let before = transaction.body.as_ref().map(|body| body.octets());
                if before.unwrap_or(0).saturating_add(octets) <= max {
                    if before.is_none() {
                        self.begin_body(Scanner::counted);
                    }
                    self.phase = Phase::Chunk { left: octets, last };
                    return self.step(input);
                }
                reply::MESSAGE_TOO_LARGE
            }
        };
        self.phase = Phase::Skip { left: octets, reply: refusal };
        let begun = self.transaction.take_if(|t| t.body.is_some()).is_some();
        if begun { Step::Abandon } else { self.step(input) }
    }

    fn chunk_step<'i>(&mut self, left: u64, last: bool, input: &mut &'i [u8]) -> Step<'i> {
        let Some(body) = self.transaction.as_mut().and_then(|t| t.body.as_mut()) else {
            return self.lost();
        };
        let mut ahead = *input;
        let mut chunk = take(&mut ahead, left);
        let octets = chunk.len();
        let read = body.read(&mut chunk, &self.limits);
        let used = octets - chunk.len();
        take(input, used as u64);
        let left = left - used as u64;
        self.phase = Phase::Chunk { left, last };
        match read {
            Read::Text(text) => Step::Write(text),
            Read::Refused => Step::Abandon,
            Read::More | Read::End if left > 0 => Step::Read,
            Read::More | Read::End if last => {
                body.finish();
                self.arrived(false)
            }
            // RFC 3030 §2: each chunk has its reply; a refused mail is refused at once.
            Read::More | Read::End if body.verdict().is_some() => self.arrived(false),
            Read::More | Read::End => {
                self.phase = Phase::Command;
                Step::Reply(reply::CHUNK_OK)
            }
        }
    }

    /// All text, or as much as matters, has been read.
    fn arrived<'i>(&mut self, dotted: bool) -> Step<'i> {
        self.phase = Phase::Command;
        self.idle_commands = 0;
        let Some(transaction) = self.transaction.take() else { return self.lost() };
        let Transaction { reverse_path, parameters, forward_paths, body, .. } = *transaction;
        let (Some(body), Some(account)) = (body, self.account.clone()) else { return self.lost() };
        if let Some(refusal) = body.verdict() {
            // The client and we may not agree where the mail ended: hear no more from it. Counted
            // octets leave no such doubt.
            let close = dotted && refusal == reply::BAD_LINE_ENDING;
            self.phase = if close { Phase::Closed } else { Phase::Command };
            return if body.is_abandoned() { Step::Reply(refusal) } else { self.abandon(refusal) };
        }
        match Envelope::new(reverse_path, forward_paths, parameters) {
            Ok(envelope) => Step::Commit(Box::new(Arrived {
                envelope,
                account,
                octets: body.octets(),
                head: body.into_head(),
            })),
            Err(_) => self.abandon(reply::NO_RECIPIENT),
        }
    }

    // ---- replies ----

    /// Gives a reply, and counts it if it tells of a mistake.
    fn reply<'i>(&mut self, reply: Reply) -> Step<'i> {
        if reply.is_error() {
            self.errors += 1;
            if self.errors >= self.limits.errors {
                return self.close_with(reply::TOO_MANY_ERRORS);
            }
        }
        Step::Reply(reply)
    }

    fn close_with<'i>(&mut self, reply: Reply) -> Step<'i> {
        self.transaction = None;
        self.phase = Phase::Closed;
        Step::Reply(reply)
    }

    /// The phase says that there is a mail, and there is none. It cannot be; if it is, nothing that
    /// the client sends can be trusted to be a command.
    fn lost<'i>(&mut self) -> Step<'i> {
        self.close_with(reply::SPOOL_UNAVAILABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountId, Profile, Standing};
    use proptest::prelude::*;
    use uuid::Uuid;

    const TLS: Transport = Transport::Tls;
    const CLEAR: Transport = Transport::Clear { starttls: true, auth: false };
    const LOGIN: &str = "EHLO c\r\nAUTH PLAIN AGFkZWxlAHNlY3JldA==\r\n";

    fn account() -> Arc<Account> {
        Arc::new(Account {
            id: AccountId(Uuid::nil()),
            address: Address::parse("adele.vance@contoso.example").unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        })
    }

    fn limits() -> Limits {
        Limits {
            message_octets: 1000,
            recipients: 3,
            errors: 5,
            idle_commands: 6,
            ..Limits::default()
        }
    }

    fn session(transport: Transport, limits: Limits) -> Session {
        Session::new(Arc::new(limits), "localhost".into(), transport)
    }

    /// Stands in for the driver: the only good login is `adele`/`secret`. Gives the reply codes and
    /// what else happened, in order.
    #[derive(Default)]
    struct Log {
        events: Vec<String>,
        spooled: Vec<u8>,
        mails: Vec<(Arrived, Vec<u8>)>,
    }

    impl Log {
        fn feed(&mut self, session: &mut Session, mut input: &[u8]) {
            loop {
                let reply = match session.step(&mut input) {
                    Step::Read => return assert!(input.is_empty(), "input was left"),
                    Step::Reply(reply) => reply,
                    Step::Authenticate(c) if (&*c.login, &**c.password) == ("adele", "secret") => {
                        session.authenticated(Login::As(account()))
                    }
                    Step::Authenticate(_) => session.authenticated(Login::Wrong),
                    Step::Room(999) => session.room(Err(reply::SPOOL_FULL)),
                    Step::Room(_) => session.room(Ok(())),
                    Step::Write(octets) => {
                        self.spooled.extend_from_slice(octets);
                        continue;
                    }
                    Step::Abandon => {
                        self.spooled.clear();
                        self.events.push("abandon".into());
                        continue;
                    }
                    Step::Commit(mail) => {
                        self.mails.push((*mail, std::mem::take(&mut self.spooled)));
                        reply::OK
                    }
                    Step::StartTls => {
                        self.events.push("tls".into());
                        session.secured();
                        continue;
                    }
                    Step::Close => return self.events.push("close".into()),
                };
                self.events.push(reply.code().to_string());
            }
        }
    }

    fn run(transport: Transport, wire: &str) -> Log {
        let mut log = Log::default();
        log.feed(&mut session(transport, limits()), wire.as_bytes());
        // However the octets are cut, the outcome is the same.
        if !wire.contains("STARTTLS") {
            let (mut session, mut cut) = (session(transport, limits()), Log::default());
            for octet in wire.as_bytes().chunks(1) {
                if cut.events.last().is_none_or(|event| event != "close") {
                    cut.feed(&mut session, octet);
                }
            }
            let quiet = |log: &Log| {
                log.events.iter().filter(|e| *e != "abandon").cloned().collect::<Vec<_>>()
            };
            assert_eq!(quiet(&cut), quiet(&log), "{wire:?}");
        }
        log
    }

    fn check(transport: Transport, wire: &str, expected: &str) {
        assert_eq!(run(transport, wire).events.join(" "), expected, "{wire:?}");
    }

    /// As `check`, after a login.
    fn logged_in(wire: &str, expected: &str) {
        check(TLS, &format!("{LOGIN}{wire}"), format!("250 235 {expected}").trim_end());
    }

    const MAIL: &str = "MAIL FROM:<adele.vance@contoso.example>\r\nRCPT TO:<b@c.example>\r\n";

    #[test]
    fn a_mail_arrives_as_it_was_written() {
        let wire = format!("{LOGIN}{MAIL}DATA\r\nSubject: a\r\n\r\n..b\r\n.\r\nQUIT\r\n");
        let log = run(TLS, &wire);
        assert_eq!(log.events.join(" "), "250 235 250 250 354 250 221 close");
        let (mail, octets) = &log.mails[0];
        assert_eq!(octets, b"Subject: a\r\n\r\n.b\r\n");
        assert_eq!((mail.head.as_slice(), mail.octets), (&b"Subject: a\r\n\r\n"[..], 18));
        assert_eq!(mail.envelope.recipients().next().unwrap().as_str(), "b@c.example");
    }

    #[test]
    fn chunks_make_one_mail() {
        let wire = format!("{LOGIN}{MAIL}BDAT 5\r\na: b\rBDAT 4\r\n\n\r\n.BDAT 0 LAST\r\nNOOP\r\n");
        let log = run(TLS, &wire);
        assert_eq!(log.events.join(" "), "250 235 250 250 250 250 250 250");
        assert_eq!(log.mails[0].1, b"a: b\r\n\r\n.");
    }

    #[test]
    fn chunks_out_of_place_are_read_and_refused() {
        logged_in("BDAT 6\r\nQUIT\r\nNOOP\r\n", "503 250");
        logged_in(
            &format!("{MAIL}BDAT 6\r\nQU\nT\r\nBDAT 1 LAST\r\nxNOOP\r\n"),
            "250 250 abandon 550 503 250",
        );
        logged_in(&format!("{MAIL}BDAT 2\r\nhiDATA\r\n"), "250 250 250 503");
        logged_in(&format!("{MAIL}BDAT 2\r\nhiRSET\r\n{MAIL}"), "250 250 250 abandon 250 250 250");
        logged_in(&format!("{MAIL}BDAT x\r\nNOOP\r\n"), "250 250 501 close");
        let large = format!("{MAIL}BDAT 2\r\nhiBDAT 999\r\n{}NOOP\r\n", "x".repeat(999));
        logged_in(&large, "250 250 250 abandon 552 250");
    }

    #[test]
    fn a_mail_with_a_bare_line_ending_is_read_to_its_end_and_then_the_session_is_over() {
        let wire = format!("{MAIL}DATA\r\na\n.\r\nMAIL FROM:<>\r\n\r\n.\r\nNOOP\r\n");
        logged_in(&wire, "250 250 354 abandon 550 close");
    }

    #[test]
    fn a_mail_over_a_limit_is_refused_and_the_next_one_taken() {
        let large = format!("{MAIL}DATA\r\n\r\n{}.\r\n", "x\r\n".repeat(400));
        let small = format!("{MAIL}DATA\r\nx: y\r\n.\r\n");
        logged_in(&format!("{large}{small}"), "250 250 354 abandon 552 250 250 354 250");
        logged_in(
            "MAIL FROM:<> SIZE=1001\r\nMAIL FROM:<> SIZE=999\r\nMAIL FROM:<>\r\n",
            "552 452 250",
        );
    }

    #[test]
    fn a_header_and_a_line_have_their_limits() {
        let limits = || Limits {
            header_octets: 100,
            header_fields: 3,
            line_octets: 50,
            idle_commands: 100,
            ..Limits::default()
        };
        let mails = [
            (format!("a: {}\r\n", "x".repeat(40)).repeat(3), "552"),
            ("a: b\r\n".repeat(4), "552"),
            (format!("\r\n{}\r\n", "x".repeat(51)), "554"),
            // A wrong line ending is what counts, whatever else is wrong.
            (format!("\r\n{}\ry\r\n", "x".repeat(51)), "550"),
        ];
        for (text, expected) in mails {
            let mut log = Log::default();
            let wire = format!("{LOGIN}{MAIL}DATA\r\n{text}.\r\n");
            log.feed(&mut session(TLS, limits()), wire.as_bytes());
            assert!(log.events.join(" ").contains(&format!("354 abandon {expected}")), "{text}");
            assert!(log.mails.is_empty());
        }
    }

    #[test]
    fn commands_out_of_order_are_refused() {
        check(TLS, "MAIL FROM:<>\r\nAUTH PLAIN\r\n", "503 503");
        check(
            TLS,
            "HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n",
            "250 530 530 530",
        );
        logged_in("RCPT TO:<b@c.example>\r\nDATA\r\n", "503 503");
        logged_in("MAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\nAUTH PLAIN\r\n", "250 503 554 503");
        logged_in("EXPN a\r\nETRN a\r\nXYZZY\r\nVRFY a\r\nHELP\r\n", "502 502 500 252 214");
    }

    #[test]
    fn the_login_survives_rset_and_a_second_mail() {
        logged_in(
            "MAIL FROM:<>\r\nRSET\r\nRSET\r\nMAIL FROM:<>\r\nEHLO c\r\nMAIL FROM:<>\r\n",
            "250 250 250 250 250 250",
        );
    }

    #[test]
    fn only_the_accounts_own_addresses_may_send() {
        logged_in(
            "MAIL FROM:<alex@contoso.example>\r\nMAIL FROM:<ADELE.vance@contoso.example>\r\n",
            "550 250",
        );
    }

    #[test]
    fn recipients_over_the_limit_are_for_another_mail() {
        let rcpt = "RCPT TO:<b@c.example>\r\n".repeat(4);
        logged_in(&format!("MAIL FROM:<>\r\n{rcpt}"), "250 250 250 250 452");
        logged_in("MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n", "250 250");
    }

    #[test]
    fn logging_in_needs_tls_and_starttls_forgets_all() {
        check(CLEAR, "EHLO c\r\nAUTH PLAIN\r\nMAIL FROM:<>\r\n", "250 538 530");
        let mut log = Log::default();
        let mut session = session(CLEAR, limits());
        log.feed(&mut session, b"EHLO c\r\nSTARTTLS\r\n");
        log.feed(&mut session, b"MAIL FROM:<>\r\nEHLO c\r\nSTARTTLS\r\n");
        assert_eq!(log.events.join(" "), "250 220 tls 503 250 503");
    }

    #[test]
    fn what_is_sent_in_clear_after_starttls_is_never_heard() {
        check(CLEAR, "EHLO c\r\nSTARTTLS\r\nNOOP\r\n", "250 503 close");
    }

    #[test]
    fn an_exchange_is_cancelled_fails_or_succeeds_and_is_not_endless() {
        let wrong = "AUTH LOGIN YWRlbGU=\r\nd3Jvbmc=\r\n";
        check(
            TLS,
            &format!("EHLO c\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN\r\n%\r\n{wrong}{LOGIN}"),
            "250 334 501 334 501 334 535 250 235",
        );
        check(
            TLS,
            &format!("EHLO c\r\n{}", wrong.repeat(4)),
            "250 334 535 334 535 334 535 421 close",
        );
        check(
            TLS,
            "HELO c\r\nAUTH LOGIN\r\nYWRlbGU=\r\nc2VjcmV0\r\nAUTH PLAIN\r\n",
            "250 334 334 235 503",
        );
    }

    #[test]
    fn lines_end_in_crlf_and_are_not_endless() {
        check(TLS, "EHLO c\nNO\rOP\r\nNOOP\r\nNO\0OP\r\n\r\n", "500 500 250 500 500");
        check(TLS, &format!("NOOP {}\r\nNOOP\r\n", "x".repeat(2041)), "250 250");
        check(TLS, &format!("NOOP {}\r\nNOOP\r\n", "x".repeat(2042)), "500 250");
        check(TLS, &format!("EHLO c\r\nAUTH PLAIN {}\r\n", "x".repeat(12_275)), "250 501");
        check(TLS, &format!("EHLO c\r\nAUTH PLAIN {}\r\n", "x".repeat(12_276)), "250 500");
        check(TLS, &"x".repeat(70_000), "500 close");
    }

    #[test]
    fn errors_and_idle_commands_are_counted() {
        check(TLS, &"XYZZY\r\n".repeat(9), "500 500 500 500 421 close");
        check(TLS, &"NOOP\r\n".repeat(9), "250 250 250 250 250 250 421 close");
    }

    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> = vec![
            b"EHLO c\r\n",
            b"AUTH PLAIN AGFkZWxlAHNlY3JldA==\r\n",
            b"AUTH LOGIN\r\n",
            b"*\r\n",
            b"MAIL FROM:<adele.vance@contoso.example> SIZE=5\r\n",
            b"MAIL FROM:<",
            b"RCPT TO:",
            b"RCPT TO:<b@c.example> NOTIFY=NEVER\r\n",
            b"DATA\r\n",
            b"BDAT 7\r\n",
            b"BDAT 3 LAST\r\n",
            b"\r\n.\r\n",
            b"\r",
            b"\n",
            b".",
            b"\0",
            b"RSET\r\n",
            b"STARTTLS\r\n",
            b"x: y\r\n",
            b"BY=9;R",
            b"HOLDUNTIL=2026-",
            b"@a:",
            b"[IPv6:",
            b"+F",
            b"\xff",
        ];
        prop_oneof![
            8 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..50),
            1 => (1usize..3000).prop_map(|n| vec![b'a'; n]),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_within_the_caps(
            reads in prop::collection::vec(fragment(), 0..60), tls in any::<bool>()
        ) {
            let transport = if tls { TLS } else { CLEAR };
            let limits = Limits { header_octets: 500, errors: 1000, idle_commands: 1000, ..limits() };
            let (mut session, mut log) = (session(transport, limits), Log::default());
            for read in reads {
                log.feed(&mut session, &read);
                prop_assert!(session.line.capacity() <= 2 * 12_288);
                prop_assert!(log.spooled.len() <= 1000);
                if let Some(body) = session.transaction.as_ref().and_then(|t| t.body.as_ref()) {
                    prop_assert!(body.octets() <= 4000);
                }
                if log.events.last().is_some_and(|event| event == "close") { break }
            }
            for (_, octets) in &log.mails {
                let text = String::from_utf8_lossy(octets).replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n', '\0']));
            }
        }
    }
}
