//! What the sandbox knows: a tenant, its users, and the switches for what nobody is sure of.

use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calendar::Calendars;
use super::clock::Clock;
use super::faults::Faults;
use super::identity::Identity;
use super::journal::Journal;
use super::ledger::Ledger;
use super::mailbox::Mail;
use super::throttle::Throttle;
use super::upload::Uploads;

/// A work account with a mailbox.
#[derive(Debug, Clone, Serialize)]
pub struct User {
    /// Entra's object id; also the `id` of Graph's user resource.
    pub object_id: Uuid,
    /// userPrincipalName and mail.
    pub address: String,
    pub display_name: String,
    /// Further addresses of the mailbox (`proxyAddresses` with `smtp:`).
    pub aliases: Vec<String>,
    /// Other mailboxes this user has Send As on.
    pub send_as: Vec<String>,
}

/// One switch for each fact about Microsoft 365 that public material does not settle.
///
/// The default is the reading best supported; `POST /_sandbox/switches` takes any subset.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// An oversize MIME body answers 413, or (reported once) 200 with nothing sent.
    pub oversize_mime: OversizeMime,
    /// Largest raw MIME taken, in octets. Documented: a 4 MB request body; reported: 2240 KB raw.
    pub mime_octets_max: usize,
    /// Custom `X-` headers are lost in a mailbox that never used the name (reported).
    pub lose_x_headers: bool,
    /// The Message-ID of a MIME submission is kept on the wire.
    pub keep_message_id: bool,
    /// A 202 may carry a Retry-After (reported); retrying then duplicates.
    pub retry_after_on_202: bool,
    /// Each use of a refresh token returns a new one and leaves the old one valid (documented for
    /// Entra); `false` revokes the old one at once, as strict servers do.
    pub old_refresh_token_stays_valid: bool,
    /// Seconds between two polls of a device sign-in (Entra: 5); faster ones hear `slow_down`.
    pub device_code_interval_seconds: u16,
    /// `expires_in` is a number, or (reported) a string.
    pub expires_in_as_string: bool,
    /// The 4 requests in flight are counted by mailbox, or by application whatever the mailbox.
    pub concurrency_by: ConcurrencyBy,
    /// Retry-After of throttling answers: whole seconds, a fraction, or none.
    pub throttle_retry_after: ThrottleRetryAfter,
    /// A second create with a used transactionId answers 400 or 409 (both reported).
    pub duplicate_transaction: DuplicateTransactionStatus,
    /// Its error names the event that is there (reported).
    pub duplicate_transaction_names_event: bool,
    /// A create that repeats transactionId and body answers 201 with the event that is there.
    pub replay_same_transaction: bool,
    /// A transactionId stays used when its event is deleted.
    pub transaction_taken_after_deletion: bool,
    /// A recurrence whose `range` comes before its `pattern` is refused (reported).
    pub pattern_before_range: bool,
    /// An update that changes nothing mails everybody all the same.
    pub no_op_update_mails: bool,
    /// `cancel` of an event without attendees answers 400; otherwise 202.
    pub cancel_without_attendees_refused: bool,
    /// What the 31st is in a month without one (Exchange is said to take the last day).
    pub short_months: ShortMonths,
    /// An attendee's copy of a cancelled meeting stays, as `isCancelled`, or goes.
    pub cancelled_copy_stays: bool,
    /// A change of a series' time or recurrence keeps its exceptions and cancelled dates, where the
    /// date is still one of the series; otherwise it drops them all (said of Exchange, not documented).
    pub series_change_keeps_exceptions: bool,
    /// An occurrence that becomes an exception has another id from then on, and the one before names
    /// nothing (not documented either way; otherwise it keeps its id).
    pub exception_gets_another_id: bool,
    /// A second `/send` of a draft that was sent, whether or not it still lies in Drafts
    /// (undocumented).
    pub second_send: SecondSend,
    /// The immutable id of a draft names the copy in Sent Items (documented both ways).
    pub immutable_id_survives_send: bool,
    /// Extended properties of a draft are on the copy in Sent Items as well.
    pub extended_properties_survive_send: bool,
    /// How long after its 202 a draft still lies in Drafts, by the sandbox's clock. Documented: not at
    /// once; how long is not.
    pub sent_items_delay_ms: u32,
    /// `isDraft` of a draft that was sent and still lies in Drafts.
    pub submitted_is_draft: bool,
    /// What `Integer 0x0E07` says of a draft that was sent and still lies in Drafts.
    pub message_flags: MessageFlags,
    /// `POST …/mailFolders/{id}/messages` takes MIME, too (reported: it does not).
    pub mime_in_folder: bool,
    /// What a PATCH of the properties of a MIME draft does; extended properties can be set in any
    /// case. Documented: MIME properties cannot be edited one by one.
    pub mime_draft_patch: MimeDraftPatch,
    /// A MIME draft takes further attachments, and is serialised anew from its properties then.
    pub mime_draft_takes_attachments: bool,
    /// Largest mail with its attachments, in octets before encoding. Documented: 35 MB, up to
    /// 150 MB if the tenant's administrator says so.
    pub message_octets_max: usize,
    /// Requests that an application may make at a mailbox in 10 minutes. Documented: 10,000.
    pub requests_max: usize,
    /// Octets of PATCH, POST and PUT that an application may send to a mailbox in 5 minutes.
    /// Documented: 150 MB.
    pub uploaded_octets_max: usize,
    /// How long an upload session lives, by the sandbox's clock; pieces do not prolong it. Documented
    /// only as a time in the answer.
    pub upload_session_seconds: u32,
    /// How the answer to a piece of an upload is spelt: three are documented or reported.
    pub upload_progress: UploadProgress,
    /// All pieces of an upload but the last are multiples of this many octets. OneDrive asks for
    /// 327680; nothing says that Exchange does.
    pub upload_multiple_octets: u32,
    /// What a piece of an upload with an Authorization field is answered. Documented: send none.
    pub upload_with_authorization: UploadWithAuthorization,
    /// `GET` of an upload's URL says what is expected next (documented for OneDrive); otherwise 405.
    pub upload_readable: bool,
    /// A piece of an upload that does not begin where the last one ended answers 416, or 400.
    pub upload_out_of_order_is_416: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateTransactionStatus {
    Status400,
    Status409,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ShortMonths {
    LastDay,
    Skip,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OversizeMime {
    Status413,
    Status200NothingSent,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ConcurrencyBy {
    Mailbox,
    Application,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleRetryAfter {
    Seconds,
    Fraction,
    Absent,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SecondSend {
    /// 404 `ErrorItemNotFound`.
    NotFound,
    /// 400 `ErrorInvalidRequest`.
    Refused,
    /// 202, and no second mail.
    Ignored,
    /// 202, and a second mail.
    SendsAgain,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MessageFlags {
    /// Submitted, and no longer unsent (MS-OXCMSG §2.2.1.6).
    Flip,
    /// Unsent until it lies in Sent Items.
    Stay,
    /// The property cannot be read at all.
    Hidden,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MimeDraftPatch {
    /// 400.
    Refused,
    /// Recipients and subject are changed in the header of the MIME, and no other octet of it.
    KeepsMime,
    /// The MIME is gone: the mail is serialised from the draft's properties.
    Reserialised,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UploadProgress {
    /// `ExpirationDateTime`, `nextExpectedRanges: ["2097152"]`.
    Documented,
    /// `expirationDateTime`, `nextExpectedRanges: ["2097152-"]`.
    CamelCase,
    /// `ExpirationDateTime`, `NextExpectedRanges: ["2097152"]`.
    PascalCase,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UploadWithAuthorization {
    Status401,
    Status400,
    Taken,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            oversize_mime: OversizeMime::Status413,
            mime_octets_max: 2240 * 1024,
            lose_x_headers: false,
            keep_message_id: true,
            retry_after_on_202: false,
            old_refresh_token_stays_valid: true,
            device_code_interval_seconds: 5,
            expires_in_as_string: false,
            concurrency_by: ConcurrencyBy::Mailbox,
            throttle_retry_after: ThrottleRetryAfter::Seconds,
            duplicate_transaction: DuplicateTransactionStatus::Status400,
            duplicate_transaction_names_event: true,
            replay_same_transaction: true,
            transaction_taken_after_deletion: true,
            pattern_before_range: true,
            no_op_update_mails: true,
            cancel_without_attendees_refused: true,
            short_months: ShortMonths::LastDay,
            cancelled_copy_stays: true,
            series_change_keeps_exceptions: false,
            exception_gets_another_id: false,
            second_send: SecondSend::NotFound,
            immutable_id_survives_send: true,
            extended_properties_survive_send: true,
            sent_items_delay_ms: 2_000,
            submitted_is_draft: true,
            message_flags: MessageFlags::Flip,
            mime_in_folder: false,
            mime_draft_patch: MimeDraftPatch::Refused,
            mime_draft_takes_attachments: false,
            message_octets_max: 35 * 1024 * 1024,
            requests_max: 10_000,
            uploaded_octets_max: 150 * 1024 * 1024,
            upload_session_seconds: 3_600,
            upload_progress: UploadProgress::Documented,
            upload_multiple_octets: 1,
            upload_with_authorization: UploadWithAuthorization::Status401,
            upload_readable: true,
            upload_out_of_order_is_416: true,
        }
    }
}

/// The tenant, and all that happens in it. Users are fixed at start.
#[derive(Debug)]
pub struct World {
    pub tenant_id: Uuid,
    pub users: Vec<User>,
    pub clock: Clock,
    pub identity: Identity,
    pub faults: Faults,
    pub journal: Journal,
    pub throttle: Throttle,
    pub mail: Mail,
    pub calendar: Calendars,
    pub uploads: Uploads,
    pub ledger: Ledger,
    switches: Mutex<Switches>,
}

impl World {
    /// `seed` makes the ids the same in every run.
    pub fn new(addresses: &[String], seed: u64) -> World {
        World::with_sign_in(addresses, seed, false)
    }

    /// With `automatic`, authorize signs in by itself: `login_hint`, or the first mailbox.
    pub fn with_sign_in(addresses: &[String], seed: u64, automatic: bool) -> World {
        let id = |what: &str| {
            Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("sandbox:{seed}:{what}").as_bytes())
        };
        let users = addresses
            .iter()
            .map(|address| User {
                object_id: id(address),
                address: address.clone(),
                display_name: display_name(address),
                aliases: Vec::new(),
                send_as: Vec::new(),
            })
            .collect();
        let clock = Clock::default();
        World {
            tenant_id: id("tenant"),
            users,
            identity: Identity::new(clock.clone(), automatic),
            clock,
            faults: Faults::default(),
            journal: Journal::default(),
            throttle: Throttle::default(),
            mail: Mail::default(),
            calendar: Calendars::default(),
            uploads: Uploads::default(),
            ledger: Ledger::default(),
            switches: Mutex::default(),
        }
    }

    /// A user by address (any of them, case aside) or object id.
    pub fn user(&self, key: &str) -> Option<&User> {
        self.users.iter().find(|user| {
            user.address.eq_ignore_ascii_case(key)
                || user.object_id.to_string().eq_ignore_ascii_case(key)
                || user.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(key))
        })
    }

    pub fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// `adele.vance@contoso.example` → `Adele Vance`.
fn display_name(address: &str) -> String {
    let local = address.split('@').next().unwrap_or(address);
    local
        .split(['.', '-', '_'])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
        })
        .collect::<Vec<String>>()
        .join(" ")
}
