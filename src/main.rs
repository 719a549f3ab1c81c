//! The thin binary: sets the process up, reads the command line, and gives the exit status.

use std::process::ExitCode;

use clap::Parser;
use postbridge::cli::{self, Cli};

fn main() -> ExitCode {
    // Whatever is made from here on is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // One TLS provider for the whole process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let sendmail = cli::sendmail::called(std::env::args_os());
    let cli = if sendmail.is_some() { None } else { Some(Cli::parse()) };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postbridge: the runtime cannot be started: {error}");
            return ExitCode::from(cli::exit::FAILED);
        }
    };
    let code = runtime.block_on(async {
        match cli {
            Some(cli) => cli::run(cli).await,
            None => cli::sendmail::run(sendmail.unwrap_or_default()).await,
        }
    });
    // What still runs after the drain is not waited for.
    runtime.shutdown_background();
    code
}
