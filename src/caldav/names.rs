//! By which names we may be asked. Pure.
//!
//! RFC 9110 §7.2, §7.4. A web page can have a name of its own that leads to loopback; a browser that asks us
//! by it must hear nothing (DNS rebinding). So whoever asks must say a name that is known to be ours, with
//! the port that it came to.

/// What loopback is called.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// The names of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<Name>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// In lower case; an IPv6 address in its brackets.
    host: String,
    /// `None`: the port that was connected to.
    port: Option<u16>,
}

impl Names {
    /// Loopback's, the machine's, and `further` ones: `calendar.contoso.example`, or with the port that a
    /// program in front of us is asked at.
    pub fn new(machine: &str, further: &[String]) -> Names {
        let further = further.iter().map(String::as_str);
        let names = LOOPBACK.into_iter().chain([machine]).chain(further);
        Names(names.filter_map(Name::parse).collect())
    }

    /// Whether an authority, as it stands in Host or in a URI, is ours at the port that was connected to.
    pub fn have(&self, authority: &str, port: u16) -> bool {
        let Some(asked) = Name::parse(authority) else { return false };
        self.0.iter().any(|name| {
            let port = name.port.unwrap_or(port);
            name.host == asked.host
                && match asked.port {
                    Some(asked) => asked == port,
                    // RFC 9110 §4.2: the default port of its scheme.
                    None => port == 80 || port == 443,
                }
        })
    }

    /// All of them with their ports: for URLs in requests.
    pub fn at(&self, port: u16) -> Vec<String> {
        self.0.iter().map(|name| format!("{}:{}", name.host, name.port.unwrap_or(port))).collect()
    }
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an address in brackets.
            _ if text.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let port = match port {
            None => None,
            Some(port) if port.bytes().all(|octet| octet.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            Some(_) => return None,
        };
        let is_name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fits = match address {
            Some(address) => address.bytes().all(|o| o.is_ascii_hexdigit() || b":.".contains(&o)),
            None => is_name(host),
        };
        fits.then(|| Name { host: host.to_ascii_lowercase(), port })
    }
}

/// Whether a name can be asked for at all.
pub fn is_name(text: &str) -> bool {
    Name::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_at_our_port_are_answered() {
        let further = ["Cal.contoso.example".to_owned(), "dav.contoso.example:443".to_owned()];
        let names = Names::new("laptop.contoso.example", &further);
        for ours in [
            "127.0.0.1:1080",
            "[::1]:1080",
            "localhost:1080",
            "LocalHost:1080",
            "laptop.contoso.example:1080",
            "cal.contoso.example:1080",
            "dav.contoso.example",
            "dav.contoso.example:443",
        ] {
            assert!(names.have(ours, 1080), "{ours}");
        }
        for foreign in [
            "",
            "localhost",
            "localhost:",
            "localhost:80",
            "localhost:1081",
            "localhost:01080x",
            "localhost.:1080",
            "evil.example:1080",
            "localhost.evil.example:1080",
            "user@localhost:1080",
            "localhost:1080@evil.example",
            "127.0.0.2:1080",
            "127.1:1080",
            "0.0.0.0:1080",
            "0x7f000001:1080",
            "::1:1080",
            "[::]:1080",
            "[::1%25lo]:1080",
            "dav.contoso.example:1080",
            "localhost:1080, localhost:1080",
        ] {
            assert!(!names.have(foreign, 1080), "{foreign}");
        }
        assert!(Names::new("laptop", &[]).have("localhost", 443));
        assert!(names.at(1080).contains(&"cal.contoso.example:1080".to_owned()));
        assert!(names.at(1080).contains(&"dav.contoso.example:443".to_owned()));
    }
}
