//! One connection: carries octets between a socket and a [`Session`], asks the store what the
//! session asks, and keeps the time limits.
//!
//! Nothing here must decide what SMTP is. An idle connection holds no buffers: it is read by way of
//! the stack, so that a thousand of them cost little.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::auth::Credentials;
use super::reply::{self, Reply};
use super::server::Shared;
use super::session::Session;
use super::step::{Arrived, Login, Stage, Step, Transport};
use super::stream::{Prompt, Stream};
use crate::account::Account;
use crate::login;
use crate::mime::{self, Refusal, calendar, content};
use crate::plan;
use crate::store::spool::{EntryId, Incoming, Receipt, State};
use crate::store::verdict::{Listening, Verdict};

/// Octets read at once: of commands, by way of the stack; of a mail's text, into a buffer.
const COMMAND_READ_OCTETS: usize = 4096;
const DATA_READ_OCTETS: usize = 32 * 1024;
/// Replies are written out together (RFC 2920 §3.2), but not more than this is held back.
const OUTPUT_OCTETS_MAX: usize = 8 * 1024;
/// A closed connection is read on this long and this much, so that the reset for what the client
/// still sends does not overtake the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS_MAX: usize = 1024 * 1024;
/// What a client that waits for a reply may send ahead of it.
const AHEAD_OCTETS_MAX: usize = 64 * 1024;

pub struct Connection {
    shared: Arc<Shared>,
    stop: CancellationToken,
    stream: Stream,
    session: Session,
    peer: IpAddr,
    started: Instant,
    /// Since when the client has been expected to say something.
    turn: Instant,
    data: Option<DataClock>,
    input: Vec<u8>,
    output: Vec<u8>,
    spooling: Spooling,
}

/// The time that a mail's text has taken.
struct DataClock {
    started: Instant,
    octets: u64,
}

/// What became of the octets of the mail that is arriving.
enum Spooling {
    Nothing,
    Into(Box<Incoming>),
    /// They could not be kept; this is the reply at the end.
    Failed(Reply),
}

/// Why a connection is over; what is due has been written.
enum Over {
    Closed,
    Lost(io::Error),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Over {
        Over::Lost(error)
    }
}

impl Connection {
    /// `implicit` TLS begins with the handshake; `clear_auth` lets AUTH be used without any.
    pub async fn run(
        shared: Arc<Shared>,
        stop: CancellationToken,
        stream: TcpStream,
        peer: IpAddr,
        implicit: bool,
        clear_auth: bool,
    ) {
        let transport = Transport::Clear { starttls: true, auth: clear_auth };
        let session = Session::new(shared.limits(), shared.hostname(), transport);
        let now = Instant::now();
        let mut connection = Connection {
            shared,
            stop,
            stream: Stream::Clear(Prompt::new(stream)),
            session,
            peer,
            started: now,
            turn: now,
            data: None,
            input: Vec::new(),
            output: Vec::new(),
            spooling: Spooling::Nothing,
        };
        if let Err(Over::Lost(error)) = connection.converse(implicit).await {
            tracing::debug!(peer = %connection.peer, %error, "connection lost");
        }
    }

    async fn converse(&mut self, implicit: bool) -> Result<(), Over> {
        if implicit {
            self.secure().await?;
        }
        self.say(self.session.greeting());
        loop {
            self.flush().await?;
            // What came while a reply was held back is here already.
            if self.input.is_empty() {
                self.read().await?;
            }
            self.advance().await?;
        }
    }

    /// Takes all steps that the input allows.
    async fn advance(&mut self) -> Result<(), Over> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        loop {
            match self.session.step(&mut rest) {
                Step::Read => break,
                Step::Reply(reply) => self.say(reply),
                Step::Authenticate(credentials) => {
                    let login = self.log_in(credentials).await?;
                    let reply = self.session.authenticated(login);
                    self.say(reply);
                }
                Step::Room(octets) => {
                    let room = self.shared.store().room(octets);
                    let room = room.map_err(|error| {
                        tracing::warn!(%error, "no mail is taken");
                        Reply::not_kept(&error)
                    });
                    let reply = self.session.room(room);
                    self.say(reply);
                }
                Step::Write(octets) => self.keep(octets).await,
                Step::Abandon => self.spooling = Spooling::Nothing,
                Step::Commit(mail) => self.settle(*mail).await?,
                Step::StartTls => {
                    self.flush().await?;
                    self.spooling = Spooling::Nothing;
                    self.secure().await?;
                }
                Step::Close => return Err(self.close().await),
            }
            if self.output.len() > OUTPUT_OCTETS_MAX {
                self.flush().await?;
            }
        }
        // The buffer serves again for the next octets of a mail, and only for these.
        if self.session.stage() == Stage::Data && self.input.is_empty() {
            self.input = input;
            self.input.clear();
        }
        Ok(())
    }

    // ---- what the session asks ----

    async fn log_in(&mut self, credentials: Credentials) -> Result<Login, Over> {
        let Credentials { login, password } = credentials;
        Ok(match self.shared.logins().check(&login, &password, self.peer).await {
            login::Login::As(account) => Login::As(account),
            login::Login::Wrong { delay } => {
                self.flush().await?;
                sleep(delay).await;
                Login::Wrong
            }
            login::Login::Later => Login::Later,
            login::Login::Unavailable => Login::Unavailable,
        })
    }

    /// Hands the next octets of the mail to the store. The client hears of a failure at the end:
    /// no reply can be given before.
    async fn keep(&mut self, octets: &[u8]) {
        if let (Spooling::Nothing, Some(account)) = (&self.spooling, self.session.account()) {
            self.spooling = Spooling::Into(Box::new(self.shared.store().begin(account)));
        }
        if let Spooling::Into(incoming) = &mut self.spooling
            && let Err(error) = incoming.write(octets).await
        {
            tracing::error!(%error, "a mail could not be kept");
            self.spooling = Spooling::Failed(Reply::not_kept(&error));
        }
    }

    /// The mail has arrived: it is judged, made durable, and answered for.
    async fn settle(&mut self, mail: Arrived) -> Result<(), Over> {
        let account = mail.account.id;
        let (receipt, listening) = match self.keep_all(mail).await {
            Ok(kept) => kept,
            Err(refusal) => {
                self.say(refusal);
                return Ok(());
            }
        };
        match self.verdict(&receipt, listening).await? {
            Verdict::Queued => self.say(Reply::queued(&receipt)),
            Verdict::Sent => self.say(Reply::sent(&receipt)),
            Verdict::Refused { status, why, report } => {
                self.say(Reply::undeliverable(status, &why));
                let told = self.flush().await;
                if let (Err(_), Some(report)) = (&told, report)
                    && let Err(error) =
                        self.shared.store().spool_report(receipt.id(), account, report).await
                {
                    tracing::error!(entry = %receipt.id(), %error, "a report could not be spooled");
                }
                told?;
            }
        }
        Ok(())
    }

    /// What is to be said of a mail that was kept.
    async fn verdict(
        &mut self,
        receipt: &Receipt,
        listening: Option<Listening>,
    ) -> Result<Verdict, Over> {
        let listening = match receipt.is_repeat() && !self.shared.wait().is_zero() {
            false => listening,
            // The mail that it repeats may be decided already. Asked for before we look.
            true => {
                let listening = self.listen(receipt.id());
                match self.shared.store().entry(receipt.id()).await {
                    Ok(Some(entry)) if entry.state == State::Sent => return Ok(Verdict::Sent),
                    Ok(Some(entry)) if !matches!(entry.state, State::Failed | State::Held) => {
                        listening
                    }
                    _ => None,
                }
            }
        };
        match listening {
            Some(listening) => self.hear(listening).await,
            None => Ok(Verdict::Queued),
        }
    }

    /// Waits for what becomes of a mail, until its time is over, the client has said its last, or the
    /// daemon stops. What the client sends ahead is kept.
    async fn hear(&mut self, mut listening: Listening) -> Result<Verdict, Over> {
        self.flush().await?;
        let deadline = Instant::now() + self.shared.wait();
        loop {
            let may_read = self.input.len() < AHEAD_OCTETS_MAX;
            tokio::select! {
                biased;
                verdict = listening.verdict() => return Ok(verdict),
                () = self.stop.cancelled() => return Ok(listening.end().await),
                () = sleep_until(deadline) => return Ok(listening.end().await),
                read = fill(&mut self.stream, &mut self.input, Stage::Command), if may_read => {
                    // It may have closed its half only, and be there for a reply.
                    if read? == 0 {
                        return Ok(listening.end().await);
                    }
                }
            }
        }
    }

    /// Judges a mail and makes it durable; what is to be waited for, or the refusal.
    async fn keep_all(&mut self, mail: Arrived) -> Result<(Receipt, Option<Listening>), Reply> {
        let Arrived { envelope, account, head, octets } = mail;
        let mut incoming = match std::mem::replace(&mut self.spooling, Spooling::Nothing) {
            Spooling::Failed(refusal) => return Err(refusal),
            Spooling::Into(incoming) => incoming,
            Spooling::Nothing => Box::new(self.shared.store().begin(&account)),
        };
        let edits = match mime::inspect(&head, &envelope, &account) {
            Ok(edits) => edits,
            Err(refusal) => {
                tracing::info!(account = %account.id, code = refusal.code, "mail refused");
                return Err(Reply::refused(refusal.code, refusal.enhanced, &refusal.text));
            }
        };
        if let Err(refusal) = check_size(octets, &head, &account) {
            tracing::info!(account = %account.id, code = refusal.code, octets, "mail refused");
            return Err(Reply::refused(refusal.code, refusal.enhanced, &refusal.text));
        }
        let series = match incoming.octets().await {
            Ok(octets) => series(octets).await,
            Err(error) => {
                tracing::error!(%error, "a mail could not be kept");
                return Err(Reply::not_kept(&error));
            }
        };
        // Asked for before the commit: the worker may be quick.
        let listening = self.listen(incoming.id());
        match incoming.commit(&envelope, edits.is_named(), series).await {
            Ok(receipt) => {
                tracing::info!(
                    entry = %receipt.id(),
                    account = %account.id,
                    octets,
                    recipients = envelope.forward_paths().len(),
                    repeat = receipt.is_repeat(),
                    "mail accepted"
                );
                Ok((receipt, listening))
            }
            Err(error) => {
                tracing::error!(%error, "a mail could not be kept");
                Err(Reply::not_kept(&error))
            }
        }
    }

    /// A place to wait for an entry, where waiting is configured.
    fn listen(&self, id: EntryId) -> Option<Listening> {
        if self.shared.wait().is_zero() {
            return None;
        }
        self.shared.store().listen(id)
    }

    // ---- the socket ----

    fn say(&mut self, reply: Reply) {
        reply.write_to(&mut self.output);
        if !self.session.in_transaction() {
            self.data = None;
        }
    }

    /// Makes the TLS handshake. It counts into the time a stranger has.
    async fn secure(&mut self) -> Result<(), Over> {
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Over::Closed);
        };
        let seconds = Duration::from_secs(self.shared.limits().pre_auth_seconds);
        let handshake = Box::pin(self.shared.acceptor().accept(stream));
        let stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Over::Closed),
            made = timeout(seconds, handshake) => made.map_err(io::Error::from)??,
        };
        self.stream = Stream::Tls(Box::new(stream));
        self.session.secured();
        Ok(())
    }

    /// Waits for more input, until the client's time is up or the daemon stops.
    async fn read(&mut self) -> Result<(), Over> {
        let stage = self.session.stage();
        let (deadline, late) = self.deadline(stage);
        // A mail that is on its way is waited for, whatever happens.
        let stoppable = !self.session.in_transaction();
        let read = tokio::select! {
            biased;
            () = self.stop.cancelled(), if stoppable => None,
            read = timeout_at(deadline, fill(&mut self.stream, &mut self.input, stage)) => Some(read),
        };
        match read {
            Some(Ok(Ok(0))) => Err(Over::Closed),
            Some(Ok(Ok(octets))) => {
                if let Some(data) = &mut self.data {
                    data.octets = data.octets.saturating_add(octets as u64);
                }
                Ok(())
            }
            Some(Ok(Err(error))) => Err(Over::Lost(error)),
            Some(Err(_)) => {
                self.say(late);
                Err(self.close().await)
            }
            None => {
                self.say(reply::STOPPING);
                Err(self.close().await)
            }
        }
    }

    /// Until when the client may take, and the reply to one that takes longer. Every phase has a
    /// limit as a whole: an octet now and then buys no time.
    fn deadline(&mut self, stage: Stage) -> (Instant, Reply) {
        let limits = self.shared.limits();
        let pre_auth = self.started + Duration::from_secs(limits.pre_auth_seconds);
        let command = Duration::from_secs(limits.command_seconds);
        match stage {
            Stage::Stranger => (pre_auth.min(self.turn + command), reply::TIME_OUT),
            Stage::Command => (self.turn + command, reply::TIME_OUT),
            Stage::Data => {
                let now = Instant::now();
                let data = self.data.get_or_insert(DataClock { started: now, octets: 0 });
                let deadline = data.started + limits.data_time(data.octets);
                (deadline.min(now + command), reply::TOO_SLOW)
            }
        }
    }

    /// Writes out what is due, in one go.
    async fn flush(&mut self) -> Result<(), Over> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let seconds = Duration::from_secs(self.shared.limits().command_seconds);
        let written = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        timeout(seconds, written).await.map_err(io::Error::from)??;
        self.turn = Instant::now();
        Ok(())
    }

    /// Writes out what is due and ends the connection.
    async fn close(&mut self) -> Over {
        self.spooling = Spooling::Nothing;
        if let Err(over) = self.flush().await {
            return over;
        }
        let linger = async {
            self.stream.shutdown().await?;
            let mut octets = 0;
            while octets < LINGER_OCTETS_MAX {
                self.input.clear();
                match fill(&mut self.stream, &mut self.input, Stage::Command).await? {
                    0 => break,
                    read => octets += read,
                }
            }
            io::Result::Ok(())
        };
        match timeout(LINGER, linger).await {
            Ok(Err(error)) => Over::Lost(error),
            Ok(Ok(())) | Err(_) => Over::Closed,
        }
    }
}

/// What can be foreseen of a mail that will not go as it is, from its header alone: its author hears of
/// it now, and not from a report.
fn check_size(octets: u64, head: &[u8], account: &Account) -> Result<(), Refusal> {
    if plan::is_too_large(octets, account) {
        return plan::of_large_mail(account).map(drop);
    }
    if plan::is_large(octets) { content::check_head(head) } else { Ok(()) }
}

/// The UID of the invite in a mail, if there is one. Off the reactor, and only for a mail that speaks
/// of a calendar at all.
async fn series(octets: Option<Cow<'_, [u8]>>) -> Option<String> {
    let octets = octets.filter(|octets| calendar::may_hold_one(octets))?.into_owned();
    tokio::task::spawn_blocking(move || match calendar::find(&octets) {
        calendar::Found::Invite(invite) => Some(invite.message.event.uid),
        _ => None,
    })
    .await
    .unwrap_or_default()
}

/// Reads into `input`, which is given memory only when octets have come. 0: the client has closed.
async fn fill(stream: &mut Stream, input: &mut Vec<u8>, stage: Stage) -> io::Result<usize> {
    if stage == Stage::Data {
        input.reserve(DATA_READ_OCTETS);
        return stream.read_buf(input).await;
    }
    poll_fn(|context| {
        let mut octets = [0; COMMAND_READ_OCTETS];
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                input.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
