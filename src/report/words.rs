//! The part for people: what happened, to whom, what to do. Pure.

use super::{Fate, LINE_CHARS_MAX, Notice, date, one_line};

/// The beginning of the report's own subject.
pub(super) fn subject(fate: &Fate<'_>) -> &'static str {
    match fate {
        Fate::Failed { .. } => "Not delivered",
        Fate::Delayed { .. } => "Not delivered yet",
        Fate::Held { .. } => "Unknown whether sent",
        Fate::Relayed => "Handed on",
    }
}

/// `title`: the subject of the mail.
pub(super) fn of(notice: &Notice<'_>, title: &str) -> String {
    let mut lines: Vec<String> = opening(&notice.fate).iter().map(|&line| line.into()).collect();
    lines.extend([
        String::new(),
        format!("Subject:   {title}"),
        format!("Handed in: {}", date(notice.accepted_at)),
        format!("{} {}", moment(&notice.fate), date(notice.at)),
        String::new(),
        recipients(&notice.fate).to_owned(),
        String::new(),
    ]);
    let paths = notice.fate.recipients(notice.envelope);
    lines.extend(paths.map(|path| format!("    {}", path.address)));
    lines.push(String::new());
    if let Fate::Failed { reason, .. } | Fate::Delayed { reason, .. } | Fate::Held { reason } =
        &notice.fate
    {
        lines.push("What happened:".to_owned());
        lines.push(one_line(reason, LINE_CHARS_MAX));
        lines.push(String::new());
    }
    lines.push("What to do:".to_owned());
    lines.extend(remedy(notice));
    lines.push(String::new());
    if let Fate::Failed { remote: Some(remote), .. } = notice.fate {
        lines.push(format!("Microsoft 365 answered: {}", one_line(remote, LINE_CHARS_MAX)));
    }
    lines.push(format!(
        "Your administrator finds this mail in the log of postbridge as {}.",
        notice.id
    ));
    lines.push(String::new());
    lines.join("\r\n")
}

fn opening(fate: &Fate<'_>) -> &'static [&'static str] {
    match fate {
        Fate::Failed { .. } => &["Your mail was not delivered."],
        Fate::Delayed { .. } => {
            &["Your mail was not delivered yet. It is tried again: you need not send it again."]
        }
        Fate::Held { .. } => &[
            "Nobody knows whether your mail was sent: it was handed to Microsoft 365, and no clear",
            "answer came. It is not sent again by itself, lest somebody get it twice.",
        ],
        Fate::Relayed => &[
            "Microsoft 365 has taken your mail. It tells no more than that: whether the mail was",
            "delivered, you hear only if it was not.",
        ],
    }
}

/// What the time of the report is.
fn moment(fate: &Fate<'_>) -> &'static str {
    match fate {
        Fate::Failed { .. } => "Given up: ",
        Fate::Delayed { .. } => "Tried:    ",
        Fate::Held { .. } => "Handed on:",
        Fate::Relayed => "Taken:    ",
    }
}

fn recipients(fate: &Fate<'_>) -> &'static str {
    match fate {
        Fate::Failed { .. } => "It did not reach:",
        Fate::Delayed { .. } => "It has not reached:",
        Fate::Held { .. } => "It may have reached, or not:",
        Fate::Relayed => "It is on its way to:",
    }
}

fn remedy(notice: &Notice<'_>) -> Vec<String> {
    match notice.fate {
        Fate::Failed { remedy, .. } => vec![one_line(remedy, LINE_CHARS_MAX)],
        Fate::Delayed { until, .. } => vec![format!(
            "Nothing. If it cannot be sent until {}, another report says so.",
            date(until)
        )],
        Fate::Held { .. } => vec![
            format!(
                "Look in the Sent Items of {} for it. Then tell postbridge,",
                notice.account.address
            ),
            "on the machine that it runs on, or let your administrator do so:".to_owned(),
            String::new(),
            "it is there, so it was sent:".to_owned(),
            format!("    postbridge queue resolve {} --sent", notice.id),
            "it is not there, so send it again:".to_owned(),
            format!("    postbridge queue resolve {} --send-again", notice.id),
        ],
        Fate::Relayed => vec!["Nothing. Your mail program asked for this notice.".to_owned()],
    }
}
