//! The broker's URL. Pure; no error quotes it, since it may hold a password.

use lapin::uri::{AMQPAuthority, AMQPUri};

/// How often the broker is to say that it lives, in seconds, where the URL says nothing else. Twice that without a word is
/// the end of a link.
const HEARTBEAT: u16 = 10;

const EXPECTED: &str = "a URL such as amqp://user:password@host:5672/vhost, or amqps://";

/// What is wrong with it.
pub(in super::super) fn check(url: &str) -> Result<(), &'static str> {
    parse(url).map(|_| ())
}

/// The URL with what is ours to decide. Without a vhost, or with an empty one, it is `/`.
pub(super) fn parse(url: &str) -> Result<AMQPUri, &'static str> {
    // The library takes what it cannot read for localhost.
    let after_scheme = url.split_once("://").ok_or(EXPECTED)?.1;
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.starts_with('[') {
        return Err("a host with a name, or an IPv4 address");
    }
    if host.is_empty() || host.starts_with(':') {
        return Err(EXPECTED);
    }
    let mut uri: AMQPUri = url.parse().map_err(|_| EXPECTED)?;
    let AMQPAuthority { host: found, .. } = &uri.authority;
    if !found.eq_ignore_ascii_case(host.split(':').next().unwrap_or_default()) {
        return Err(EXPECTED);
    }
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    if uri.vhost.len() > 255 {
        return Err("a vhost of at most 255 bytes");
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    if uri.query.heartbeat == Some(0) {
        return Err("a heartbeat above 0, without which a dead connection is never noticed");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who() {
        for (url, host, port, user, password, vhost) in [
            ("amqp://h", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/", "h", 5672, "guest", "guest", "/"),
            ("amqp://h/%2f", "h", 5672, "guest", "guest", "/"),
            (
                "amqps://u:p%40ss@mq.example.com/crm",
                "mq.example.com",
                5671,
                "u",
                "p@ss",
                "crm",
            ),
            (
                "amqp://u:p@10.0.0.1:1234/a%2Fb?heartbeat=3",
                "10.0.0.1",
                1234,
                "u",
                "p",
                "a/b",
            ),
            ("amqp://Rabbit:99", "Rabbit", 99, "guest", "guest", "/"),
        ] {
            let uri = parse(url).unwrap();
            let authority = &uri.authority;
            assert_eq!(
                (
                    &*authority.host.to_ascii_lowercase(),
                    authority.port,
                    &*authority.userinfo.username,
                    &*authority.userinfo.password,
                    &*uri.vhost
                ),
                (&*host.to_ascii_lowercase(), port, user, password, vhost),
                "{url}"
            );
        }
        assert_eq!(parse("amqp://h").unwrap().query.heartbeat, Some(HEARTBEAT));
        assert_eq!(parse("amqp://h?heartbeat=3").unwrap().query.heartbeat, Some(3));
    }

    #[test]
    fn what_is_no_url_is_not_quoted() {
        for url in [
            "",
            "rabbit",
            "http://u:secret@h",
            "amqp://",
            "amqp://u:secret@",
            "amqp://u:secret@[::1]:5672",
            "amqp://u:secret@:5672",
            "amqp://u:secret@h:99999",
            "amqp://u:secret@h?heartbeat=0",
            "amqp://u:secret@h?heartbeat=x",
            "amqp:h",
            "amqp://u:sec/ret@h",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!error.contains("secret"), "{url}: {error}");
        }
        assert!(parse(&format!("amqp://h/{}", "x".repeat(256))).is_err());
    }
}
