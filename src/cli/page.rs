//! `postbridge page`: a link to the status page, opened in a browser.

use anyhow::bail;

use super::line::odd;
use crate::config::Config;
use crate::control::{self, Reply, Request, SOCKET};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the link, and open no browser.
    #[arg(long)]
    no_browser: bool,
}

/// The link goes to standard output, all else to standard error.
pub async fn run(args: Args, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    // Without a daemon there is no page, so its state directory is not opened.
    let path = config?.state_dir().join(SOCKET);
    let url = match control::call(&path, &Request::PageLink {}).await {
        Ok(Reply::PageLink { url }) => url,
        Ok(Reply::Refused { why }) => bail!(why),
        Ok(other) => return odd(&other),
        Err(error) => bail!("no daemon answers on {}: {error}", path.display()),
    };
    println!("{}", url.expose());
    eprintln!("It is good once, for five minutes.");
    if !args.no_browser
        && let Err(error) = opener::open_browser(url.expose())
    {
        eprintln!("No browser could be opened ({error}); open the link yourself.");
    }
    Ok(())
}
