//! What a tenant answered to questions that Microsoft's documentation leaves open. Pure.
//!
//! They are asked of a real mailbox with its owner's consent (`postbridge selftest`), by mails to itself and
//! events without attendees; `execute` asks them, `store` keeps the answers.

use serde::{Deserialize, Serialize};

/// Questions that are asked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inquiry {
    /// One mail to oneself.
    Mail,
    /// Drafts of growing size, none of which is sent.
    Size,
    /// Events without attendees, deleted again.
    Event,
}

impl Inquiry {
    pub const ALL: [Inquiry; 3] = [Inquiry::Mail, Inquiry::Size, Inquiry::Event];

    /// What it does in the mailbox.
    pub fn deed(self) -> &'static str {
        match self {
            Inquiry::Mail => "sends one mail to the mailbox itself",
            Inquiry::Size => "makes drafts of up to 4 MiB and deletes them",
            Inquiry::Event => "makes three events without attendees and deletes them",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    MessageIdKept,
    IdSurvivesSend,
    TagSurvivesSend,
    FlagsReadable,
    SecondSend,
    LargestMime,
    AttachmentOnMimeDraft,
    SameTransaction,
    TransactionAfterDeletion,
    IfMatchOnEvents,
    CancelWithoutAttendees,
}

macro_rules! questions {
    ($($variant:ident = $name:literal, $words:literal;)*) => {
        impl Question {
            pub const ALL: &[Question] = &[$(Question::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Question::$variant => $name),* }
            }

            /// What is asked.
            pub fn words(self) -> &'static str {
                match self { $(Question::$variant => $words),* }
            }

            pub fn from_name(name: &str) -> Option<Question> {
                match name { $($name => Some(Question::$variant),)* _ => None }
            }
        }
    };
}
questions! {
    MessageIdKept = "message-id-kept",
        "Does the copy in Sent Items have the Message-ID that the draft was given?";
    IdSurvivesSend = "id-survives-send",
        "Does the immutable id of a draft name the mail after it was sent?";
    TagSurvivesSend = "tag-survives-send",
        "Is the extended property of a draft on the copy in Sent Items?";
    FlagsReadable = "flags-readable",
        "Do PidTagMessageFlags say of a draft that it is unsent?";
    SecondSend = "second-send",
        "What does a second send of the same draft do?";
    LargestMime = "largest-mime",
        "How large may the MIME of a draft be?";
    AttachmentOnMimeDraft = "attachment-on-mime-draft",
        "Does a draft made of MIME take a further attachment?";
    SameTransaction = "same-transaction",
        "What does a second create with the same transactionId answer?";
    TransactionAfterDeletion = "transaction-after-deletion",
        "Can a transactionId be used again when its event is deleted?";
    IfMatchOnEvents = "if-match-on-events",
        "Is an update refused whose If-Match is not of the last version?";
    CancelWithoutAttendees = "cancel-without-attendees",
        "What does the cancellation of an event without attendees answer?";
}

/// A question with its answer, as one line of words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub question: Question,
    pub answer: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_is_found_by_its_name() {
        for question in Question::ALL {
            assert_eq!(Question::from_name(question.name()), Some(*question));
            let in_json = serde_json::to_string(question).unwrap();
            assert_eq!(in_json, format!("\"{}\"", question.name()));
        }
    }
}
