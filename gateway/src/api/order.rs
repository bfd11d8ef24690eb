//! Orders to sockets wherever they are: into rooms, out of rooms, and away.

use adapter_redis::{Answer, Answers, MAX_NAME_BYTES, MAX_ROOMS, NodeId, Question, RoomName, Target};
use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{Api, Problem, body, code, document::About};

/// More than the longest order that is allowed: 128 names of 256 bytes, each byte escaped.
const MAX_BYTES: usize = 256 * 1024;
const DEFAULT_REASON: &str = "api";

/// What became of an order.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Obeyed {
    /// On how many sockets it was carried out.
    sockets: u64,
    /// On how many nodes there was at least one.
    nodes: u64,
    /// Whether every known node answered; false also when the bus is away.
    complete: bool,
    /// The known nodes that did not answer.
    missing: Vec<String>,
}

/// Ends connections. Exactly one of `user`, `session` and `room` says whose.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    /// All sockets of a user.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    user: Option<String>,
    /// One socket, by its id.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    session: Option<String>,
    /// Everybody in a room.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    room: Option<String>,
    /// For logs: why.
    #[serde(default = "default_reason")]
    #[schema(default = "api", min_length = 1, max_length = 256)]
    reason: String,
    /// Whether clients come back by themselves: their transport is closed then, instead of their session.
    #[serde(default)]
    #[schema(default = false)]
    reconnect: bool,
}

/// Which sockets go into or out of which rooms. Exactly one of `user`, `session` and `room` says whose.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    /// All sockets of a user.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    user: Option<String>,
    /// One socket, by its id.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    session: Option<String>,
    /// Everybody in a room.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 256)]
    room: Option<String>,
    /// The rooms: 1 to 128.
    #[schema(min_items = 1, max_items = 128)]
    rooms: Vec<String>,
}

/// `POST /api/v1/disconnect`
pub(super) async fn disconnect(State(api): State<Api>, request: Request) -> Result<Json<Obeyed>, Problem> {
    let order: Disconnect = read(request).await?;
    obey(&api, order.question()?).await
}

/// `POST /api/v1/join`
pub(super) async fn join(State(api): State<Api>, request: Request) -> Result<Json<Obeyed>, Problem> {
    let (target, rooms) = read::<Move>(request).await?.parts()?;
    obey(&api, Question::Join { target, rooms }).await
}

/// `POST /api/v1/leave`
pub(super) async fn leave(State(api): State<Api>, request: Request) -> Result<Json<Obeyed>, Problem> {
    let (target, rooms) = read::<Move>(request).await?.parts()?;
    obey(&api, Question::Leave { target, rooms }).await
}

pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let body = body::read(request, MAX_BYTES).await?;
    body::object(&body).map_err(|error| Problem::new(&code::BAD_ORDER, error))
}

async fn obey(api: &Api, question: Question) -> Result<Json<Obeyed>, Problem> {
    Ok(Json(Obeyed::from(api.cluster.ask(question).await)))
}

impl Obeyed {
    /// For the document of the API.
    pub(super) fn example() -> Obeyed {
        Obeyed {
            sockets: 3,
            nodes: 2,
            complete: true,
            missing: Vec::new(),
        }
    }
}

impl From<Answers> for Obeyed {
    fn from(answers: Answers) -> Obeyed {
        Obeyed {
            sockets: sockets(&answers),
            nodes: nodes(&answers),
            complete: answers.complete,
            missing: names(&answers.missing),
        }
    }
}

/// How many sockets there are on all nodes that answered.
pub(super) fn sockets(answers: &Answers) -> u64 {
    let counts = answers.answers.values().map(|Answer { count, .. }| *count);
    counts.fold(0, u64::saturating_add)
}

/// On how many nodes there is at least one.
pub(super) fn nodes(answers: &Answers) -> u64 {
    answers.answers.values().filter(|answer| answer.count > 0).count() as u64
}

pub(super) fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|node| node.as_str().to_owned()).collect()
}

impl Disconnect {
    fn question(self) -> Result<Question, Problem> {
        if !is_name(&self.reason) {
            let detail = format!("`reason` must be 1 to {MAX_NAME_BYTES} bytes without control characters");
            return Err(Problem::new(&code::BAD_REASON, detail));
        }
        Ok(Question::Disconnect {
            target: target(self.user, self.session, self.room)?,
            reason: self.reason,
            reconnect: self.reconnect,
        })
    }
}

impl Move {
    fn parts(self) -> Result<(Target, Vec<RoomName>), Problem> {
        let target = target(self.user, self.session, self.room)?;
        match self.rooms.len() {
            0 => {
                let detail = "`rooms` names no room: set at least one";
                return Err(Problem::new(&code::NO_ROOM, detail));
            }
            1..=MAX_ROOMS => {}
            count => {
                let detail =
                    format!("`rooms` names {count} rooms; the limit is {MAX_ROOMS}: send several orders");
                return Err(Problem::new(&code::TOO_MANY_ROOMS, detail));
            }
        }
        let rooms: Result<Vec<_>, _> = self
            .rooms
            .iter()
            .map(|name| room("an item of `rooms`", name))
            .map(|name| name.and_then(unreserved))
            .collect();
        Ok((target, rooms?))
    }
}

/// What a room is called, or why it cannot be; `what` names the place of the name.
pub(super) fn room(what: &str, name: &str) -> Result<RoomName, Problem> {
    RoomName::new(name)
        .map_err(|error| Problem::new(&code::BAD_ROOM, format!("{what} is not a room name: {error}")))
}

/// A room that clients may be in.
fn unreserved(room: RoomName) -> Result<RoomName, Problem> {
    if room.is_reserved() {
        let detail = "an item of `rooms` is a room that answers of backends go to; nobody can be in it";
        return Err(Problem::new(&code::BAD_ROOM, detail));
    }
    Ok(room)
}

/// Whether a text can be the id of a user or of a socket, or a reason.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn target(
    user: Option<String>,
    session: Option<String>,
    room_name: Option<String>,
) -> Result<Target, Problem> {
    let named = |field: &str, id: String| match is_name(&id) {
        true => Ok(id),
        false => {
            let detail = format!("`{field}` must be 1 to {MAX_NAME_BYTES} bytes without control characters");
            Err(Problem::new(&code::BAD_TARGET, detail))
        }
    };
    match (user, session, room_name) {
        (Some(user), None, None) => named("user", user).map(Target::User),
        (None, Some(session), None) => named("session", session).map(Target::Session),
        (None, None, Some(name)) => room("`room`", &name).map(Target::Room),
        (None, None, None) => Err(Problem::new(
            &code::BAD_TARGET,
            "nobody is named: set one of `user`, `session` and `room`",
        )),
        _ => Err(Problem::new(
            &code::BAD_TARGET,
            "more than one of `user`, `session` and `room` is there: keep one",
        )),
    }
}

fn default_reason() -> String {
    DEFAULT_REASON.to_owned()
}

/// A field that is there has a value: `null` is not the same as leaving it out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

pub(super) fn about_disconnect() -> About {
    about("disconnect", "End connections")
        .text(
            "Stock clients stay away after it, unless `reconnect` is set. Counted are the sockets whose end has begun.",
        )
        .body::<Disconnect>(r#"{"user":"42","reason":"the account was closed","reconnect":false}"#)
        .code(&code::BAD_REASON)
}

pub(super) fn about_join() -> About {
    about("join", "Put sockets into rooms")
        .text("Answers when they are in them. The policy is not asked: the key is trusted.")
        .body::<Move>(r#"{"user":"42","rooms":["team:7"]}"#)
        .code(&code::NO_ROOM)
        .code(&code::TOO_MANY_ROOMS)
}

pub(super) fn about_leave() -> About {
    about("leave", "Take sockets out of rooms")
        .text("Those that were not in a room are counted all the same.")
        .body::<Move>(r#"{"room":"team:7","rooms":["team:7"]}"#)
        .code(&code::NO_ROOM)
        .code(&code::TOO_MANY_ROOMS)
}

fn about(id: &'static str, summary: &'static str) -> About {
    About::new(id, summary)
        .answer(Obeyed::example())
        .code(&code::TOO_LARGE)
        .code(&code::BAD_ORDER)
        .code(&code::BAD_TARGET)
        .code(&code::BAD_ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disconnect(text: &str) -> Result<Question, String> {
        let order: Disconnect = serde_json::from_str(text).map_err(|error| error.to_string())?;
        order.question().map_err(|problem| format!("{problem:?}"))
    }

    fn moved(text: &str) -> Result<(Target, usize), String> {
        let order: Move = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (target, rooms) = order.parts().map_err(|problem| format!("{problem:?}"))?;
        Ok((target, rooms.len()))
    }

    #[test]
    fn who_is_meant() {
        let room = |name| Target::Room(RoomName::new(name).unwrap());
        for (text, target) in [
            (r#"{"user":"42"}"#, Target::User("42".to_owned())),
            (r#"{"session":"s"}"#, Target::Session("s".to_owned())),
            (r#"{"room":"r"}"#, room("r")),
        ] {
            let expect = Question::Disconnect {
                target,
                reason: "api".to_owned(),
                reconnect: false,
            };
            assert_eq!(disconnect(text), Ok(expect), "{text}");
        }
        let all = disconnect(r#"{"user":"é","reason":"why","reconnect":true}"#);
        let expect = Question::Disconnect {
            target: Target::User("é".to_owned()),
            reason: "why".to_owned(),
            reconnect: true,
        };
        assert_eq!(all, Ok(expect));
    }

    #[test]
    fn what_is_no_order() {
        let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(257));
        let reason = format!(r#"{{"user":"a","reason":"{}"}}"#, "x".repeat(257));
        for (text, expect) in [
            ("{}", "bad_target"),
            (r#"{"user":"a","room":"b"}"#, "bad_target"),
            (r#"{"user":""}"#, "bad_target"),
            (r#"{"session":"a\nb"}"#, "bad_target"),
            (&long, "bad_target"),
            (r#"{"room":"{}"}"#, "bad_room"),
            (r#"{"user":"a","reason":""}"#, "bad_reason"),
            (&reason, "bad_reason"),
            (r#"{"user":null,"room":"a"}"#, "invalid type: null"),
            (r#"{"user":"a","user":"b"}"#, "duplicate field `user`"),
            (r#"{"usr":"a"}"#, "unknown field `usr`, expected one of `user`"),
            (r#"{"user":"a","reconnect":1}"#, "expected a boolean"),
            (r#"{"user":"a","reason":null}"#, "invalid type: null"),
            ("", "EOF"),
            ("[1]", "invalid type"),
        ] {
            let refused = disconnect(text).unwrap_err();
            assert!(refused.contains(expect), "{text}: {refused}");
        }
    }

    #[test]
    fn which_rooms() {
        let many = |count: usize| {
            let rooms: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            serde_json::json!({"user": "42", "rooms": rooms}).to_string()
        };
        assert_eq!(moved(&many(1)), Ok((Target::User("42".to_owned()), 1)));
        assert_eq!(moved(&many(128)), Ok((Target::User("42".to_owned()), 128)));
        for (text, expect) in [
            (many(0), "no_room"),
            (many(129), "too_many_rooms"),
            (r#"{"user":"42"}"#.to_owned(), "missing field `rooms`"),
            (r#"{"rooms":["a"]}"#.to_owned(), "bad_target"),
            (r#"{"user":"42","rooms":["a",""]}"#.to_owned(), "bad_room"),
            (
                r#"{"user":"42","rooms":["roomcast:reply:0123456789abcdef"]}"#.to_owned(),
                "bad_room",
            ),
            (r#"{"user":"42","rooms":"a"}"#.to_owned(), "expected a sequence"),
            (
                r#"{"user":"42","rooms":["a"],"reason":"x"}"#.to_owned(),
                "unknown field `reason`",
            ),
        ] {
            let refused = moved(&text).unwrap_err();
            assert!(refused.contains(expect), "{text}: {refused}");
        }
    }

    #[test]
    fn nodes_are_summed_up() {
        let answer = |count| Answer {
            count,
            ..Answer::default()
        };
        let answers = Answers {
            answers: [0, 2, 3].map(|count| (NodeId::random(), answer(count))).into(),
            complete: false,
            missing: vec![NodeId::parse("0123456789abcdef").unwrap()],
        };
        let expect = Obeyed {
            sockets: 5,
            nodes: 2,
            complete: false,
            missing: vec!["0123456789abcdef".to_owned()],
        };
        assert_eq!(Obeyed::from(answers), expect);
    }
}
