//! What a configuration asks of the machine, looked at without changing anything: what its text alone
//! cannot tell.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access;

use crate::app::StartError;
use crate::config::Config;
use crate::store::OpenError;
use crate::tls;

/// Everything that keeps the bridge from starting with this configuration: the key, its value, and what
/// to do about it, a sentence for each.
pub fn faults(config: &Config) -> Vec<String> {
    let mut faults = faults_of_text(config);
    faults.extend(state_directory(&config.state_dir()));
    faults
}

/// The same, without the state directory.
pub fn faults_of_text(config: &Config) -> Vec<String> {
    let mut faults = addresses_twice(&addresses(config));
    faults.extend(key_pair(config));
    faults.extend(report_command(config));
    if config.entra.is_none() {
        faults.push(StartError::NotConfigured.to_string());
    }
    faults
}

/// All that is listened on, with the key that says so.
pub fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let (smtp, caldav) = (&config.smtp, &config.caldav);
    let clear = smtp.clear.iter().map(|one| *one.get_ref()).collect();
    [
        ("smtp.starttls", smtp.starttls.clone()),
        ("smtp.implicit_tls", smtp.implicit_tls.clone()),
        ("smtp.clear", clear),
        ("caldav.listen", caldav.clear()),
        ("caldav.tls", caldav.tls.clone()),
        ("page.listen", config.page.addresses()),
    ]
    .into_iter()
    .flat_map(|(key, addresses)| addresses.into_iter().map(move |address| (key, address)))
    .collect()
}

/// Two listeners of one address, or one of all addresses beside another of that port.
fn addresses_twice(all: &[(&'static str, SocketAddr)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, (key, address)) in all.iter().enumerate().filter(|(_, (_, one))| one.port() != 0) {
        let same = |(_, other): &&(&str, SocketAddr)| {
            other.port() == address.port()
                && other.is_ipv4() == address.is_ipv4()
                && (other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        if let Some((other_key, other)) = all.iter().take(at).find(same) {
            faults.push(format!(
                "{address} in {key} is taken by {other} in {other_key}: give one of them another port"
            ));
        }
    }
    faults
}

fn key_pair(config: &Config) -> Option<String> {
    let (certificate, key) = (config.smtp.certificate.as_ref()?, config.smtp.key.as_ref()?);
    let error = tls::server(certificate, key.get_ref()).err()?;
    Some(format!(
        "smtp.certificate and smtp.key cannot be used: {error}; give PEM files that this user can read, the \
         key being that of the first certificate"
    ))
}

fn report_command(config: &Config) -> Option<String> {
    let program = config.report.command.first()?;
    let runs = rustix::fs::access(program, Access::EXEC_OK).map_err(io::Error::from);
    let why = match (fs::metadata(program), runs) {
        (Err(error), _) | (_, Err(error)) => error.to_string(),
        (Ok(found), _) if !found.is_file() => "it is no file".to_owned(),
        _ => return None,
    };
    Some(format!(
        "report.command = {program:?} cannot be run: {why}; give the full path of a program that this user \
         may execute"
    ))
}

/// Whether the state directory is one, or could be made.
pub fn state_directory(path: &Path) -> Option<String> {
    let unusable = |source| Some(OpenError::Unusable { path: path.to_owned(), source }.to_string());
    let writable = |directory: &Path| {
        rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
    };
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => unusable(io::ErrorKind::NotADirectory.into()),
        Ok(found) if found.mode() & 0o077 != 0 => {
            let mode = found.mode() & 0o7777;
            Some(OpenError::Exposed { path: path.to_owned(), mode }.to_string())
        }
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            Some(OpenError::Foreign { path: path.to_owned(), owner: found.uid() }.to_string())
        }
        Ok(_) => writable(path).err().and_then(unusable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // It is made at the first start, below what there is.
            let there = path.ancestors().skip(1).find(|above| above.exists())?;
            let error = writable(there).err()?;
            Some(format!(
                "{} cannot be made, since {} cannot be written: {error}; set state_dir to another place",
                path.display(),
                there.display()
            ))
        }
        Err(error) => unusable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_once_whatever_it_is_for() {
        let taken = |all: &[&str]| {
            let all: Vec<_> = all.iter().map(|one| ("smtp.clear", one.parse().unwrap())).collect();
            addresses_twice(&all).len()
        };
        assert_eq!(taken(&["127.0.0.1:25", "[::1]:25", "127.0.0.2:25", "127.0.0.1:26"]), 0);
        assert_eq!(taken(&["127.0.0.1:25", "127.0.0.1:25"]), 1);
        assert_eq!(taken(&["127.0.0.1:25", "0.0.0.0:25"]), 1);
        assert_eq!(taken(&["0.0.0.0:25", "[::]:25"]), 0);
        // A free port each.
        assert_eq!(taken(&["127.0.0.1:0", "127.0.0.1:0"]), 0);
    }
}
