//! What nobody is sure of about Microsoft 365: worlds in which it is one way or the other.

use postbridge::sandbox::world::{
    DuplicateTransactionStatus, MessageFlags, MimeDraftPatch, SecondSend, Switches, UploadProgress,
    UploadWithAuthorization,
};

/// What is not known of a draft that was sent, in all its readings. The move to Sent Items takes less
/// than the quiet time in those where nothing else tells that it was submitted.
pub fn in_doubt() -> Vec<(&'static str, Switches)> {
    let soon = || Switches { sent_items_delay_ms: 5, ..Switches::default() };
    vec![
        ("as documented", Switches::default()),
        ("flags stay", Switches { message_flags: MessageFlags::Stay, ..soon() }),
        ("flags hidden", Switches { message_flags: MessageFlags::Hidden, ..soon() }),
        ("no draft any more", Switches { submitted_is_draft: false, ..Switches::default() }),
        ("another id", Switches { immutable_id_survives_send: false, ..soon() }),
        (
            "another id, no tag",
            Switches {
                immutable_id_survives_send: false,
                extended_properties_survive_send: false,
                ..soon()
            },
        ),
        (
            "another id, another Message-ID",
            Switches { immutable_id_survives_send: false, keep_message_id: false, ..soon() },
        ),
        ("sends twice if asked", Switches { second_send: SecondSend::SendsAgain, ..soon() }),
        ("says yes twice", Switches { second_send: SecondSend::Ignored, ..soon() }),
        ("refuses the second", Switches { second_send: SecondSend::Refused, ..soon() }),
    ]
}

/// How else Graph may answer a mail, a large mail and an invite. Each switch that such a call can meet is
/// here in each of its readings, the default aside; what they are about does not touch each other, so
/// that one world holds many.
pub fn in_other_words() -> Vec<(&'static str, Switches)> {
    vec![
        (
            "one",
            Switches {
                duplicate_transaction: DuplicateTransactionStatus::Status409,
                duplicate_transaction_names_event: false,
                replay_same_transaction: false,
                no_op_update_mails: false,
                upload_progress: UploadProgress::CamelCase,
                upload_readable: false,
                upload_out_of_order_is_416: false,
                mime_draft_patch: MimeDraftPatch::KeepsMime,
                retry_after_on_202: true,
                expires_in_as_string: true,
                ..Switches::default()
            },
        ),
        (
            "two",
            Switches {
                replay_same_transaction: false,
                upload_progress: UploadProgress::PascalCase,
                upload_multiple_octets: 327_680,
                upload_with_authorization: UploadWithAuthorization::Status400,
                mime_draft_patch: MimeDraftPatch::Reserialised,
                keep_message_id: false,
                lose_x_headers: true,
                ..Switches::default()
            },
        ),
        (
            "three",
            Switches {
                duplicate_transaction_names_event: false,
                replay_same_transaction: false,
                upload_with_authorization: UploadWithAuthorization::Taken,
                mime_draft_takes_attachments: true,
                mime_in_folder: true,
                retry_after_on_202: true,
                keep_message_id: false,
                submitted_is_draft: false,
                ..Switches::default()
            },
        ),
        (
            "four",
            Switches {
                duplicate_transaction: DuplicateTransactionStatus::Status409,
                replay_same_transaction: false,
                no_op_update_mails: false,
                lose_x_headers: true,
                ..Switches::default()
            },
        ),
    ]
}

/// How else Graph may answer what is asked of events, one after the other. What else there is to switch
/// is about mail, uploads, tokens or how much is too much; but for `series_change_keeps_exceptions`, where
/// Outlook goes on to show single occurrences of a series that is moved as the collection does not.
pub fn of_events() -> Vec<(&'static str, Switches)> {
    use DuplicateTransactionStatus::Status409;
    vec![
        ("as documented", Switches::default()),
        // A create that was made before is found by its UID, and what mails nobody tells nobody.
        (
            "used transactions are refused without a name",
            Switches {
                duplicate_transaction_names_event: false,
                replay_same_transaction: false,
                no_op_update_mails: false,
                ..Switches::default()
            },
        ),
        (
            "used transactions are a conflict",
            Switches {
                duplicate_transaction: Status409,
                replay_same_transaction: false,
                cancelled_copy_stays: false,
                ..Switches::default()
            },
        ),
        // What was deleted a moment ago is made anew if it is asked for by the same name.
        (
            "transactions are forgotten",
            Switches {
                duplicate_transaction: Status409,
                duplicate_transaction_names_event: false,
                replay_same_transaction: false,
                transaction_taken_after_deletion: false,
                cancel_without_attendees_refused: false,
                ..Switches::default()
            },
        ),
        (
            "exceptions have another id",
            Switches { exception_gets_another_id: true, ..Switches::default() },
        ),
    ]
}
