//! Looking: who is in a room, where a user is, which nodes there are.

use adapter_redis::{Answers, BusState, MAX_LISTED, Question, SocketInfo, Target};
use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api, Problem, code,
    document::About,
    order::{self, is_name},
};
use crate::query;

/// Who is in a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Room {
    /// The room.
    room: String,
    /// How many sockets are in it.
    sockets: u64,
    /// How many different users they belong to.
    users: u64,
    /// On how many nodes there is at least one of them.
    nodes: u64,
    /// Whether every known node answered; false also when the bus is away.
    complete: bool,
    /// The known nodes that did not answer.
    missing: Vec<String>,
    /// Some of them; only with `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    members: Option<Vec<Socket>>,
}

/// Where a user is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The user.
    user: String,
    /// How many sockets are connected.
    connected: u64,
    /// Them, 1,000 at most.
    sockets: Vec<Socket>,
    /// On how many nodes there is at least one of them.
    nodes: u64,
    /// Whether every known node answered; false also when the bus is away.
    complete: bool,
    /// The known nodes that did not answer.
    missing: Vec<String>,
}

/// A socket, wherever it is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Socket {
    /// Its id.
    id: String,
    /// Whose it is.
    user: String,
    /// Its tenant, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tenant: Option<String>,
    /// The node that it is connected to.
    node: String,
    /// The rooms that it is in, sorted.
    rooms: Vec<String>,
}

/// The nodes that are known to live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    /// Sorted by id.
    nodes: Vec<Node>,
    /// The link of the node that answers: `connecting`, `connected`, `reconnecting` or `failed`.
    #[schema(value_type = String)]
    bus: BusState,
    /// Whether that link is there to know the others by.
    complete: bool,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Node {
    /// Its id, new with each start.
    id: String,
    /// Its version; empty when it did not say.
    version: String,
    /// How many sockets are connected to it.
    connected: u64,
    /// How many rooms have members on it.
    rooms: u64,
    /// Whether it is being stopped.
    draining: bool,
    /// New sessions that it can take each second beside those that come anyway; `null` when it did not say.
    admits: Option<u64>,
    /// How long ago it was heard of, in milliseconds.
    heard_ms_ago: u64,
    /// Whether it is the one that answers.
    this: bool,
}

/// `GET /api/v1/rooms/{room}`. A room that nobody is in does not differ from one that never was: zeros.
pub(super) async fn room(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Room>, Problem> {
    let Ok(Path(name)) = path else {
        return Err(Problem::new(&code::BAD_ROOM, "the room in the path is not UTF-8"));
    };
    let room = order::room("the room in the path", &name)?;
    let list = list(query.as_deref().unwrap_or_default())?;
    let answers = api
        .cluster
        .ask(Question::Sockets {
            target: Target::Room(room),
            list: list.unwrap_or_default(),
        })
        .await;
    Ok(Json(Room {
        room: name,
        sockets: order::sockets(&answers),
        users: users(&answers),
        nodes: order::nodes(&answers),
        complete: answers.complete,
        missing: order::names(&answers.missing),
        members: list.map(|most| listed(answers, most)),
    }))
}

/// `GET /api/v1/users/{id}`
pub(super) async fn user(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<User>, Problem> {
    let Some(Path(user)) = path.ok().filter(|Path(user)| is_name(user)) else {
        return Err(Problem::new(
            &code::BAD_USER,
            "the user in the path must be 1 to 256 bytes of UTF-8 without control characters",
        ));
    };
    let answers = api
        .cluster
        .ask(Question::Sockets {
            target: Target::User(user.clone()),
            list: MAX_LISTED,
        })
        .await;
    Ok(Json(User {
        user,
        connected: order::sockets(&answers),
        nodes: order::nodes(&answers),
        complete: answers.complete,
        missing: order::names(&answers.missing),
        sockets: listed(answers, MAX_LISTED),
    }))
}

/// `GET /api/v1/nodes`
pub(super) async fn nodes(State(api): State<Api>) -> Json<Nodes> {
    let bus = api.cluster.bus_state();
    let nodes = api.cluster.node_infos().into_iter().map(|node| Node {
        id: node.id.as_str().to_owned(),
        version: node.version,
        connected: node.load.connected,
        rooms: node.load.rooms,
        draining: node.load.admission.is_some_and(|admission| admission.is_draining),
        admits: node.load.admission.map(|admission| admission.per_second),
        heard_ms_ago: node.heard_ms_ago,
        this: node.this,
    });
    Json(Nodes {
        nodes: nodes.collect(),
        bus,
        complete: bus == BusState::Connected,
    })
}

/// How many members are asked for; `None` = none.
fn list(query: &str) -> Result<Option<usize>, Problem> {
    let mut list = None;
    for (name, value) in query::pairs(query) {
        let number = value.parse().ok().filter(|n| (1..=MAX_LISTED).contains(n));
        match (name.as_str(), number) {
            ("list", Some(number)) => list = Some(number),
            ("list", None) => {
                let detail = format!("`list` must be a number from 1 to {MAX_LISTED}");
                return Err(Problem::new(&code::BAD_QUERY, detail));
            }
            _ => {
                let detail = "the query has an unknown parameter; the only one is `list`";
                return Err(Problem::new(&code::BAD_QUERY, detail));
            }
        }
    }
    Ok(list)
}

/// How many different users there are on all nodes together.
fn users(answers: &Answers) -> u64 {
    let mut hashes: Vec<u64> = answers.answers.values().flat_map(|a| &a.users).copied().collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes.len() as u64
}

/// The sockets that the nodes listed, `most` of them at most.
fn listed(answers: Answers, most: usize) -> Vec<Socket> {
    let sockets = answers.answers.into_iter().flat_map(|(node, answer)| {
        answer.sockets.into_iter().map(move |socket| {
            let SocketInfo {
                id,
                user,
                tenant,
                rooms,
                connected_at_ms: _,
            } = socket;
            let node = node.as_str().to_owned();
            Socket {
                id,
                user,
                tenant,
                node,
                rooms,
            }
        })
    });
    sockets.take(most).collect()
}

pub(super) fn about_room() -> About {
    About::new("room", "Who is in a room")
        .text("A room that nobody is in is answered with zeros. At most `list` members are listed; `sockets` is exact.")
        .in_path("room", "The room, percent-encoded.", "user:42")
        .in_query("list", "How many members to list, 1 to 1,000; none without it.", MAX_LISTED)
        .answer(Room {
            room: "user:42".to_owned(),
            sockets: 2,
            users: 1,
            nodes: 1,
            complete: true,
            missing: Vec::new(),
            members: Some(vec![example()]),
        })
        .code(&code::BAD_ROOM)
        .code(&code::BAD_QUERY)
}

pub(super) fn about_user() -> About {
    About::new("user", "Where a user is")
        .text("A user who is not connected is answered with zeros.")
        .in_path("id", "The user, percent-encoded.", "42")
        .answer(User {
            user: "42".to_owned(),
            connected: 1,
            sockets: vec![example()],
            nodes: 1,
            complete: true,
            missing: Vec::new(),
        })
        .code(&code::BAD_USER)
}

pub(super) fn about_nodes() -> About {
    About::new("nodes", "Which nodes there are")
        .text("Those that the answering node knows to live, itself included.")
        .answer(Nodes {
            nodes: vec![Node {
                id: EXAMPLE_NODE.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                connected: 3,
                rooms: 4,
                draining: false,
                admits: Some(200),
                heard_ms_ago: 0,
                this: true,
            }],
            bus: BusState::Connected,
            complete: true,
        })
}

const EXAMPLE_NODE: &str = "6enVNVtqORZXJiZS";

fn example() -> Socket {
    Socket {
        id: "Zk3bPfLFdWmqCkpXAAAB".to_owned(),
        user: "42".to_owned(),
        tenant: Some("acme".to_owned()),
        node: EXAMPLE_NODE.to_owned(),
        rooms: ["system", "tenant:acme", "user:42"].map(str::to_owned).into(),
    }
}

#[cfg(test)]
mod tests {
    use adapter_redis::{Answer, NodeId};

    use super::*;

    #[test]
    fn how_many_are_listed() {
        for (query, expect) in [
            ("", Some(None)),
            ("list=1", Some(Some(1))),
            ("list=1000", Some(Some(1000))),
            ("list=%31", Some(Some(1))),
            ("list=0", None),
            ("list=1001", None),
            ("list=", None),
            ("list", None),
            ("list=-1", None),
            ("lst=1", None),
        ] {
            assert_eq!(list(query).ok(), expect, "{query:?}");
        }
    }

    #[test]
    fn users_on_two_nodes_are_counted_once_and_lists_are_joined() {
        let socket = |id: &str| SocketInfo {
            id: id.to_owned(),
            ..SocketInfo::default()
        };
        let answer = |users: &[u64], ids: &[&str]| Answer {
            count: ids.len() as u64,
            users: users.into(),
            sockets: ids.iter().map(|id| socket(id)).collect(),
            unsupported: false,
        };
        let node = |name| NodeId::parse(name).unwrap();
        let answers = Answers {
            answers: [
                (node("bbbbbbbbbbbbbbbb"), answer(&[1, 7], &["c"])),
                (node("aaaaaaaaaaaaaaaa"), answer(&[1, 2], &["a", "b"])),
            ]
            .into(),
            complete: true,
            missing: Vec::new(),
        };
        assert_eq!(users(&answers), 3);
        let ids = |most| {
            let sockets = listed(answers.clone(), most).into_iter();
            sockets
                .map(|s| format!("{}@{}", s.id, &s.node[..1]))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(9), ["a@a", "b@a", "c@b"]);
        assert_eq!(ids(2), ["a@a", "b@a"]);
    }
}
