//! postbridge: SMTP submission, mailed invites and CalDAV in, Microsoft Graph out, with the user's own
//! consent.
//!
//! This is the map for those who change it; the README is for those who run it.
//!
//! # The idea
//!
//! One folder for each party outside the process (`smtp`, `caldav`, `page`, `graph`, `entra`, `store`), flat files
//! between them for our own notions. The flat files in the middle are pure: they turn a mail or an object,
//! and what we know, into a [`plan::Plan`]. A plan is a list of actions, each one Graph call; one executor
//! carries them out, one worker retries. Whatever a client hands in goes through one door: it is
//! committed to the spool, and only then acknowledged.
//!
//! # Direction
//!
//! ```text
//!  main → cli → app                                        wiring
//!                                     page
//!                                      ▼
//!    smtp/server   caldav/server   control   worker ─► report_command   who waits for the outside
//!         │  └─► listen ◄─┘ │         │        │
//!         ├─────► login ◄───┤         ▼        │
//!         │         │       │       access ◄── execute ───► graph      where the parts meet
//!         │         ▼       │         │  └────────► entra
//!         └──────► store ◄──┴─────────┴────────┘
//!
//!      account  submission  mime  ical  itip  recurrence  invite
//!      plan  doubt  report  retry  secret  finding                          pure
//!
//!      page has listen as well, and link: how one comes to it
//!      control has execute as well, for questions that somebody asks of a mailbox
//!      clock: the time, handed in: store and graph name it, and whoever has the store asks it
//!      sandbox: a stand-in for Microsoft 365, and knows none of the above
//! ```
//!
//! Arrows point down. Pure files name only pure files: no socket, file, SQL, HTTP, clock or chance;
//! time and randomness are arguments. `tests/house.rs` reads the `use` lines and holds this table.
//!
//! | place | is | must never |
//! |---|---|---|
//! | [`smtp`] | the submission session and its sockets | hear of Graph |
//! | [`caldav`] | a calendar client's requests and our answers, and their sockets | hear of Graph |
//! | [`listen`] | listening sockets, and how many connections | know a protocol |
//! | [`login`] | local passwords, and how often one may be wrong | log or keep one |
//! | [`tls`] | the key pair that clients see | suggest that it need not be checked |
//! | [`store`] | the spool and the accounts, on disk; the only SQL | know a protocol |
//! | [`graph`] | Graph's calls and what its answers mean; the only Graph JSON | retry, or know who asked |
//! | [`entra`] | sign-in, tokens, what Entra's errors mean | know where tokens are kept |
//! | [`access`] | an account's way to a token: sign-in, renewal, standing | send anything |
//! | [`execute`] | carries out a plan, with a record before what cannot be undone | retry |
//! | [`worker`] | claims, settles, retries | call Graph |
//! | [`watch`] | looks at what happened to our events in Outlook | change one |
//! | [`page`] | the status page, metrics and health, and what strangers are told there | decide what a request does |
//! | [`link`] | one-time links to the page | keep one that was taken |
//! | [`report_command`] | gives a copy of each report to a local command | hold up a mail |
//! | [`probe`] | whether an account works; a mail and an event to itself, through the spool | read a mail or an appointment |
//! | [`control`] | the operator's requests, by socket or by hand | log one |
//! | [`pulse`] | whether writer and worker go on | be fed by a timer |
//! | [`clock`] | the time, which a test may move ahead | be passed over, but for sockets and tokens |
//! | [`sandbox`] | Microsoft 365 as far as it is known | name a file outside itself |
//!
//! # Invariants
//!
//! 1. Pure files do nothing but compute.
//! 2. A 250 after DATA, or a 2xx after PUT and DELETE, exists only with a [`store::spool::Receipt`].
//! 3. Only `graph/` knows Graph's JSON, only `store/` knows SQL.
//! 4. Plans are made afresh for each attempt and never stored.
//! 5. An attempt is written down before it is made, with the next one already in the future.
//! 6. A send that was begun and not recorded is looked for before anything else is done ([`doubt`]); one
//!    that stays in doubt is held and shown, never repeated by machine.
//! 7. The envelope is the delivery set: Graph mails exactly the addresses of RCPT TO, or the
//!    submission is refused.
//! 8. An invite becomes the event *or* the mail, never both: no attendee gets two invitations.
//! 9. The bridge reads no mail and no calendar entry that it did not create.
//! 10. Retrying happens in `worker.rs` and nowhere else (`execute.rs` may renew a token once).
//! 11. What was begun does not stop because the client hung up: it runs in its own task.
//! 12. No secret and no message content in any log line; no internal detail in any reply.
//! 13. We do not have: a plugin registry, an event bus, a global, a service locator, a mock of our own
//!     code.
//!
//! # A mail's walk
//!
//! [`smtp`] reads octets; `Session` turns them into steps. MAIL and RCPT build the
//! [`submission::Envelope`]; a sender that the account may not use is a 550. DATA opens an
//! [`store::spool::Incoming`]; at its end [`mime::inspect`] says whether Graph can be given this mail,
//! and `commit` makes the `Receipt` that the 250 is built from.
//!
//! [`worker`] claims the entry (attempt and next attempt already written) and gives it, with a slot of
//! the mailbox's [`graph::pace`], to [`execute`]: [`plan::of_mail`] composes what Graph gets,
//! [`access`] gives a token, a draft is made and tagged, *sending* is written down, and the draft is sent;
//! an account that may only send has no draft. A mail that no request holds is not composed: it is taken
//! apart where it lies ([`mime::outline`], [`mime::decompose`]), and its files are brought to the draft one
//! by one. Before each request the pace is asked, which counts what Microsoft counts; nothing waits within
//! an attempt. The answer has one meaning ([`graph::Failure`]); [`retry`] says when to come back, [`report`] words what the sender is to
//! hear, and outcome and report are written down in one commit. A client whose reply is held back until
//! then is told by that instead ([`store::verdict`]).
//!
//! # An invite's walk
//!
//! The same, until [`execute`] finds a calendar part in the mail ([`mime::calendar`]). [`ical`] reads it,
//! [`graph::convert`] puts it in Graph's terms, [`invite::decide`] compares it with what is remembered of
//! its UID and changes the *goal*: what the event shall be. Goal and decision are written down together.
//! Mostly an invite is one event; occurrences that a series in Exchange cannot have are events of their
//! own ([`invite::Part`]). Then [`plan::of_event`] names the next call that brings the mailbox nearer to the goal, and `execute`
//! makes it, with a record before and after, until none is left. A call that was begun and not
//! recorded is looked up before it is made again. Recipients whom the event does not reach get the
//! mail. Mails of one UID are claimed in the order they came.
//!
//! # A calendar object's walk
//!
//! [`caldav`] asks first whether the request is meant for us and who makes it (`site`); what is another
//! account's is not there. A PUT is read and held to more than a mailed invite ([`caldav::object`]); its
//! preconditions are looked at in the commit that puts the object in place *and* spools the change
//! ([`store::calendar`]), so a 201 is built from a `Receipt` like a 250. Then the request waits a while for
//! what becomes of it ([`store::verdict`]). [`execute`] decides it as what it is, the whole of the invite
//! ([`invite::whole`]), and goes the same way as for a mail from there. Refused for good: the store has
//! taken it back in the commit that says so, and the client gets the reason; later, its author gets a
//! report. Reads are answered from our own record, so they are fast, work without Microsoft, and give back
//! the very octets that were PUT. Invites by mail are put into the same record in the commit that decides
//! them, and [`watch`] puts in what became of either in Outlook, unless a client changes it at that moment.
//! Where a client has changed it behind the mail, what the mail makes of it is what that change took the
//! place of. A calendar that a client makes is made at once, in the record alone ([`store::calendars`]);
//! `execute` finds or makes the one in the mailbox when its first event is created.

pub mod access;
pub mod account;
pub mod app;
pub mod caldav;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod doubt;
pub mod entra;
pub mod execute;
pub mod finding;
pub mod graph;
pub mod ical;
pub mod invite;
pub mod itip;
pub mod link;
pub mod listen;
pub mod login;
pub mod mime;
pub mod page;
pub mod plan;
pub mod probe;
pub mod pulse;
pub mod recurrence;
pub mod report;
pub mod report_command;
pub mod retry;
pub mod sandbox;
pub mod secret;
pub mod smtp;
pub mod store;
pub mod submission;
pub mod tls;
pub mod watch;
pub mod worker;
