//! Whose connection it is: the peer's address, or what trusted proxies say. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies(Box<[IpNet]>);

/// A client, as far as the network knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    ip: IpAddr,
    port: Option<u16>,
}

/// What is counted as one: an IPv4 address, or the /64 network of an IPv6 address, which is what one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> TrustedProxies {
        TrustedProxies(networks.into_iter().collect())
    }

    /// Reads `10.0.0.0/8`, `::1` and the like.
    pub fn parse_network(text: &str) -> Option<IpNet> {
        let text = text.trim();
        text.parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }

    /// Whose connection it is.
    ///
    /// A peer that is no trusted proxy speaks for itself. Of `X-Forwarded-For` the last entry that is no trusted proxy
    /// counts: what stands before it is the client's own claim. Where an entry cannot be read, the proxy that passed it
    /// on is the last one that is known.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        let mut known = ClientAddress {
            ip: peer.ip().to_canonical(),
            port: Some(peer.port()),
        };
        if !self.is_trusted(known.ip) {
            return known;
        }
        for line in headers.get_all(FORWARDED).iter().rev() {
            // Split as bytes: junk in an earlier entry must not hide a later one.
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                let Some(said) = std::str::from_utf8(entry).ok().and_then(read) else {
                    return known;
                };
                known = said;
                if !self.is_trusted(said.ip) {
                    return known;
                }
            }
        }
        known
    }

    fn is_trusted(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

impl ClientAddress {
    /// What it is counted as.
    pub fn network(&self) -> Network {
        match self.ip {
            IpAddr::V4(_) => Network(self.ip),
            IpAddr::V6(ip) => Network(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(peer: SocketAddr) -> ClientAddress {
        ClientAddress {
            ip: peer.ip().to_canonical(),
            port: Some(peer.port()),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

/// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn read(entry: &str) -> Option<ClientAddress> {
    let entry = entry.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map_or_else(|| entry.parse().ok(), |inner| inner.parse().ok().map(IpAddr::V6));
    if let Some(ip) = bare {
        let ip = ip.to_canonical();
        return Some(ClientAddress { ip, port: None });
    }
    entry.parse().ok().map(|address: SocketAddr| address.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn proxies(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::new(networks.iter().map(|n| TrustedProxies::parse_network(n).unwrap()))
    }

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies(trusted)
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn who_is_believed() {
        let inside: &[&str] = &["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        for (trusted, peer, lines, expected) in [
            // Nobody is trusted: the header is the client's own claim.
            (
                &[] as &[&str],
                "10.1.1.1:5",
                &["1.2.3.4"] as &[&str],
                "10.1.1.1:5",
            ),
            (inside, "9.9.9.9:5", &["1.2.3.4"], "9.9.9.9:5"),
            // A trusted peer.
            (inside, "10.1.1.1:5", &[], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["1.2.3.4"], "1.2.3.4"),
            (inside, "127.0.0.1:5", &[" 1.2.3.4:80 "], "1.2.3.4:80"),
            (inside, "[fd00::7]:5", &["2001:db8::1"], "2001:db8::1"),
            (inside, "[::ffff:10.1.1.1]:5", &["1.2.3.4"], "1.2.3.4"),
            (inside, "10.1.1.1:5", &["[2001:db8::1]:80"], "[2001:db8::1]:80"),
            (inside, "10.1.1.1:5", &["[2001:db8::1]"], "2001:db8::1"),
            (inside, "10.1.1.1:5", &["::ffff:1.2.3.4"], "1.2.3.4"),
            (inside, "10.1.1.1:5", &["[::ffff:1.2.3.4]:7"], "1.2.3.4:7"),
            // From the right, over trusted proxies, to the first that is none.
            (inside, "10.1.1.1:5", &["6.6.6.6, 1.2.3.4, 10.2.2.2"], "1.2.3.4"),
            (
                inside,
                "10.1.1.1:5",
                &["6.6.6.6", "1.2.3.4,10.2.2.2", "10.3.3.3"],
                "1.2.3.4",
            ),
            (inside, "10.1.1.1:5", &["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
            // Junk: the last that is known.
            (inside, "10.1.1.1:5", &[""], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["unknown"], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["1.2.3.4, nonsense"], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["1.2.3.4, nonsense, 10.2.2.2"], "10.2.2.2"),
            (inside, "10.1.1.1:5", &["nonsense, 1.2.3.4"], "1.2.3.4"),
            (inside, "10.1.1.1:5", &["1.2.3.4,"], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["ünï, 1.2.3.4"], "1.2.3.4"),
            (inside, "10.1.1.1:5", &["1.2.3.4:99999"], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["[1.2.3.4]"], "10.1.1.1:5"),
            (inside, "10.1.1.1:5", &["[2001:db8::1"], "10.1.1.1:5"),
        ] {
            assert_eq!(
                client(trusted, peer, lines),
                expected,
                "{trusted:?} {peer} {lines:?}"
            );
        }
    }

    #[test]
    fn what_counts_as_one() {
        let network = |peer: &str| {
            let peer: SocketAddr = peer.parse().unwrap();
            ClientAddress::from(peer).network().to_string()
        };
        for (peer, expected) in [
            ("1.2.3.4:5", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
            ("[2001:db8:1:2:3:4:5:6]:7", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::]:7", "2001:db8:1:2::/64"),
            ("[2001:db8:1:3::]:7", "2001:db8:1:3::/64"),
            ("[::1]:7", "::/64"),
        ] {
            assert_eq!(network(peer), expected, "{peer}");
        }
    }

    #[test]
    fn networks_are_read() {
        for (text, is_network) in [
            ("10.0.0.0/8", true),
            ("10.0.0.1", true),
            (" ::1 ", true),
            ("fd00::/8", true),
            ("0.0.0.0/0", true),
            ("10.0.0.0/33", false),
            ("proxy.example", false),
            ("", false),
            ("10.0.0.1:80", false),
        ] {
            assert_eq!(
                TrustedProxies::parse_network(text).is_some(),
                is_network,
                "{text:?}"
            );
        }
    }

    proptest! {
        /// Whatever a client writes in front, the address that our own proxy appended counts.
        #[test]
        fn a_client_cannot_choose_its_address(
            claim in prop::collection::vec(any::<u8>().prop_filter("no header", |b| *b >= 32 && *b != 127), 0..60),
            ip in any::<std::net::Ipv4Addr>().prop_filter("no proxy", |ip| ip.octets()[0] != 10),
        ) {
            let mut line = claim;
            line.extend(format!(",{ip}").bytes());
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED, HeaderValue::from_bytes(&line).unwrap());
            let found = proxies(&["10.0.0.0/8"]).client("10.0.0.1:5".parse().unwrap(), &headers);
            prop_assert_eq!(found.to_string(), ip.to_string());
        }
    }
}
