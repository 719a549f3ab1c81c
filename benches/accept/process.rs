//! What a server cost: CPU and memory of a process and of all it started, from `/proc`.

use std::collections::HashSet;
use std::fs;

/// `USER_HZ`, the same on every Linux that has `/proc`.
const TICKS_PER_SECOND: f64 = 100.0;

/// `utime stime cutime cstime` are fields 14 to 17 of `/proc/PID/stat`, counted in ticks; the parent
/// is field 4. See proc(5).
struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    Some(Stat { parent: u32::try_from(number(4)?).ok()?, ticks })
}

/// The process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others: Vec<(u32, u32)> =
        pids.filter_map(|pid: u32| Some((pid, stat(pid)?.parent))).collect();
    let mut found = HashSet::from([root]);
    loop {
        let before = others.len();
        others.retain(|&(pid, parent)| !(found.contains(&parent) && found.insert(pid)));
        if others.len() == before {
            return found.into_iter().collect();
        }
    }
}

/// CPU seconds, user and system, used so far; those of children that are gone included.
pub fn cpu_seconds(root: u32) -> f64 {
    let ticks: u64 = tree(root).into_iter().filter_map(|pid| Some(stat(pid)?.ticks)).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// Memory in MB: the resident set of one process; of several their proportional shares, so that what
/// they have in common counts once.
pub fn megabytes(root: u32) -> f64 {
    let kilobytes: u64 = match tree(root).as_slice() {
        [one] => field(&format!("/proc/{one}/status"), "VmRSS:"),
        all => all.iter().map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum(),
    };
    kilobytes as f64 * 1024.0 / 1e6
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
