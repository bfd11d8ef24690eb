//! What a request asks of the Engine.IO endpoint, and the protocol's words for what is wrong with it. Pure.

use http::{Method, StatusCode};

use crate::engine::ids::Id;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By HTTP requests.
    Polling,
    /// Over a websocket.
    Websocket,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Asked {
    /// A session begins.
    Open(Transport),
    /// The client waits for packets.
    Poll(Id),
    /// The client brings packets.
    Push(Id),
    /// A session that polls moves to this websocket.
    Upgrade(Id),
}

/// Why a request is refused. The codes are those of the protocol's reference implementation, which clients show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The transport does not exist, or is switched off.
    Transport,
    /// There is no such session.
    Session,
    /// A session begins with a GET.
    Method,
    /// Anything else.
    Request,
    /// Not version 4.
    Version,
}

impl Refused {
    /// The body.
    pub fn body(self) -> String {
        let (code, message) = match self {
            Refused::Transport => (0, "Transport unknown"),
            Refused::Session => (1, "Session ID unknown"),
            Refused::Method => (2, "Bad handshake method"),
            Refused::Request => (3, "Bad request"),
            Refused::Version => (5, "Unsupported protocol version"),
        };
        format!(r#"{{"code":{code},"message":"{message}"}}"#)
    }

    /// The status.
    pub fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

/// Which transports are offered.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// See [`Transport::Websocket`].
    pub websocket: bool,
    /// See [`Transport::Polling`].
    pub polling: bool,
}

/// Reads a request's method and query.
pub(in crate::engine) fn read(
    method: &Method,
    query: &str,
    wants_websocket: bool,
    offered: Offered,
) -> Result<Asked, Refused> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
    };
    let transport = match value("transport") {
        Some("polling") if offered.polling => Transport::Polling,
        Some("websocket") if offered.websocket => Transport::Websocket,
        _ => return Err(Refused::Transport),
    };
    if value("EIO") != Some("4") {
        // Within a session it is a mistake of the client; before it the client is of another time.
        let is_opening = value("sid").is_none();
        return Err(if is_opening {
            Refused::Version
        } else {
            Refused::Request
        });
    }
    if (transport == Transport::Websocket) != wants_websocket {
        return Err(Refused::Request);
    }
    let Some(sid) = value("sid") else {
        return match *method {
            Method::GET => Ok(Asked::Open(transport)),
            _ => Err(Refused::Method),
        };
    };
    let sid = sid.parse().map_err(|_| Refused::Session)?;
    match (transport, method) {
        (Transport::Polling, &Method::GET) => Ok(Asked::Poll(sid)),
        (Transport::Polling, &Method::POST) => Ok(Asked::Push(sid)),
        (Transport::Websocket, &Method::GET) => Ok(Asked::Upgrade(sid)),
        _ => Err(Refused::Request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AAAAAAAAAAAAAAAAAAAB";

    #[test]
    fn requests() {
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        let sid = Id::numbered(1);
        for (method, query, websocket, expect) in [
            (
                &get,
                "EIO=4&transport=polling",
                false,
                Ok(Asked::Open(Transport::Polling)),
            ),
            (
                &get,
                "transport=websocket&EIO=4",
                true,
                Ok(Asked::Open(Transport::Websocket)),
            ),
            (
                &get,
                "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAB&t=x",
                false,
                Ok(Asked::Poll(sid)),
            ),
            (
                &post,
                "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAB",
                false,
                Ok(Asked::Push(sid)),
            ),
            (
                &get,
                "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAB",
                true,
                Ok(Asked::Upgrade(sid)),
            ),
            (&get, "", false, Err(Refused::Transport)),
            (&get, "EIO=4&transport=tcp", false, Err(Refused::Transport)),
            (&get, "transport=polling", false, Err(Refused::Version)),
            (&get, "EIO=3&transport=polling", false, Err(Refused::Version)),
            (
                &get,
                "EIO=3&transport=polling&sid=AAAAAAAAAAAAAAAAAAAB",
                false,
                Err(Refused::Request),
            ),
            (
                &get,
                "EIO=4&transport=polling&sid=short",
                false,
                Err(Refused::Session),
            ),
            (&post, "EIO=4&transport=polling", false, Err(Refused::Method)),
            (
                &put,
                "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAB",
                false,
                Err(Refused::Request),
            ),
            (&get, "EIO=4&transport=websocket", false, Err(Refused::Request)),
            (&get, "EIO=4&transport=polling", true, Err(Refused::Request)),
        ] {
            let offered = Offered {
                websocket: true,
                polling: true,
            };
            assert_eq!(
                read(method, query, websocket, offered),
                expect,
                "{method} {query}"
            );
        }
        let query = format!("EIO=4&transport=polling&sid={SID}");
        let only = Offered {
            websocket: true,
            polling: false,
        };
        assert_eq!(read(&get, &query, false, only), Err(Refused::Transport));
    }

    #[test]
    fn words() {
        assert_eq!(
            Refused::Session.body(),
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
        assert_eq!(
            Refused::Version.body(),
            r#"{"code":5,"message":"Unsupported protocol version"}"#
        );
    }
}
