//! A passphrase, from a file or from the terminal, where it is not shown.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::Secret;

const CHARS_MIN: usize = 8;

/// The first line of the file, or what is typed in; `again` asks twice, for a new one.
pub fn read(file: Option<&Path>, again: bool) -> anyhow::Result<Secret> {
    let passphrase = match file {
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            first_line(&mut BufReader::new(file))?
        }
        None => {
            let terminal = File::options().read(true).write(true).open("/dev/tty").context(
                "there is no terminal to ask for the passphrase at; give it with --passphrase-file",
            )?;
            let first = ask(&terminal, "Passphrase: ")?;
            if again && ask(&terminal, "The same again: ")? != first {
                bail!("the two are not the same");
            }
            first
        }
    };
    if again && passphrase.chars().count() < CHARS_MIN {
        bail!(
            "a passphrase has {CHARS_MIN} characters or more: who gets the file can try as many as they like"
        );
    }
    Ok(Secret::new(String::clone(&passphrase)))
}

fn ask(mut terminal: &File, prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let before = tcgetattr(terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    terminal.write_all(prompt.as_bytes())?;
    tcsetattr(terminal, OptionalActions::Flush, &silent)?;
    let line = first_line(&mut BufReader::new(terminal));
    tcsetattr(terminal, OptionalActions::Now, &before)?;
    terminal.write_all(b"\n")?;
    line
}

fn first_line(from: &mut impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    from.read_line(&mut line)?;
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("no passphrase was given");
    }
    Ok(Zeroizing::new(text.to_owned()))
}
