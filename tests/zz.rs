#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod common;
use common::COLLEAGUE;
use common::daemon::*;
use std::process::Command;
use std::time::Instant;
#[test]
fn t() {
    let site = Site::new();
    for n in [2, 3, 4] {
        let daemon = site.command(&["serve"]);
        let mut traced = Command::new("strace");
        traced.args(["-D", "-f", "-qq", "-y", "-o", &format!("/tmp/zz.{n}")]);
        traced.args(["-e", "trace=fsync", "-e", &format!("inject=fsync:signal=KILL:when={n}")]);
        traced.arg(daemon.get_program()).args(daemon.get_args()).env_remove("RUST_LOG");
        traced.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let t = Instant::now();
        let mut d = Daemon::try_start(&mut traced).unwrap_or_else(|d| d);
        eprintln!("start {:?} ended {}", t.elapsed(), d.has_ended());
        let Ok(mut c) = Client::connect(d.address, &site.password) else { continue };
        for k in 0..12 {
            let t = Instant::now();
            let r = c.submit(&Mail::new(
                &format!("a{n}{k}"),
                &[COLLEAGUE],
                &[],
                if k % 2 == 0 { 66_000 } else { 132_000 },
            ));
            eprintln!("{k} {r:?} {:?}", t.elapsed());
            if r.is_err() {
                break;
            }
        }
        eprintln!("ended {}", d.has_ended());
    }
}
