//! Events that ask each socket for an answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use socketioxide::{AckError, SocketError};
use socketioxide_core::{Value as Raw, adapter::SocketEmitter, packet::Packet as SioPacket};

use super::{NAMESPACE, Packet, Sockets, addressed, raw};

type Answers = <socketioxide::adapter::Emitter as SocketEmitter>::AckStream;

/// The answers of the sockets that were asked, as they come. Ends with the last of them, or with the time that they
/// were given.
pub struct Asked {
    answers: Option<Pin<Box<Answers>>>,
    count: usize,
}

/// What became of the question to one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with these arguments.
    Answer(Packet),
    /// It did not answer in time, or is gone.
    Silence,
    /// Its queue was full: it was not asked.
    Full,
}

impl Asked {
    /// How many sockets were asked, those with a full queue included.
    pub fn socket_count(&self) -> usize {
        self.count
    }
}

impl Stream for Asked {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(answers) = &mut self.answers else {
            return Poll::Ready(None);
        };
        answers.as_mut().poll_next(cx).map(|next| {
            next.map(|(_, answer)| match answer {
                Ok(Raw::Str(text, attachments)) => Outcome::Answer(Packet {
                    text: text.as_str().to_owned(),
                    attachments: attachments.map(Into::into).unwrap_or_default(),
                }),
                Err(AckError::Socket(SocketError::InternalChannelFull)) => Outcome::Full,
                Ok(Raw::Bytes(_)) | Err(_) => Outcome::Silence,
            })
        })
    }
}

impl Sockets {
    /// Sends an event to everybody in one of `rooms` and in none of `except` (rooms or socket ids), and asks each for
    /// an answer within `timeout`.
    pub fn ask<'a>(
        &self,
        rooms: impl Iterator<Item = &'a str> + Clone,
        except: &[String],
        packet: Packet,
        timeout: Duration,
    ) -> Asked {
        self.read().note(rooms.clone(), self.now());
        let packet = SioPacket::event(NAMESPACE, raw(packet));
        let asked = self.0.adapter.get().map(|adapter| {
            adapter
                .local
                .broadcast_with_ack(packet, addressed(rooms, except), Some(timeout))
        });
        match asked {
            Some((answers, count)) => Asked {
                answers: Some(Box::pin(answers)),
                count: count as usize,
            },
            None => Asked {
                answers: None,
                count: 0,
            },
        }
    }
}
