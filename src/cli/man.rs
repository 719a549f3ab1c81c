//! Manual pages and completions for the shells, made from the commands and the annotated configuration.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Cli, annotated};

/// One page for each command, and one for the configuration file.
pub fn pages(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    // The pages are named in each other as `postbridge-account-add(1)`; `help` has nothing to add.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory)?;
    fs::write(directory.join("postbridge.toml.5"), configuration().to_roff())?;
    Ok(())
}

/// What a shell reads so that the tab key completes.
pub fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "postbridge", &mut std::io::stdout());
}

/// postbridge.toml(5).
fn configuration() -> Roff {
    let mut page = Roff::new();
    let version = concat!("postbridge ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["postbridge.toml", "5", "", version, ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("postbridge.toml - the configuration of postbridge")]);
    page.control("SH", ["DESCRIPTION"]);
    for section in annotated::sections(annotated::TEXT) {
        if !section.name.is_empty() {
            page.control("SH", [format!("[{}]", section.name).as_str()]);
        }
        words(&mut page, &section.about);
        let mut last = "";
        for key in &section.keys {
            page.control("TP", []);
            let default = if key.has_default { "" } else { "none; such as " };
            let head = format!(" ({}; default {default}{})", key.kind(), key.value);
            page.text([bold(key.name), roman(head)]);
            if key.meaning.is_empty() {
                page.text([roman("See "), bold(last), roman(".")]);
            } else {
                last = key.name;
                words(&mut page, &key.meaning);
            }
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("postbridge"), roman("(1), "), bold("postbridge-config"), roman("(1)")]);
    page
}

fn words(page: &mut Roff, comment: &str) {
    for (at, text) in annotated::paragraph(comment).split("\n\n").enumerate() {
        if at > 0 {
            page.control("PP", []);
        }
        if !text.is_empty() {
            page.text([Inline::Roman(text.to_owned())]);
        }
    }
}
