//! Decisions in words, by the command line and by the API: of real tokens, of claims alone, beside a shadow policy.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use adapter_redis::MemoryHub;
use serde_json::{Value, json};

use crate::{
    cli::roomcast,
    config::Folder,
    support::{API_KEY, Node, SECRET, token},
};

const STRICT: &str = "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"strict:{user}\"\n";
const OPEN: &str = "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"open:{user}\"\n\
                    [[subscribe]]\nevent = \"subscribe:contact\"\nroom = \"contact:{arg}\"\nallow = \"true\"\n";

/// A configuration with keys and policies.
fn configured(folder: &Folder) -> String {
    folder.file("strict.toml", STRICT);
    folder.file("open.toml", OPEN);
    let config = folder.file(
        "c.toml",
        &format!(
            "policy = \"builtin:whatsapp-crm\"\nshadow_policy = \"strict.toml\"\n[auth.jwt]\nhmac_secret = \"{SECRET}\"\n"
        ),
    );
    config.to_str().unwrap().to_owned()
}

fn text(output: &Output) -> String {
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_decision_has_an_exit_code_and_never_shows_the_token() {
    let folder = Folder::new("explain");
    let config = configured(&folder);
    let good = token(json!({"sub": "42", "contacts": ["7"]}));
    let old = token(json!({"sub": "42", "exp": 1}));
    let forged = format!("{}x", good);
    let event = |arg: &'static str| vec!["--event", "subscribe:contact", "--arg", arg];
    for (token, more, code, parts) in [
        (
            &good,
            event("7"),
            0,
            vec![
                "subscribe:contact: allowed, enters the room\n",
                "shadow: refused (unknown_event), the policy has no rule for this event\n",
            ],
        ),
        (
            &good,
            event("8"),
            1,
            vec!["subscribe:contact: refused (not_allowed), `allow` of subscribe[3] is false\n"],
        ),
        (
            &good,
            vec![],
            0,
            vec![
                "connect: allowed, in 2 rooms\n",
                "shadow: allowed, in 1 room: strict:42\n",
            ],
        ),
        (
            &old,
            event("7"),
            1,
            vec!["subscribe:contact: refused (token_expired), the token has expired\n"],
        ),
        (
            &forged,
            vec![],
            1,
            vec!["connect: refused (token_signature), the token's signature is not valid\n"],
        ),
    ] {
        let arguments = [&["explain", "--config", &config, "--token", token], &more[..]].concat();
        let output = roomcast(&arguments);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
        for part in token.split('.') {
            assert!(!text.contains(part), "{text}");
        }
        let json = text_of_json(&[&arguments[..], &["--json"]].concat());
        assert_eq!(json["verdict"] == "allowed", code == 0, "{json}");
        assert_eq!(json["verified"], token == &good, "{json}");
        assert_eq!(json["shadow"].is_object(), token == &good, "{json}");
    }
}

fn text_of_json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(&roomcast(arguments))).unwrap()
}

#[test]
fn the_token_may_come_from_standard_input() {
    let folder = Folder::new("explain-stdin");
    let config = configured(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.args(["explain", "--config", &config, "--token", "-"]);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let line = format!("{}\n", token(json!({"sub": "42"})));
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).starts_with("connect: allowed, in 2 rooms\n"));
}

#[test]
fn another_policy_can_be_tried_out() {
    let folder = Folder::new("explain-policy");
    let config = configured(&folder);
    let open = folder.0.join("open.toml");
    let open = open.to_str().unwrap();
    let claims = r#"{"sub":"42"}"#;
    let event = ["--event", "subscribe:contact", "--data", "7"];
    let explain = |more: &[&str]| {
        let output = roomcast(&[&["explain"], more, &event].concat());
        (output.status.code(), text(&output))
    };
    let (code, text) = explain(&["--config", &config, "--claims", claims]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = explain(&["--claims", claims, "--policy", open]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.ends_with("\nclaims: as given, nothing was verified\n"),
        "{text}"
    );
    let (code, text) = explain(&["--claims", claims, "--policy", "builtin:whatsapp-crm"]);
    assert_eq!(code, Some(1), "{text}");
    let token = token(json!({"sub": "42"}));
    let (code, text) = explain(&["--config", &config, "--token", &token, "--policy", open]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("shadow") && !text.contains("verified"), "{text}");

    let bots = r#"{"sub":"42","bots":["b1"]}"#;
    let arguments = ["explain", "--claims", bots, "--policy", "builtin:whatsapp-crm"];
    let rooms =
        |query: &[&str]| text_of_json(&[&arguments[..], &["--json"], query].concat())["rooms"].clone();
    assert_eq!(rooms(&[]), json!(["system", "user:42"]));
    assert_eq!(
        rooms(&["--query", "botId=b1", "--query", "botId=b2"]),
        json!(["system", "user:42", "user:42:bot:b1"])
    );
}

async fn ask(node: &Node, body: Value) -> (u16, Value) {
    node.call("POST", "/api/v1/explain", Some(API_KEY), &body.to_string())
        .await
}

#[tokio::test]
async fn the_api_explains_with_the_policy_in_force() {
    let folder = Folder::new("explain-api");
    configured(&folder);
    let shadow = folder.0.join("strict.toml");
    let node = Node::start_with(&MemoryHub::new(), &[("SHADOW_POLICY", path(&shadow))]);
    let good = token(json!({"sub": "42", "contacts": ["7"]}));
    let (status, answer) = ask(
        &node,
        json!({"token": good, "event": "subscribe:contact", "arg": "7"}),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (
            &answer["verified"],
            &answer["verdict"],
            &answer["rule"],
            &answer["rooms"]
        ),
        (
            &json!(true),
            &json!("allowed"),
            &json!("subscribe[3]"),
            &json!(["contact:7"])
        )
    );
    assert_eq!(answer["shadow"]["code"], "unknown_event");
    assert!(answer["shadow"].get("verified").is_none());
    let (_, answer) = ask(&node, json!({"token": token(json!({"sub": "42", "exp": 1}))})).await;
    assert_eq!(
        answer,
        json!({"verified": false, "verdict": "refused", "message": "the token has expired", "code": "token_expired",
               "rooms": [], "steps": []})
    );
    let claims = json!({"sub": "42", "bots": ["*"]});
    let (_, answer) = ask(&node, json!({"claims": claims, "query": {"botId": "b"}})).await;
    assert_eq!(answer["verified"], false);
    assert_eq!(answer["rooms"], json!(["system", "user:42", "user:42:bot:b"]));
    let data = json!({"contactId": 7, "timestamp": "never"});
    let (_, answer) = ask(
        &node,
        json!({"claims": {"sub": "42"}, "event": "typing:start", "data": data}),
    )
    .await;
    assert_eq!(answer["emit"]["event"], "typing:indicator");
    assert_eq!(answer["emit"]["data"]["contactId"], 7);
    assert_eq!(
        node.metric("roomcast_policy_condition_failures_total").await,
        0.0,
        "nothing is counted"
    );
}

#[tokio::test]
async fn questions_that_are_none_are_refused() {
    let node = Node::start(&MemoryHub::new());
    let body = |text: &str| text.to_owned();
    for (body, expect) in [
        (body("[]"), "expected a JSON object"),
        (body("{"), "EOF"),
        (body("{}"), "exactly one of `token` and `claims`"),
        (
            body(r#"{"token":"t","claims":{}}"#),
            "exactly one of `token` and `claims`",
        ),
        (body(r#"{"token":null}"#), "invalid type: null"),
        (body(r#"{"claims":[]}"#), "invalid type: sequence"),
        (body(r#"{"claims":{},"claims":{}}"#), "duplicate field `claims`"),
        (body(r#"{"claims":{},"events":"e"}"#), "unknown field `events`"),
        (body(r#"{"claims":{},"arg":"1"}"#), "set `event`"),
        (body(r#"{"claims":{},"data":null}"#), "set `event`"),
        (
            body(r#"{"claims":{},"event":"e","arg":"1","data":1}"#),
            "not both",
        ),
        (
            body(r#"{"claims":{},"event":"e","arg":1}"#),
            "invalid type: integer",
        ),
        (body(r#"{"claims":{},"query":{"a":1}}"#), "invalid type: integer"),
    ] {
        let (status, problem) = node.call("POST", "/api/v1/explain", Some(API_KEY), &body).await;
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!("bad_question")),
            "{body}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expect), "{body}: {detail}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
