//! A backend: a plain connection to Redis, on which commands are sent as bytes and answers are read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Blocks its thread; an answer takes ten seconds at most.
pub(crate) struct Backend {
    stream: BufReader<TcpStream>,
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Text(String),
    Number(i64),
    Error(String),
    List(Vec<Said>),
    Nothing,
}

impl Backend {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// As the user of that name, whose password is `pw`.
    pub(crate) fn login(port: u16, user: &str) -> Self {
        let mut backend = Self::connect(port);
        assert_eq!(
            backend.ask(&["AUTH", user, "pw"]),
            Said::Text("OK".into()),
            "{user}"
        );
        backend
    }

    /// Sends one command and waits for its answer.
    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, parts: &[A]) -> Said {
        let mut out = Vec::new();
        encode(&mut out, parts);
        self.write(&out);
        self.read()
    }

    /// Publishes an envelope to a room by the function.
    pub(crate) fn publish(&mut self, room: &str, envelope: impl AsRef<[u8]>) -> Said {
        let key = format!("roomcast:{{{room}}}");
        let parts: [&[u8]; 5] = [
            b"FCALL",
            b"roomcast_publish",
            b"1",
            key.as_bytes(),
            envelope.as_ref(),
        ];
        self.ask(&parts)
    }

    /// Publishes all of them in one write, and reads the answers afterwards.
    pub(crate) fn publish_all<'a>(
        &mut self,
        envelopes: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    ) -> Vec<Said> {
        let mut out = Vec::new();
        let mut sent = 0;
        for (room, envelope) in envelopes {
            let key = format!("roomcast:{{{room}}}");
            let parts: [&[u8]; 5] = [b"FCALL", b"roomcast_publish", b"1", key.as_bytes(), &envelope];
            encode(&mut out, &parts);
            sent += 1;
        }
        self.write(&out);
        (0..sent).map(|_| self.read()).collect()
    }

    /// Listens to a room as anybody may who has the right to.
    pub(crate) fn listen(&mut self, room: &str) {
        let said = self.ask(&["SSUBSCRIBE", &format!("roomcast:{{{room}}}")]);
        assert!(matches!(said, Said::List(_)), "{said:?}");
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer, or the next message of a listener.
    pub(crate) fn read(&mut self) -> Said {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let line = String::from_utf8_lossy(&line);
        let (kind, rest) = line.trim_end().split_at_checked(1).expect("an answer");
        match kind {
            "+" => Said::Text(rest.to_owned()),
            "-" => Said::Error(rest.to_owned()),
            ":" => Said::Number(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Said::Nothing,
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut text).unwrap();
                Said::Text(String::from_utf8_lossy(&text[..text.len() - 2]).into_owned())
            }
            "*" => Said::List((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("not an answer: {line:?}"),
        }
    }
}

impl Said {
    /// The offset and the number of receivers of a publication that was accepted.
    pub(crate) fn accepted(&self) -> Option<(u64, i64)> {
        match self {
            Self::List(parts) => match parts.as_slice() {
                [Self::Text(offset), Self::Number(receivers)] => Some((offset.parse().ok()?, *receivers)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of an error, empty for everything else.
    pub(crate) fn error(&self) -> &str {
        match self {
            Self::Error(error) => error,
            _ => "",
        }
    }
}

fn encode<A: AsRef<[u8]>>(out: &mut Vec<u8>, parts: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        let part = part.as_ref();
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}
