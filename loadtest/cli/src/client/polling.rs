//! Socket.IO by long polling, over the HTTP client that goose gives each user: one request waits for packets, and at most
//! one other brings some.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loadtest::Event;
use loadtest::codec::{EnginePacket, Kind, Packet};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Door, Sample, admitted};
use crate::plan::Seat;

/// From the first request to the answer of the last subscription.
const DEADLINE: Duration = Duration::from_secs(10);
/// Events that may wait to be fetched; more end the client, as with the other transport.
const QUEUE: usize = 65_536;
/// What separates packets in one HTTP body.
const BETWEEN: char = '\u{1e}';

pub(crate) struct Polling {
    link: Arc<Link>,
    events: mpsc::Receiver<Result<Event, String>>,
    /// Owns the one task; aborts it on drop.
    _task: JoinSet<()>,
}

/// What writing and reading share.
struct Link {
    http: reqwest::Client,
    /// With the session's id.
    url: String,
    /// A server ends a session that posts twice at a time.
    posting: Mutex<()>,
    samples: mpsc::Sender<Sample>,
    /// After each poll, in milliseconds.
    pause: AtomicU64,
    heartbeat: Duration,
}

impl Polling {
    pub(super) async fn open(
        door: &Door,
        token: &str,
        seat: &Seat,
        http: reqwest::Client,
        samples: mpsc::Sender<Sample>,
    ) -> Result<Self, String> {
        let opened = async {
            let url = format!("{}{}?EIO=4&transport=polling", door.target, door.path);
            let body = text(http.get(&url)).await?;
            let open = EnginePacket::decode(&body).map_err(|error| error.to_string())?;
            let EnginePacket::Open {
                sid,
                ping_interval_ms,
                ping_timeout_ms,
                ..
            } = open
            else {
                return Err("the first packet is no handshake".to_owned());
            };
            let link = Arc::new(Link {
                http,
                url: format!("{url}&sid={sid}"),
                posting: Mutex::new(()),
                samples,
                pause: AtomicU64::new(0),
                heartbeat: Duration::from_millis(ping_interval_ms.saturating_add(ping_timeout_ms)),
            });
            let early = link.enter(token, seat).await?;
            Ok((link, early))
        };
        let (link, early) = timeout(DEADLINE, opened)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {DEADLINE:?}")))?;
        let (sender, events) = mpsc::channel(QUEUE);
        for event in early {
            let _has_room = sender.try_send(Ok(event));
        }
        let mut task = JoinSet::new();
        task.spawn(read(Arc::clone(&link), sender));
        Ok(Self {
            link,
            events,
            _task: task,
        })
    }

    pub(super) async fn next(&mut self) -> Result<Event, String> {
        let next = self.events.recv().await;
        next.unwrap_or_else(|| Err("transport closed".to_owned()))
    }

    pub(super) async fn emit(&self, event: &str, data: Value) -> Result<(), String> {
        let packet = event_packet(event, &data, None);
        self.link.post("packet", packet).await
    }

    pub(super) fn read_slowly(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.link.pause.store(pause, Ordering::Relaxed);
    }

    pub(super) async fn close(self) {
        let goodbye = Packet::new(Kind::Disconnect, "/").encode();
        let both = format!("4{goodbye}{BETWEEN}1");
        let _late = timeout(Duration::from_secs(1), self.link.post("close", both)).await;
    }
}

impl Link {
    /// Asks for the namespace and for the rooms. Answers with the events that came meanwhile.
    async fn enter(&self, token: &str, seat: &Seat) -> Result<VecDeque<Event>, String> {
        let mut early = VecDeque::new();
        let mut connect = Packet::new(Kind::Connect, "/");
        connect.data = Some(json!({ "token": token }).to_string());
        self.post("packet", format!("4{}", connect.encode())).await?;
        let granted = self.wait_for(&mut early, |packet| match packet.kind {
            Kind::Connect => Some(Ok(())),
            Kind::ConnectError => {
                let value = packet.value().unwrap_or_default();
                let message = value
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason given");
                Some(Err(format!("refused: {message}")))
            }
            _other => None,
        });
        granted.await?;
        for (number, (event, arg)) in (0..).zip(&seat.subscriptions) {
            let packet = event_packet(event, &json!(arg), Some(number));
            self.post("packet", packet).await?;
            let answered = self.wait_for(&mut early, |packet| {
                let is_answer = packet.kind == Kind::Ack && packet.ack == Some(number);
                is_answer.then(|| admitted(event, &packet.arguments().unwrap_or_default()))
            });
            answered.await?;
        }
        Ok(early)
    }

    /// Polls until a packet is the one.
    async fn wait_for(
        &self,
        early: &mut VecDeque<Event>,
        wanted: impl Fn(&Packet) -> Option<Result<(), String>>,
    ) -> Result<(), String> {
        loop {
            let mut found = None;
            for packet in self.poll().await? {
                match wanted(&packet) {
                    Some(answer) => found = Some(answer),
                    None => early.extend(event(&packet)),
                }
            }
            if let Some(answer) = found {
                return answer;
            }
        }
    }

    /// The packets of one poll. A ping is answered here.
    async fn poll(&self) -> Result<Vec<Packet>, String> {
        let request = self.http.get(&self.url).timeout(self.heartbeat);
        let body = text(request).await?;
        let mut packets = Vec::new();
        for part in body.split(BETWEEN) {
            match EnginePacket::decode(part).map_err(|error| error.to_string())? {
                EnginePacket::Message(packet) => {
                    packets.push(Packet::decode(packet).map_err(|error| error.to_string())?);
                }
                EnginePacket::Ping => self.post("pong", EnginePacket::Pong.encode()).await?,
                EnginePacket::Noop => {}
                EnginePacket::Close => return Err("transport closed".to_owned()),
                other => return Err(format!("unexpected {other:?}")),
            }
        }
        Ok(packets)
    }

    async fn post(&self, name: &'static str, body: String) -> Result<(), String> {
        let _one_at_a_time = self.posting.lock().await;
        let began = Instant::now();
        let posted = text(self.http.post(&self.url).timeout(DEADLINE).body(body)).await;
        // When too many wait, one is missing in the statistics of goose.
        let _full = self.samples.try_send(Sample {
            name,
            took: began.elapsed(),
            error: posted.as_ref().err().cloned(),
        });
        posted.map(|_ok| ())
    }
}

/// An HTTP client for one user, whose cookies lead it back to its node. It is not told of the machine's certificates, which
/// it would read anew for each user, and does not need.
pub(crate) fn with_cookies() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .cookie_store(true)
        .no_proxy()
        .tls_certs_only([])
}

/// The task: polls until the session is over.
async fn read(link: Arc<Link>, events: mpsc::Sender<Result<Event, String>>) {
    loop {
        let packets = match link.poll().await {
            Ok(packets) => packets,
            Err(reason) => {
                let _gone = events.send(Err(reason)).await;
                return;
            }
        };
        for packet in packets {
            let passed_on = match packet.kind {
                Kind::Event => event(&packet).map_or(Ok(()), |event| events.try_send(Ok(event))),
                Kind::Disconnect => events.try_send(Err("disconnected by the server".to_owned())),
                _other => Ok(()),
            };
            if passed_on.is_err() {
                return;
            }
        }
        match link.pause.load(Ordering::Relaxed) {
            0 => {}
            pause => tokio::time::sleep(Duration::from_millis(pause)).await,
        }
    }
}

async fn text(request: reqwest::RequestBuilder) -> Result<String, String> {
    let answer = request.send().await.map_err(|error| reason(&error))?;
    if !answer.status().is_success() {
        return Err(format!("HTTP status {}", answer.status().as_u16()));
    }
    answer.text().await.map_err(|error| reason(&error))
}

/// Without the URL, which has the session's id in it.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "timeout".to_owned()
    } else if error.is_connect() {
        "the TCP connection failed".to_owned()
    } else {
        "transport closed".to_owned()
    }
}

fn event_packet(event: &str, data: &Value, ack: Option<u64>) -> String {
    let mut packet = Packet::new(Kind::Event, "/");
    packet.ack = ack;
    packet.data = Some(json!([event, data]).to_string());
    format!("4{}", packet.encode())
}

fn event(packet: &Packet) -> Option<Event> {
    if packet.kind != Kind::Event {
        return None;
    }
    let mut values = packet.arguments().ok()?.into_iter();
    let Some(Value::String(name)) = values.next() else {
        return None;
    };
    Some(Event {
        name,
        args: values.collect(),
        attachments: Vec::new(),
        ack: packet.ack,
    })
}
