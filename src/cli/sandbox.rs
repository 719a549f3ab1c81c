//! `postbridge sandbox`: a stand-in for Microsoft 365 on this machine, until Ctrl-C.

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::Context;

use crate::config::Config;
use crate::sandbox::ca::CA_FILE;
use crate::sandbox::{Options, Sandbox};

/// Runs a stand-in for Microsoft 365 (sign-in, Graph mail, faults) on loopback.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address of plain HTTP; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8480)))]
    pub listen: SocketAddr,

    /// Address of HTTPS, under a private CA of the sandbox's own.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)))]
    pub https: SocketAddr,

    /// Mailboxes: addresses, or names at contoso.example.
    #[arg(long, value_name = "NAME", num_args = 1.., default_values_t = [String::from("adele.vance"), String::from("alex.wilber")])]
    pub mailbox: Vec<String>,

    /// The same seed makes the same tenant and user ids.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Sign in without asking: `login_hint`, or the first mailbox.
    #[arg(long)]
    pub automatic: bool,
}

/// `state` is where the CA is kept, so that it is the same at the next start.
pub async fn run(args: Args, state: Option<PathBuf>) -> anyhow::Result<()> {
    let state = state.unwrap_or_else(|| Config::default().state_dir().join("sandbox"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .with_context(|| format!("{} cannot be made", state.display()))?;
    let full =
        |name: String| if name.contains('@') { name } else { format!("{name}@contoso.example") };
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        https: Some(args.https),
        mailboxes: args.mailbox.into_iter().map(full).collect(),
        seed: args.seed,
        automatic: args.automatic,
        state: Some(state.clone()),
    })
    .await
    .with_context(|| {
        let (http, https) = (args.listen, args.https);
        format!("the sandbox cannot start on {http} and {https} (--listen, --https)")
    })?;

    // Before it says that it is there: who reads that may stop it at once.
    let stop = super::asked_to_stop()?;
    let url = sandbox.url();
    println!("Sandbox of Microsoft 365 at {url}");
    println!("  sign-in   {url}/organizations/v2.0/.well-known/openid-configuration");
    println!("  graph     {url}/v1.0");
    println!("  arrivals  {url}/");
    println!("  requests  {url}/_sandbox/requests");
    if let Some(https) = sandbox.https_url() {
        println!("  https     {https}  (CA: {})", state.join(CA_FILE).display());
    }
    println!("  tenant    {}", sandbox.world().tenant_id);
    for user in &sandbox.world().users {
        println!("  mailbox   {}", user.address);
    }
    stop.await;
    Ok(())
}
