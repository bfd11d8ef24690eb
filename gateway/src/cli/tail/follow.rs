//! Following one node, also after it was away.

use std::{convert::Infallible, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::merge::Line;
use crate::{
    cli::{Failure, http},
    http_client::HttpClient,
};

/// A node says something every five seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// Between two tries, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// The longest line; one of more bytes comes from no node.
const LONGEST: usize = 1 << 20;

/// How a node is reached.
pub(super) struct Way<'a> {
    pub(super) url: &'a str,
    pub(super) path: &'a str,
    pub(super) key: &'a str,
    /// Without it there is nothing to see.
    pub(super) is_only: bool,
}

/// What comes of that.
#[derive(Debug)]
pub(super) enum Heard {
    /// What a node says.
    Line(Line),
    /// What is to be said of it.
    Note(String),
}

/// Follows it for ever. A node that is away, or is looked at by too many, is tried again.
///
/// # Errors
/// When the node refuses for good, or cannot be followed at the beginning and is the only one.
pub(super) async fn follow(
    client: &HttpClient,
    way: Way<'_>,
    heard: mpsc::Sender<Heard>,
) -> Result<Infallible, Failure> {
    let [shortest, longest] = PAUSES;
    let (mut pause, mut was_there, mut is_said) = (shortest, false, false);
    loop {
        match http::open(client, way.url, way.path, way.key).await? {
            Ok(body) => {
                (pause, was_there, is_said) = (shortest, true, false);
                let why = read(body, &heard).await;
                say(&heard, format!("{}: {why}; trying again", way.url)).await;
            }
            Err(away) if way.is_only && !was_there => return Err(away),
            Err(away) if !is_said => {
                is_said = true;
                say(&heard, format!("{}; trying again", away.message)).await;
            }
            Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

async fn say(heard: &mpsc::Sender<Heard>, note: String) {
    // Nobody prints any more: it is over.
    let _ = heard.send(Heard::Note(note)).await;
}

/// Passes on what a node says, until it says no more. Why that is.
async fn read(mut body: Incoming, heard: &mpsc::Sender<Heard>) -> String {
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(SILENCE, body.frame()).await {
            Err(_) => return format!("nothing was heard for {} s", SILENCE.as_secs()),
            Ok(None) => return "the node has ended it".to_owned(),
            Ok(Some(Err(error))) => return format!("the connection broke: {error}"),
            Ok(Some(Ok(frame))) => frame,
        };
        rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(line) = next_line(&mut rest) {
            if let Some(line) = Line::read(&line)
                && heard.send(Heard::Line(line)).await.is_err()
            {
                return "nobody reads it".to_owned();
            }
        }
        if rest.len() > LONGEST {
            return "what answers is no Roomcast node".to_owned();
        }
    }
}

fn next_line(rest: &mut BytesMut) -> Option<Bytes> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = rest.split_to(end + 1).freeze();
    Some(line.slice(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pieces() {
        let mut rest = BytesMut::from(&b"one\ntw"[..]);
        assert_eq!(next_line(&mut rest), Some(Bytes::from_static(b"one")));
        assert_eq!(next_line(&mut rest), None);
        rest.extend_from_slice(b"o\n\n");
        assert_eq!(next_line(&mut rest), Some(Bytes::from_static(b"two")));
        assert_eq!(next_line(&mut rest), Some(Bytes::new()));
        assert_eq!(next_line(&mut rest), None);
    }
}
