//! What is wrong is said before anybody connects, with an exit code of its own.

use std::fs;

use crate::node::{API_KEY, Node, Ran, SECRET, run};

const NOWHERE: &str = "/nonexistent";

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn refused(ran: &Ran, code: i32, why: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.errors.contains(why), "{why:?} is not in {}", ran.errors);
    assert!(!ran.errors.contains("panicked"), "{}", ran.errors);
}

#[tokio::test]
async fn wrong_arguments() {
    let node = Node::start("whatsapp-crm.toml").await;
    let (token, short) = (node.path("tokens"), node.path("short"));
    fs::write(&token, "not a token\n").unwrap();
    fs::write(&short, "e30.e30.e30\n\n").unwrap();
    for (line, why) in [
        ("steady_fanout --users none".to_owned(), "invalid value 'none'"),
        ("fanout".to_owned(), "possible values: steady_fanout"),
        (
            "chat --users 2 --rate 11".to_owned(),
            "take more users, or a lower rate",
        ),
        (
            "steady_fanout --secret-file /nonexistent".to_owned(),
            "/nonexistent cannot be read",
        ),
        (
            "steady_fanout --report /nonexistent/a.json".to_owned(),
            "/nonexistent/a.json cannot be written",
        ),
        (
            format!("steady_fanout --users 1 --tokens {}", token.display()),
            "token 1 is not three parts",
        ),
        (
            format!("steady_fanout --users 2 --tokens {}", short.display()),
            "has 1 tokens for 2 users",
        ),
        (
            format!("steady_fanout --users 1 --tokens {}", short.display()),
            "needs tokens with the claim `tenant_id`",
        ),
        (
            "chat --users 2 --rate 1".to_owned(),
            "does the node run the scenario's policy?",
        ),
        (
            "steady_fanout --claim aud=\"".to_owned() + "a --redis nonsense",
            "redis://127.0.0.1:6379",
        ),
    ] {
        refused(&node.run(&line), 64, why);
    }
    let foreign = words(&format!(
        "steady_fanout --target {} --api {}",
        node.target, node.api
    ));
    let environment = [
        ("ROOMCAST_LOADTEST_SECRET", "another"),
        ("ROOMCAST_LOADTEST_API_KEY", "another"),
    ];
    refused(
        &run(&foreign, &[], NOWHERE),
        64,
        "set ROOMCAST_LOADTEST_SECRET or --secret-file",
    );
    refused(
        &run(&foreign, &environment[..1], NOWHERE),
        64,
        "set ROOMCAST_LOADTEST_API_KEY or --api-key-file",
    );
    let ran = run(&foreign, &environment, NOWHERE);
    refused(&ran, 64, "refuses the API key");
    let environment = [environment[0], ("ROOMCAST_LOADTEST_API_KEY", API_KEY)];
    refused(
        &run(&foreign, &environment, NOWHERE),
        64,
        "refuses the first client: refused: ",
    );
}

#[tokio::test]
async fn a_target_that_is_not_there() {
    let node = Node::start("whatsapp-crm.toml").await;
    // Nobody may listen on the port 1 of the loopback.
    for (line, why) in [
        (
            "steady_fanout --users 1 --target http://127.0.0.1:1",
            "is a node's public listener there",
        ),
        (
            "steady_fanout --users 1 --api http://127.0.0.1:1",
            "is a node's operations listener there",
        ),
        (
            "steady_fanout --users 1 --redis redis://127.0.0.1:1",
            "Redis of --redis cannot be reached",
        ),
    ] {
        refused(&node.run(line), 69, why);
    }
    let swapped = format!("steady_fanout --users 1 --target {} --api {}", node.api, node.api);
    refused(&node.run(&swapped), 69, "HTTP status 404");
}

#[tokio::test]
async fn tokens_and_secrets_of_files_are_used() {
    let node = Node::start("whatsapp-crm.toml").await;
    let [secret, key, tokens] = ["secret", "key", "tokens"].map(|name| node.path(name));
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fs::write(&key, format!("{API_KEY}\n")).unwrap();
    let users = ["anna", "berta"].map(|user| node.token(&format!("--user {user} --claim tenant_id=acme")));
    fs::write(&tokens, users.join("\n")).unwrap();
    let (secret, tokens) = (
        format!("--secret-file {} --claim tenant_id=acme", secret.display()),
        format!("--tokens {}", tokens.display()),
    );
    for clients in [secret, tokens] {
        let line = format!("steady_fanout --users 2 --rate 10 --duration 500ms {clients} --report");
        let (line, report) = (words(&line), node.path("report.json"));
        let more = [
            report.to_str().unwrap(),
            "--target",
            &node.target,
            "--api",
            &node.api,
            "--max-lag",
            "1h",
        ];
        let file = ["--api-key-file", key.to_str().unwrap()];
        let all: Vec<String> = line
            .into_iter()
            .chain(more.iter().chain(&file).map(|&word| word.to_owned()))
            .collect();
        run(&all, &[], &report).delivered(10);
    }
}

#[test]
fn help_names_every_exit_code() {
    let help = run(&words("--help"), &[], NOWHERE);
    assert_eq!(help.code, Some(0));
    for code in ["  0 ", "  1 ", "  2 ", "  64 ", "  69 "] {
        assert!(help.output.contains(code), "{code}");
    }
}
