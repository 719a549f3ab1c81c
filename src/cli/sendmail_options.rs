//! The arguments of sendmail(8), as far as programs give them today: what is known is done, what says
//! something about a queue or a daemon that is not here is taken and ignored. Pure.

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `-bm`: a mail from standard input.
    #[default]
    Mail,
    /// `-bs`: SMTP on standard input and output.
    Session,
    /// `-bp`, and when called as `mailq`.
    Queue,
    /// `-q`: what was dropped is handed in.
    Flush,
    /// `-bi`, and when called as `newaliases`: there is no table of aliases to make.
    Aliases,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    pub mode: Mode,
    /// `-f`: the reverse-path; `Some("")` is the null one.
    pub from: Option<String>,
    /// `-F`: the author's name, where the mail names no author.
    pub name: Option<String>,
    /// `-t`: recipients are read from the header.
    pub from_header: bool,
    /// `-i`: a line with a single dot is a line.
    pub ignores_dots: bool,
    /// `-N`, RFC 3461's NOTIFY.
    pub notify: Option<String>,
    /// `-R`, RFC 3461's RET.
    pub ret: Option<String>,
    pub verbose: bool,
    pub recipients: Vec<String>,
}

/// Flags whose value is in the same argument or in the next one.
const WITH_VALUE: &str = "ABCDFLMNORVXbefhopr";
/// Flags whose value, if any, is in the same argument.
const MAYBE_WITH_VALUE: &str = "dq";
/// Flags without a value that mean nothing here.
const IGNORED: &str = "GUcmnsxT";

/// Reads the arguments after the program's name; a refusal in words.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(flags) = argument.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            options.recipients.push(argument);
            continue;
        };
        if argument == "--" {
            options.recipients.extend(arguments.by_ref());
            break;
        }
        let mut rest = flags;
        while let Some(flag) = rest.chars().next() {
            rest = rest.get(flag.len_utf8()..).unwrap_or_default();
            if WITH_VALUE.contains(flag) {
                let value = match rest {
                    "" => arguments.next().ok_or(format!("-{flag} wants a value"))?,
                    value => value.to_owned(),
                };
                with_value(&mut options, flag, value)?;
                break;
            }
            if MAYBE_WITH_VALUE.contains(flag) {
                if flag == 'q' {
                    options.mode = Mode::Flush;
                }
                break;
            }
            match flag {
                't' => options.from_header = true,
                'i' => options.ignores_dots = true,
                'v' => options.verbose = true,
                'I' => options.mode = Mode::Aliases,
                _ if IGNORED.contains(flag) => {}
                _ => return Err(format!("-{flag} is not known")),
            }
        }
    }
    Ok(options)
}

fn with_value(options: &mut Options, flag: char, value: String) -> Result<(), String> {
    match flag {
        'f' | 'r' => {
            let inner = value.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
            options.from = Some(inner.unwrap_or(&value).to_owned());
        }
        'F' => options.name = Some(value),
        'o' if value == "i" || value == "itrue" => options.ignores_dots = true,
        'O' if value.eq_ignore_ascii_case("IgnoreDots=true") => options.ignores_dots = true,
        'N' => options.notify = Some(notify(&value)?),
        'R' => options.ret = Some(ret(&value)?),
        'b' => {
            options.mode = match value.as_str() {
                "m" => Mode::Mail,
                "s" => Mode::Session,
                "p" => Mode::Queue,
                "i" => Mode::Aliases,
                "d" | "D" => return Err("the daemon is: postbridge serve".to_owned()),
                _ => return Err(format!("-b{value} is not done here")),
            }
        }
        _ => {}
    }
    Ok(())
}

/// RFC 3461 §4.1.
fn notify(value: &str) -> Result<String, String> {
    let value = value.to_ascii_uppercase();
    let one_of_three = |word: &str| matches!(word, "SUCCESS" | "FAILURE" | "DELAY");
    if value == "NEVER" || value.split(',').all(one_of_three) {
        Ok(value)
    } else {
        Err("-N is never, or a list of success, failure, delay".to_owned())
    }
}

/// RFC 3461 §4.3.
fn ret(value: &str) -> Result<String, String> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok("FULL".to_owned()),
        "HDRS" => Ok("HDRS".to_owned()),
        _ => Err("-R is full or hdrs".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_calls_of_well_known_programs_are_understood() {
        // Debian's cron, Vixie cron, PHP, git send-email, mutt.
        let cron = of("-i -FCronDaemon -B8BITMIME -oem root").unwrap();
        assert!(cron.ignores_dots && !cron.from_header);
        assert_eq!(
            (cron.name.as_deref(), cron.recipients),
            (Some("CronDaemon"), vec!["root".into()])
        );
        let cron = of("-FCronDaemon -odi -oem -oi -t").unwrap();
        assert!(cron.ignores_dots && cron.from_header && cron.recipients.is_empty());
        assert!(of("-t -i").unwrap().from_header);
        let git = of("-f adele@contoso.example -i a@fabrikam.example b@fabrikam.example").unwrap();
        assert_eq!((git.from.as_deref(), git.recipients.len()), (Some("adele@contoso.example"), 2));
        let mutt = of("-oem -oi -f adele@contoso.example -N failure,delay -R hdrs -- -x@y.example")
            .unwrap();
        assert_eq!(mutt.notify.as_deref(), Some("FAILURE,DELAY"));
        assert_eq!(mutt.ret.as_deref(), Some("HDRS"));
        assert_eq!(mutt.recipients, ["-x@y.example"]);
    }

    #[test]
    fn flags_may_stand_together_and_values_apart() {
        let options = of("-tivf a@b.example").unwrap();
        assert!(options.from_header && options.ignores_dots && options.verbose);
        assert_eq!(options.from.as_deref(), Some("a@b.example"));
        assert_eq!(of("-f <>").unwrap().from.as_deref(), Some(""));
        for (line, mode) in [
            ("-bs", Mode::Session),
            ("-bp", Mode::Queue),
            ("-q", Mode::Flush),
            ("-q30m", Mode::Flush),
        ] {
            assert_eq!(of(line).unwrap().mode, mode, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for line in ["-f", "-bd", "-bz", "-N sometimes", "-R some", "-Z", "-é"] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
