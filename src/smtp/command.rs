//! One command line to one [`Command`]: RFC 5321 §4.1.1 and the extensions we offer. Pure.
//!
//! smtp-proto knows the verbs and the ESMTP parameters. The paths, and the few parameters that must
//! be kept as they were written, are read here: smtp-proto takes the quotes off a local part and
//! decodes xtext into control characters. A line that reaches the parser holds no CR, LF or NUL.
//! Nothing here must know whether the command makes sense now.

use smtp_proto::request::parser::Rfc5321Parser;
use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_RET_FULL,
    MAIL_RET_HDRS, MAIL_SMTPUTF8, MailFrom, RCPT_NOTIFY_DELAY, RCPT_NOTIFY_FAILURE,
    RCPT_NOTIFY_NEVER, RCPT_NOTIFY_SUCCESS, RcptTo, Request,
};

use super::auth::Mechanism;
use crate::account::Address;
use crate::submission::{ForwardPath, MailParameters, Notify, Return};

/// What the client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo,
    Helo,
    Auth { mechanism: Mechanism, initial: Option<String> },
    StartTls,
    Mail { reverse_path: Option<Address>, parameters: MailParameters, size: Option<u64> },
    Rcpt(Recipient),
    Data,
    Bdat { octets: u64, last: bool },
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
}

/// The forward-path of a RCPT.
#[derive(Debug, PartialEq, Eq)]
pub enum Recipient {
    Path(ForwardPath),
    /// RFC 5321 §4.1.1.3: `<Postmaster>`, which has no domain.
    Postmaster(Notify),
}

/// Why a line is no command that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    Unknown,
    /// A command of some RFC that we do not do.
    NotImplemented,
    /// What it should have looked like.
    Syntax(&'static str),
    /// BDAT that cannot be read: how many octets follow is not known.
    LostCount,
    BadSender,
    BadRecipient,
    /// An address beyond ASCII without SMTPUTF8.
    NeedsSmtpUtf8,
    UnknownParameter,
    BadParameter,
    UnknownMechanism,
    /// A line of HTTP: a browser was talked into speaking to us.
    Http,
}

const MAIL_SYNTAX: &str = "MAIL FROM:<address> [parameters]";
const RCPT_SYNTAX: &str = "RCPT TO:<address> [parameters]";

/// Reads one line, without its CRLF.
pub fn parse(line: &str) -> Result<Command, Problem> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb.to_ascii_uppercase().as_str() {
        "MAIL" => mail(after_keyword(rest, "FROM").ok_or(Problem::Syntax(MAIL_SYNTAX))?),
        "RCPT" => rcpt(after_keyword(rest, "TO").ok_or(Problem::Syntax(RCPT_SYNTAX))?),
        "BDAT" => bdat(rest),
        // RFC 5321 §4.1.1: these take no parameters.
        "DATA" | "RSET" | "QUIT" | "STARTTLS" if !rest.trim().is_empty() => {
            Err(Problem::Syntax("no parameters"))
        }
        // RFC 821's other ways to send, and RFC 1985.
        "SEND" | "SOML" | "SAML" | "TURN" | "ETRN" | "ATRN" | "BURL" => {
            Err(Problem::NotImplemented)
        }
        "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => Err(Problem::Http),
        _ => other(line),
    }
}

fn other(line: &str) -> Result<Command, Problem> {
    let line = format!("{line}\r\n");
    match Request::parse(&mut line.as_bytes().iter()) {
        Ok(Request::Ehlo { .. }) => Ok(Command::Ehlo),
        Ok(Request::Helo { .. }) => Ok(Command::Helo),
        Ok(Request::Auth { mechanism, initial_response }) => Ok(Command::Auth {
            mechanism: match mechanism {
                AUTH_PLAIN => Mechanism::Plain,
                AUTH_LOGIN => Mechanism::Login,
                _ => return Err(Problem::UnknownMechanism),
            },
            initial: Some(initial_response.into_owned()).filter(|text| !text.is_empty()),
        }),
        Ok(Request::StartTls) => Ok(Command::StartTls),
        Ok(Request::Data) => Ok(Command::Data),
        Ok(Request::Rset) => Ok(Command::Rset),
        Ok(Request::Noop { .. }) => Ok(Command::Noop),
        Ok(Request::Vrfy { .. }) => Ok(Command::Vrfy),
        Ok(Request::Expn { .. }) => Ok(Command::Expn),
        Ok(Request::Help { .. }) => Ok(Command::Help),
        Ok(Request::Quit) => Ok(Command::Quit),
        Err(Error::SyntaxError { syntax }) => Err(Problem::Syntax(syntax)),
        Ok(_) | Err(_) => Err(Problem::Unknown),
    }
}

/// What follows `FROM:` or `TO:`. Quirk(devices): spaces on either side of the colon.
fn after_keyword<'l>(rest: &'l str, keyword: &str) -> Option<&'l str> {
    let (word, path) = rest.split_once(':')?;
    word.trim().eq_ignore_ascii_case(keyword).then(|| path.trim_start())
}

fn mail(text: &str) -> Result<Command, Problem> {
    let (path, parameters) = split_path(text).ok_or(Problem::Syntax(MAIL_SYNTAX))?;
    let (kept, others) = set_aside(parameters)?;
    let parsed = mail_parameters(&others)?;
    let smtputf8 = parsed.flags & MAIL_SMTPUTF8 != 0;
    let reverse_path = match mailbox(path) {
        "" => None,
        text => Some(Address::parse(text).map_err(|_| Problem::BadSender)?),
    };
    if !smtputf8 && !path.is_ascii() {
        return Err(Problem::NeedsSmtpUtf8);
    }
    let ret = match parsed.flags {
        flags if flags & MAIL_RET_FULL != 0 => Some(Return::Full),
        flags if flags & MAIL_RET_HDRS != 0 => Some(Return::Headers),
        _ => None,
    };
    Ok(Command::Mail {
        reverse_path,
        parameters: MailParameters { ret, envid: kept.envid, smtputf8 },
        size: Some(parsed.size as u64).filter(|size| *size > 0),
    })
}

fn rcpt(text: &str) -> Result<Command, Problem> {
    let (path, parameters) = split_path(text).ok_or(Problem::Syntax(RCPT_SYNTAX))?;
    let (kept, others) = set_aside(parameters)?;
    let notify = rcpt_parameters(&others)?;
    let path = mailbox(path);
    Ok(Command::Rcpt(if path.eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster(notify)
    } else {
        let address = Address::parse(path).map_err(|_| Problem::BadRecipient)?;
        Recipient::Path(ForwardPath { address, notify, orcpt: kept.orcpt })
    }))
}

/// Splits `<path> parameters`; the path is without its brackets.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let Some(inner) = text.strip_prefix('<') else {
        // Quirk(devices): no angle brackets at all.
        let (path, parameters) = text.split_once(' ').unwrap_or((text, ""));
        return (!path.is_empty()).then_some((path, parameters));
    };
    let (mut quoted, mut escaped) = (false, false);
    let end = inner.find(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == '>' && !quoted,
        }
        false
    })?;
    let (path, rest) = inner.split_at(end);
    let parameters = rest.strip_prefix('>')?;
    (parameters.is_empty() || parameters.starts_with(' ')).then_some((path.trim(), parameters))
}

/// RFC 5321 §4.1.1.3 and appendix C: a source route is accepted and ignored.
fn mailbox(path: &str) -> &str {
    if !path.starts_with('@') {
        return path;
    }
    // A colon inside a domain literal (`@[IPv6:…]`) does not end the route.
    let mut literal = false;
    let end = path.find(|c| {
        match c {
            '[' => literal = true,
            ']' => literal = false,
            _ => {}
        }
        c == ':' && !literal
    });
    end.and_then(|end| path.get(end + 1..)).unwrap_or(path)
}

/// Parameters that are handed on exactly as written.
#[derive(Default)]
struct Kept {
    envid: Option<String>,
    orcpt: Option<String>,
}

/// Takes ENVID and ORCPT (RFC 3461) out; gives the rest for smtp-proto.
fn set_aside(parameters: &str) -> Result<(Kept, String), Problem> {
    let mut kept = Kept::default();
    let mut others = String::with_capacity(parameters.len() + 2);
    for parameter in parameters.split_ascii_whitespace() {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // RFC 3461 §4.4, §4.2: at most 100 and 500 octets.
        let (place, octets_max) = match key.to_ascii_uppercase().as_str() {
            "ENVID" => (&mut kept.envid, 100),
            "ORCPT" => (&mut kept.orcpt, 500),
            _ => {
                others.push(' ');
                others.push_str(parameter);
                continue;
            }
        };
        let typed = key.len() != 5 || !key.eq_ignore_ascii_case("ORCPT") || value.contains(';');
        if !is_xtext(value) || value.len() > octets_max || !typed || place.is_some() {
            return Err(Problem::BadParameter);
        }
        *place = Some(value.to_owned());
    }
    others.push_str("\r\n");
    Ok((kept, others))
}

/// RFC 3461 §4, and RFC 6533 §3 for the characters beyond ASCII: nothing that, decoded, could end a
/// line somewhere.
fn is_xtext(value: &str) -> bool {
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '+' => {
                let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return false;
                };
                if high * 16 + low < 0x20 || high * 16 + low == 0x7f {
                    return false;
                }
            }
            _ if c.is_control() || c.is_whitespace() => return false,
            _ => {}
        }
    }
    !value.is_empty()
}

fn mail_parameters(text: &str) -> Result<MailFrom<()>, Problem> {
    let mut octets = text.as_bytes().iter();
    let parsed =
        Rfc5321Parser::new(&mut octets).mail_from_parameters("".into()).map_err(parameter)?;
    // RFC 5321 §4.1.1.11: what EHLO did not offer is refused, not silently left undone.
    let offered =
        MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_RET_FULL | MAIL_RET_HDRS | MAIL_SMTPUTF8;
    let unoffered = parsed.flags & !offered != 0
        || parsed.trans_id.is_some()
        || parsed.solicit.is_some()
        || parsed.mtrk.is_some()
        || (parsed.by, parsed.hold_for, parsed.hold_until, parsed.mt_priority) != (0, 0, 0, 0);
    if unoffered {
        return Err(Problem::UnknownParameter);
    }
    // RFC 4954 §5: AUTH= is taken and, as we trust no client to vouch for another, ignored.
    Ok(MailFrom { flags: parsed.flags, size: parsed.size, ..MailFrom::default() })
}

fn rcpt_parameters(text: &str) -> Result<Notify, Problem> {
    let mut octets = text.as_bytes().iter();
    let parsed: RcptTo<_> =
        Rfc5321Parser::new(&mut octets).rcpt_to_parameters("".into()).map_err(parameter)?;
    let has = |flag| parsed.flags & flag != 0;
    let notify = Notify {
        never: has(RCPT_NOTIFY_NEVER),
        success: has(RCPT_NOTIFY_SUCCESS),
        failure: has(RCPT_NOTIFY_FAILURE),
        delay: has(RCPT_NOTIFY_DELAY),
    };
    let offered = RCPT_NOTIFY_NEVER | RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY;
    if parsed.flags & !offered != 0 {
        return Err(Problem::UnknownParameter);
    }
    // RFC 3461 §4.1: NEVER stands alone.
    if notify.never && (notify.success || notify.failure || notify.delay) {
        return Err(Problem::BadParameter);
    }
    Ok(notify)
}

fn parameter(error: Error) -> Problem {
    match error {
        Error::UnsupportedParameter { .. } => Problem::UnknownParameter,
        _ => Problem::BadParameter,
    }
}

/// RFC 3030 §2. Read here, because a size that is misread is a mail that is misread.
fn bdat(rest: &str) -> Result<Command, Problem> {
    let mut words = rest.split_ascii_whitespace();
    let octets = words
        .next()
        .filter(|word| word.len() <= 12 && word.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|word| word.parse().ok())
        .ok_or(Problem::LostCount)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { octets, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => {
            Ok(Command::Bdat { octets, last: true })
        }
        _ => Err(Problem::LostCount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Command, Problem>) {
        assert_eq!(parse(line), expected, "{line:?}");
    }

    fn from(address: &str) -> Result<Command, Problem> {
        Ok(Command::Mail {
            reverse_path: Some(Address::parse(address).unwrap()),
            parameters: MailParameters::default(),
            size: None,
        })
    }

    fn to(address: &str) -> Result<Command, Problem> {
        let path = ForwardPath::from(Address::parse(address).unwrap());
        Ok(Command::Rcpt(Recipient::Path(path)))
    }

    #[test]
    fn verbs_are_known_in_any_case() {
        check("EHLO client.contoso.example", Ok(Command::Ehlo));
        check("helo [127.0.0.1]", Ok(Command::Helo));
        check("Quit", Ok(Command::Quit));
        check("noop anything at all", Ok(Command::Noop));
        check("HELP", Ok(Command::Help));
        check("STARTTLS", Ok(Command::StartTls));
        check("vrfy adele", Ok(Command::Vrfy));
        check("DATA now", Err(Problem::Syntax("no parameters")));
        check("ETRN contoso.example", Err(Problem::NotImplemented));
        check("XYZZY", Err(Problem::Unknown));
        check("", Err(Problem::Unknown));
        check("EHLO", Err(Problem::Syntax("EHLO domain")));
        check("GET / HTTP/1.1", Err(Problem::Http));
    }

    #[test]
    fn a_path_comes_in_many_shapes() {
        let adele = "adele.vance@contoso.example";
        check("MAIL FROM:<adele.vance@contoso.example>", from(adele));
        check("mail from: <adele.vance@contoso.example>", from(adele));
        check("MAIL FROM :<adele.vance@Contoso.Example> BODY=8BITMIME", from(adele));
        check("MAIL FROM:adele.vance@contoso.example", from(adele));
        check("MAIL FROM: adele.vance@contoso.example AUTH=<>", from(adele));
        check("MAIL FROM:<@relay.example,@b.example:adele.vance@contoso.example>", from(adele));
        check("MAIL FROM:<x@[1.2.3.4]>", from("x@[1.2.3.4]"));
        check("RCPT TO:<\"a > b\"@contoso.example>", to("\"a > b\"@contoso.example"));
        check("RCPT TO:<@[IPv6:::1]:a@contoso.example>", to("a@contoso.example"));
        check("RCPT TO:<>", Err(Problem::BadRecipient));
        check("RCPT TO:<a@b@c.example>", Err(Problem::BadRecipient));
        check("RCPT TO:<a!b>", Err(Problem::BadRecipient));
        check("RCPT TO:<a@contoso.example", Err(Problem::Syntax(RCPT_SYNTAX)));
        check("RCPT TO:<a@contoso.example>x", Err(Problem::Syntax(RCPT_SYNTAX)));
        check("MAIL FROM:", Err(Problem::Syntax(MAIL_SYNTAX)));
        check("MAIL <a@contoso.example>", Err(Problem::Syntax(MAIL_SYNTAX)));
        check("RCPT TO:<Postmaster>", Ok(Command::Rcpt(Recipient::Postmaster(Notify::default()))));
    }

    #[test]
    fn the_null_reverse_path_is_a_sender() {
        let parameters = MailParameters::default();
        check("MAIL FROM:<>", Ok(Command::Mail { reverse_path: None, parameters, size: None }));
    }

    #[test]
    fn parameters_that_are_offered_are_taken() {
        check(
            "MAIL FROM:<> SIZE=1000 BODY=7BIT RET=HDRS ENVID=QQ+2B1 SMTPUTF8",
            Ok(Command::Mail {
                reverse_path: None,
                parameters: MailParameters {
                    ret: Some(Return::Headers),
                    envid: Some("QQ+2B1".into()),
                    smtputf8: true,
                },
                size: Some(1000),
            }),
        );
        check(
            "RCPT TO:<a@contoso.example> notify=success,failure orcpt=rfc822;a@contoso.example",
            Ok(Command::Rcpt(Recipient::Path(ForwardPath {
                address: Address::parse("a@contoso.example").unwrap(),
                notify: Notify { success: true, failure: true, ..Notify::default() },
                orcpt: Some("rfc822;a@contoso.example".into()),
            }))),
        );
    }

    #[test]
    fn parameters_that_are_not_offered_are_refused() {
        for text in ["HOLDFOR=60", "REQUIRETLS", "MT-PRIORITY=3", "BODY=BINARYMIME", "XCOLOUR=1"] {
            check(&format!("MAIL FROM:<> {text}"), Err(Problem::UnknownParameter));
        }
        for text in ["SIZE=x", "BODY=9BIT", "RET=SOME", "ENVID=a+0Ab", "ENVID=+zz"] {
            check(&format!("MAIL FROM:<> {text}"), Err(Problem::BadParameter));
        }
        for text in ["NOTIFY=NEVER,FAILURE", "NOTIFY=MAYBE", "ORCPT=rfc822;a+0D+0Ab", "ORCPT=a"] {
            check(&format!("RCPT TO:<a@contoso.example> {text}"), Err(Problem::BadParameter));
        }
    }

    #[test]
    fn an_address_beyond_ascii_needs_smtputf8() {
        check("MAIL FROM:<jürgen@contoso.example>", Err(Problem::NeedsSmtpUtf8));
        assert!(parse("MAIL FROM:<jürgen@contoso.example> SMTPUTF8").is_ok());
    }

    #[test]
    fn a_chunk_size_is_read_exactly_or_not_at_all() {
        check("BDAT 12", Ok(Command::Bdat { octets: 12, last: false }));
        check("bdat 0 last", Ok(Command::Bdat { octets: 0, last: true }));
        for text in ["", "x", "-1", "12 LAST x", "12 FIRST", "184467440737095516169"] {
            check(&format!("BDAT {text}"), Err(Problem::LostCount));
        }
    }

    #[test]
    fn auth_knows_its_mechanisms() {
        let auth = |mechanism, initial: Option<&str>| {
            Ok(Command::Auth { mechanism, initial: initial.map(str::to_owned) })
        };
        check("AUTH PLAIN", auth(Mechanism::Plain, None));
        check("auth login YWRlbGU=", auth(Mechanism::Login, Some("YWRlbGU=")));
        check("AUTH PLAIN =", auth(Mechanism::Plain, Some("=")));
        check("AUTH CRAM-MD5", Err(Problem::UnknownMechanism));
        check("AUTH NONSENSE", Err(Problem::UnknownMechanism));
    }
}
