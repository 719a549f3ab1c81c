//! The drafts of a mailbox as the page shows them: what was written, to whom, and whether it is on its
//! way.

use serde_json::Value;

use super::mailbox::{Item, Stage};
use super::message_json::given;
use super::world::{User, World};

/// Drafts listed of one mailbox.
const LISTED_MAX: usize = 20;
/// Characters shown of a subject or a list of recipients.
const SHOWN_MAX: usize = 200;

pub(super) struct Line {
    pub to: String,
    pub at: String,
    pub subject: String,
    /// `draft`, `sent, on its way`, with its attachments.
    pub what: String,
}

/// The newest first.
pub(super) fn lines(world: &World, user: &User) -> Vec<Line> {
    let book = world.mail.book(world);
    let items = book.items.values().rev().filter(|item| item.owner == user.object_id);
    let drafts = items.filter(|item| matches!(item.stage, Stage::Draft | Stage::Submitted));
    let drafts: Vec<_> = drafts.take(LISTED_MAX).cloned().collect();
    // Reading MIME takes a while, and others want the mailboxes meanwhile.
    drop(book);
    drafts.iter().map(|item| line(item)).collect()
}

fn line(item: &Item) -> Line {
    let properties = given(item);
    let lists = ["toRecipients", "ccRecipients", "bccRecipients"];
    let all = lists.iter().filter_map(|name| properties.get(*name)?.as_array()).flatten();
    let addresses = all.filter_map(|one| one.pointer("/emailAddress/address")?.as_str());
    let subject = properties.get("subject").and_then(Value::as_str).unwrap_or_default();
    let stage = if item.stage == Stage::Draft { "draft" } else { "sent, on its way" };
    Line {
        to: shortened(&addresses.collect::<Vec<&str>>().join(", ")),
        at: item.modified.strftime("%b %-d, %H:%M:%S UTC").to_string(),
        subject: shortened(subject),
        what: match item.attachments.len() {
            0 => stage.to_owned(),
            1 => format!("{stage}, 1 attachment"),
            more => format!("{stage}, {more} attachments"),
        },
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
