//! The mailboxes: their items, from draft to Sent Items, and their ids.
//!
//! Source: Graph `message`, "immutable identifiers", "things to know about send mail"; MS-OXCMSG
//! §2.2.1.6 (PidTagMessageFlags). A draft that was sent stays in Drafts for a while; nothing moves it
//! but time, so whoever looks moves what is due first. What changes the items is in
//! [`super::drafts`], HTTP in [`super::draft_routes`], folders in [`super::folders`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::attachment::Attachment;
use super::calendar::not_found;
use super::event::ExtendedProperty;
use super::item_id::{IdForm, ItemId, change_key};
use super::ledger::Message;
use super::mail_error;
use super::odata::ODataError;
use super::world::{MessageFlags, Switches, World};

/// Octets of bodies and attachments of all mailboxes; beyond it they are full.
const OCTETS_MAX: usize = 1 << 30;
/// Items that clients create.
const ITEMS_MAX: usize = 1_000_000;
/// Numbers of mail begin here: no id of a calendar names anything in a mailbox.
const FIRST_NUMBER: u64 = 1 << 40;

/// PidTagMessageFlags, as an extended property.
const MESSAGE_FLAGS: &str = "Integer 0x0E07";
/// PidTagInternetMessageId.
pub(super) const INTERNET_MESSAGE_ID: &str = "String 0x1035";
/// PidTagDeleteAfterSubmit: no copy goes to Sent Items.
const DELETE_AFTER_SUBMIT: &str = "Boolean 0x0E01";

#[derive(Debug, Default)]
pub struct Mail {
    book: Mutex<Book>,
}

#[derive(Debug)]
pub struct Book {
    pub(super) items: BTreeMap<u64, Arc<Item>>,
    /// The item at each place, which is what ids of the default form name.
    places: HashMap<u64, u64>,
    /// Beside the well-known ones of each mailbox.
    pub(super) folders: Vec<Folder>,
    /// Drafts that were sent, by when they leave Drafts.
    submitted: BTreeSet<(Timestamp, u64)>,
    /// Names of custom header fields that a mailbox has a property for, in lower case.
    pub(super) known_x_headers: HashMap<Uuid, HashSet<String>>,
    numbers: u64,
    changes: u64,
    octets: usize,
}

impl Default for Book {
    fn default() -> Book {
        Book {
            items: BTreeMap::new(),
            places: HashMap::new(),
            folders: Vec::new(),
            submitted: BTreeSet::new(),
            known_x_headers: HashMap::new(),
            numbers: FIRST_NUMBER + Folder::WELL_KNOWN.len() as u64,
            changes: 0,
            octets: 0,
        }
    }
}

/// A folder that a client made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub number: u64,
    pub owner: Uuid,
    pub parent: u64,
    pub name: String,
    pub is_hidden: bool,
}

impl Folder {
    pub const ROOT: u64 = FIRST_NUMBER;
    pub const INBOX: u64 = FIRST_NUMBER + 1;
    pub const DRAFTS: u64 = FIRST_NUMBER + 2;
    pub const SENT_ITEMS: u64 = FIRST_NUMBER + 3;
    pub const DELETED_ITEMS: u64 = FIRST_NUMBER + 4;
    pub const OUTBOX: u64 = FIRST_NUMBER + 5;

    /// What every mailbox has: number, name in paths, name for people.
    pub const WELL_KNOWN: [(u64, &'static str, &'static str); 6] = [
        (Folder::ROOT, "msgfolderroot", "Top of Information Store"),
        (Folder::INBOX, "inbox", "Inbox"),
        (Folder::DRAFTS, "drafts", "Drafts"),
        (Folder::SENT_ITEMS, "sentitems", "Sent Items"),
        (Folder::DELETED_ITEMS, "deleteditems", "Deleted Items"),
        (Folder::OUTBOX, "outbox", "Outbox"),
    ];
}

/// A mail in a mailbox.
#[derive(Debug, Clone)]
pub struct Item {
    /// What its immutable id names.
    pub number: u64,
    /// What its default id names; another one after each move.
    pub place: u64,
    /// Object id of the mailbox's user.
    pub owner: Uuid,
    pub folder: u64,
    pub stage: Stage,
    pub content: Content,
    /// With its angle brackets.
    pub internet_message_id: String,
    pub extended: Vec<ExtendedProperty>,
    /// Properties that stay in the mailbox.
    pub local: Map<String, Value>,
    pub attachments: Vec<Attachment>,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub sent: Option<Timestamp>,
    change: u64,
    /// Of the copy in the ledger that stands for the mail.
    pub seq: Option<u64>,
    /// Of its body and attachments.
    pub octets: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Draft,
    /// Answered 202, and still where the draft was.
    Submitted,
    Sent,
    Received,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// The writable properties of a message resource, as posted.
    Json(Map<String, Value>),
    /// RFC 5322 octets as posted; the draft's attachments were read from them.
    Mime(Bytes),
    /// A copy of what went out.
    Delivered(Arc<Message>),
}

impl Content {
    fn octets(&self) -> usize {
        match self {
            Content::Json(properties) => super::message_json::body_octets(properties),
            Content::Mime(octets) => octets.len(),
            // The ledger counts it.
            Content::Delivered(_) => 0,
        }
    }
}

/// What an item is made of.
#[derive(Debug)]
pub struct NewItem {
    pub owner: Uuid,
    pub folder: u64,
    pub stage: Stage,
    pub content: Content,
    pub internet_message_id: String,
    pub extended: Vec<ExtendedProperty>,
    pub at: Timestamp,
    pub seq: Option<u64>,
}

/// Which rows of the ledger lie in which folder of a mailbox.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Copies {
    pub inbox: Vec<u64>,
    /// The first copy stands for the mail.
    pub sent_items: Vec<u64>,
    /// How many drafts there are in Drafts that nobody sent.
    pub drafts: usize,
}

impl Mail {
    /// The mailbox of a user by object id, empty if nothing ever came or went.
    pub fn mailbox(&self, user: Uuid) -> Copies {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |folder: u64| {
            let items = book.items.values();
            let there = items.filter(|item| item.owner == user && item.folder == folder);
            there.filter_map(|item| item.seq).collect()
        };
        let is_draft = |item: &&Arc<Item>| {
            item.owner == user && item.folder == Folder::DRAFTS && item.stage == Stage::Draft
        };
        let drafts = book.items.values().filter(is_draft).count();
        let (inbox, sent_items) = (within(Folder::INBOX), within(Folder::SENT_ITEMS));
        Copies { inbox, sent_items, drafts }
    }

    /// All mailboxes, as they are by now.
    pub fn book(&self, world: &World) -> MutexGuard<'_, Book> {
        let switches = world.switches().clone();
        let now = world.clock.now();
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.settle(now, &switches);
        book
    }

    /// Numbers go on, so that no id of before names an item of after.
    pub fn clear(&self) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let (numbers, changes) = (book.numbers, book.changes);
        *book = Book { numbers, changes, ..Book::default() };
    }
}

impl Item {
    pub fn id(&self, form: IdForm) -> String {
        let number = match form {
            IdForm::Default => self.place,
            IdForm::Immutable => self.number,
        };
        ItemId::of(self.owner, number).text(form)
    }

    pub fn etag(&self) -> String {
        format!("W/\"{}\"", self.change_key())
    }

    pub fn change_key(&self) -> String {
        change_key(self.change)
    }

    pub fn is_draft(&self, switches: &Switches) -> bool {
        match self.stage {
            Stage::Draft => true,
            Stage::Submitted => switches.submitted_is_draft,
            Stage::Sent | Stage::Received => false,
        }
    }

    /// PidTagMessageFlags: mfRead 0x1, mfSubmitted 0x4, mfUnsent 0x8, mfHasAttach 0x10. While the
    /// server sends, mfUnsent is clear and mfSubmitted set.
    fn flags(&self, switches: &Switches) -> Option<u32> {
        let stage = match self.stage {
            Stage::Draft => 0x9,
            Stage::Submitted => match switches.message_flags {
                MessageFlags::Flip => 0x5,
                MessageFlags::Stay => 0x9,
                MessageFlags::Hidden => return None,
            },
            Stage::Sent => 0x1,
            Stage::Received => 0x0,
        };
        let attached = self.attachments.iter().any(|one| !one.is_inline());
        let hidden = switches.message_flags == MessageFlags::Hidden;
        (!hidden).then_some(stage | if attached { 0x10 } else { 0 })
    }

    /// An extended property as it stands, or as the store knows it by itself.
    pub fn extended(&self, id: &str, switches: &Switches) -> Option<String> {
        if id.eq_ignore_ascii_case(MESSAGE_FLAGS) {
            return self.flags(switches).map(|flags| flags.to_string());
        }
        if id.eq_ignore_ascii_case(INTERNET_MESSAGE_ID) {
            return Some(self.internet_message_id.clone());
        }
        self.extended.iter().find(|one| one.has_id(id)).map(|one| one.value.clone())
    }

    /// Sets extended properties; those that are there already take the new value. That of the
    /// Message-ID sets it, if the writer has a say in it.
    pub fn set_extended(&mut self, given: Vec<ExtendedProperty>, message_id: bool) {
        for one in given {
            if message_id && one.id.eq_ignore_ascii_case(INTERNET_MESSAGE_ID) {
                self.internet_message_id.clone_from(&one.value);
            }
            self.extended.retain(|known| !known.has_id(&one.id));
            self.extended.push(one);
        }
    }
}

impl Book {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn add(&mut self, new: NewItem) -> Arc<Item> {
        let (number, place) = (self.number(), self.number());
        self.changes += 1;
        let octets = new.content.octets();
        self.octets = self.octets.saturating_add(octets);
        let item = Arc::new(Item {
            number,
            place,
            owner: new.owner,
            folder: new.folder,
            stage: new.stage,
            content: new.content,
            internet_message_id: new.internet_message_id,
            extended: new.extended,
            local: Map::new(),
            attachments: Vec::new(),
            created: new.at,
            modified: new.at,
            sent: (new.stage != Stage::Draft).then_some(new.at),
            change: self.changes,
            seq: new.seq,
            octets,
        });
        self.places.insert(place, number);
        self.items.insert(number, Arc::clone(&item));
        item
    }

    /// Whether so many octets more may be kept.
    pub(super) fn room(&self, octets: usize) -> Result<(), ODataError> {
        let full = self.items.len() >= ITEMS_MAX;
        if full || self.octets.saturating_add(octets) > OCTETS_MAX {
            return Err(mail_error::mailbox_full("The sandbox keeps no more mail."));
        }
        Ok(())
    }

    /// The item of an id in either form, in this mailbox.
    pub(super) fn find(&self, owner: Uuid, id: &str) -> Result<Arc<Item>, ODataError> {
        let malformed = || ODataError::bad_request("ErrorInvalidIdMalformed", "Id is malformed.");
        let (id, form) = ItemId::read_form(id).ok_or_else(malformed)?;
        let number = match form {
            IdForm::Default => self.places.get(&id.number).copied(),
            IdForm::Immutable => Some(id.number),
        };
        // Documented: ids are of one mailbox.
        let item = number.and_then(|number| self.items.get(&number));
        let item = item.filter(|item| item.owner == owner && id.mailbox == owner);
        item.cloned().ok_or_else(not_found)
    }

    /// Changes an item that is there, and counts its octets anew.
    pub(super) fn change(
        &mut self,
        number: u64,
        now: Timestamp,
        change: impl FnOnce(&mut Item),
    ) -> Result<Arc<Item>, ODataError> {
        let item = self.items.get_mut(&number).ok_or_else(not_found)?;
        let changed = Arc::make_mut(item);
        let before = changed.octets;
        change(changed);
        self.changes += 1;
        changed.change = self.changes;
        changed.modified = now;
        let attached = changed.attachments.iter().map(|one| one.bytes.len());
        changed.octets = changed.content.octets().saturating_add(attached.sum());
        self.octets = self.octets.saturating_sub(before).saturating_add(changed.octets);
        Ok(Arc::clone(item))
    }

    /// From now on the draft is on its way; it leaves its folder when the delay is over.
    pub(super) fn submitted(
        &mut self,
        number: u64,
        now: Timestamp,
        seq: u64,
        switches: &Switches,
    ) -> Result<(), ODataError> {
        self.change(number, now, |item| {
            item.stage = Stage::Submitted;
            item.sent = Some(now);
            item.seq = Some(seq);
        })?;
        let delay = SignedDuration::from_millis(switches.sent_items_delay_ms.into());
        let due = now.checked_add(delay).unwrap_or(Timestamp::MAX);
        self.submitted.insert((due, number));
        self.settle(now, switches);
        Ok(())
    }

    /// Moves what is due by now from where it was written to Sent Items.
    fn settle(&mut self, now: Timestamp, switches: &Switches) {
        while let Some((due, number)) = self.submitted.first().copied().filter(|(at, _)| *at <= now)
        {
            self.submitted.remove(&(due, number));
            let Some(item) = self.items.get(&number) else { continue };
            // Who deleted it in the meantime has taken it out of the way.
            if item.stage != Stage::Submitted {
                continue;
            }
            let deleted = item.extended(DELETE_AFTER_SUBMIT, switches);
            if deleted.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
                self.remove(number);
                continue;
            }
            let keep_number = switches.immutable_id_survives_send;
            let keep_extended = switches.extended_properties_survive_send;
            let sent = self.move_to(number, Folder::SENT_ITEMS, due, keep_number);
            let _ = sent.and_then(|item| {
                self.change(item.number, due, |item| {
                    item.stage = Stage::Sent;
                    if !keep_extended {
                        item.extended.clear();
                    }
                })
            });
        }
    }

    /// A move makes the default id another one, and the immutable id if it is not kept.
    pub(super) fn move_to(
        &mut self,
        number: u64,
        folder: u64,
        now: Timestamp,
        keep_number: bool,
    ) -> Result<Arc<Item>, ODataError> {
        let place = self.number();
        let new_number = if keep_number { number } else { self.number() };
        let mut item = self.items.remove(&number).ok_or_else(not_found)?;
        let moved = Arc::make_mut(&mut item);
        self.places.remove(&moved.place);
        (moved.number, moved.place, moved.folder) = (new_number, place, folder);
        self.places.insert(place, new_number);
        self.items.insert(new_number, item);
        self.change(new_number, now, |_| {})
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(gone) = self.items.remove(&number) {
            self.places.remove(&gone.place);
            self.octets = self.octets.saturating_sub(gone.octets);
        }
    }
}
