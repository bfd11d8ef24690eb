//! The command line as a person meets it: message and exit code.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use crate::config::Folder;

/// Runs the binary in the folder of the tests.
pub fn roomcast(arguments: &[&str]) -> Output {
    roomcast_in(Path::new("."), arguments)
}

/// Runs the binary in a folder, without any environment.
pub fn roomcast_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.args(arguments).current_dir(folder).env_clear();
    command.output().unwrap()
}

const GOOD: &str =
    "policy = \"builtin:whatsapp-crm\"\n[auth.jwt]\nhmac_secret = \"0123456789abcdef0123456789abcdef\"\n";

#[test]
fn mistakes_end_with_64_and_a_sentence() {
    let folder = Folder::new("cli");
    let good = folder.file("good.toml", GOOD);
    let good = good.to_str().unwrap();
    let keyed = folder.file("keyed.toml", &format!("{GOOD}[api]\nkeys = [\"k\"]\n"));
    let keyed = keyed.to_str().unwrap();
    let bad_policy = folder.file("bad-policy.toml", "[identity]\n");
    let bad_policy = bad_policy.to_str().unwrap();
    for (arguments, expect) in [
        (vec!["serve"], "no key to verify tokens"),
        (vec![], "no key to verify tokens"),
        (
            vec!["tail", "--url", "ftp://x", "--api-key", "k"],
            "--url: not a URL such as",
        ),
        (vec!["sevre"], "unrecognized subcommand 'sevre'"),
        (vec!["serve", "--port", "1"], "unexpected argument '--port'"),
        (
            vec!["serve", "--listen", "3000"],
            "invalid value '3000' for '--listen <ADDR>'",
        ),
        (vec!["serve", "--client-bundle", "x"], "--dev"),
        (
            vec!["serve", "--dev", "--client-bundle", "/no/such/file"],
            "--client-bundle /no/such/file: cannot be read",
        ),
        (
            vec!["serve", "--dev", "--listen", "0.0.0.0:0"],
            "--dev listens on the loopback only",
        ),
        (
            vec!["serve", "--dev", "--config", good],
            "but auth.jwt.hmac_secret, policy is configured",
        ),
        (
            vec!["serve", "--config", "/no/such.toml"],
            "/no/such.toml: cannot be read",
        ),
        (vec!["check-config"], "check-config needs the file to check"),
        (vec!["check-config", "/no/such.toml"], "cannot be read"),
        (vec!["token", "--config", good], "--user <ID>"),
        (
            vec!["token", "--config", good, "--user", "1", "--claim", "x"],
            "write a claim as name=value",
        ),
        (
            vec!["token", "--config", good, "--user", "1", "--ttl", "long"],
            "invalid value 'long' for '--ttl",
        ),
        (
            vec!["explain", "--config", good],
            "<--token <TOKEN>|--claims <JSON>>",
        ),
        (vec!["explain", "--token", "t"], "no key to verify tokens"),
        (
            vec!["explain", "--config", good, "--claims", "[1]"],
            "the claims of a token are an object",
        ),
        (
            vec!["explain", "--config", good, "--claims", "{}", "--token", "t"],
            "cannot be used with",
        ),
        (
            vec!["explain", "--config", good, "--claims", "{}", "--arg", "7"],
            "--event <EVENT>",
        ),
        (
            vec![
                "explain", "--config", good, "--claims", "{}", "--event", "e", "--data", "hello",
            ],
            "not JSON",
        ),
        (
            vec!["explain", "--config", good, "--claims", "{}", "--query", "x"],
            "write it as name=value",
        ),
        (
            vec!["explain", "--claims", "{}", "--policy", "/no/such.toml"],
            "--policy /no/such.toml: cannot be read",
        ),
        (
            vec!["explain", "--claims", "{}", "--policy", bad_policy],
            "the policy has 1 problem:\n  - ",
        ),
        (vec!["revoke", "--config", good], "<--jti <ID>|--user <ID>>"),
        (vec!["revoke", "--jti", "a", "--user", "b"], "cannot be used with"),
        (
            vec!["revoke", "--jti", "a", "--issued-before", "1"],
            "cannot be used with",
        ),
        (
            vec!["revoke", "--config", good, "--user", "a"],
            "no key of scope `admin`",
        ),
        (vec!["publish", "--config", good, "--event", "e"], "--room <ROOM>"),
        (
            vec![
                "publish", "--config", good, "--room", "r", "--event", "e", "--data", "hello",
            ],
            "not JSON",
        ),
        (
            vec!["publish", "--config", good, "--room", "r{}", "--event", "e"],
            "brace",
        ),
        (
            vec!["publish", "--config", good, "--room", "r", "--event", "e"],
            "nowhere to publish to",
        ),
        (
            vec![
                "publish", "--config", keyed, "--room", "r", "--event", "e", "--url", "ftp://x",
            ],
            "not a URL such as http://127.0.0.1:3001 or https://",
        ),
        (vec!["stats", "--url", "nonsense"], "http://"),
        (vec!["health", "--url", "nonsense"], "http://"),
        (
            vec!["health", "--config", "/no/such.toml"],
            "/no/such.toml: cannot be read",
        ),
    ] {
        let output = roomcast(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {message}");
        assert!(
            message.contains(expect),
            "{arguments:?}\nexpected {expect}\ngot {message}"
        );
        assert!(
            !message.contains("panicked") && !message.contains("RUST_BACKTRACE"),
            "{message}"
        );
    }
}

#[test]
fn what_is_not_there_ends_with_69() {
    let folder = Folder::new("cli-69");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let redis = folder.file(
        "redis.toml",
        &format!("{GOOD}[redis]\nurl = \"redis://127.0.0.1:1\"\n"),
    );
    for (arguments, expect) in [
        (
            vec!["serve", "--dev", "--listen", &address],
            format!("cannot listen on {address}: Address already in use"),
        ),
        (
            vec!["serve", "--dev", "--listen", &address],
            "choose another with `listen`".to_owned(),
        ),
        (
            vec!["stats", "--url", "http://127.0.0.1:1"],
            "no answer from the node's operations listener".to_owned(),
        ),
        (
            vec!["health", "--url", "http://127.0.0.1:1"],
            "no answer from the node's operations listener at 127.0.0.1:1".to_owned(),
        ),
        (
            vec![
                "publish",
                "--url",
                "http://127.0.0.1:1",
                "--api-key",
                "k",
                "--room",
                "r",
                "--event",
                "e",
            ],
            "no answer from".to_owned(),
        ),
        (
            vec![
                "publish",
                "--config",
                redis.to_str().unwrap(),
                "--room",
                "r",
                "--event",
                "e",
            ],
            "Redis does not answer".to_owned(),
        ),
    ] {
        let output = roomcast(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {message}");
        assert!(
            message.contains(&expect),
            "{arguments:?}\nexpected {expect}\ngot {message}"
        );
    }
}

#[test]
fn answers_end_with_0() {
    let folder = Folder::new("cli-0");
    let good = folder.file("good.toml", GOOD);
    let good = good.to_str().unwrap();
    for (arguments, expect) in [
        (vec!["--help"], "Try it: roomcast serve --dev"),
        (vec!["serve", "--help"], "--client-bundle"),
        (vec!["publish", "--help"], "--api-key"),
        (vec!["revoke", "--help"], "--issued-before"),
        (vec!["explain", "--help"], "Exit code: 0 = allowed, 1 = refused"),
        (vec!["--version"], env!("CARGO_PKG_VERSION")),
        (vec!["check-config", good], ": ok"),
        (vec!["check-config", "--config", good], ": ok"),
        (vec!["config-doc"], "| `listen` |"),
    ] {
        let output = roomcast(&arguments);
        let message = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(message.contains(expect), "{arguments:?}: {message}");
    }
}

#[test]
fn tokens_are_signed_with_the_configured_secret() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let folder = Folder::new("cli-token");
    let config = folder.file(
        "c.toml",
        &format!("{GOOD}issuer = [\"me\"]\naudience = \"you\"\n"),
    );
    let arguments = [
        "token",
        "--config",
        config.to_str().unwrap(),
        "--user",
        "42",
        "--claim",
        "tenant_id=acme",
    ];
    let output = roomcast(&[&arguments[..], &["--claim", "bots=[\"a\",1]", "--ttl", "10m"]].concat());
    let token = String::from_utf8(output.stdout).unwrap();
    let body = URL_SAFE_NO_PAD
        .decode(token.trim().split('.').nth(1).unwrap())
        .unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(claims["sub"], "42");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(claims["bots"], serde_json::json!(["a", 1]));
    assert_eq!(claims["iss"], "me");
    assert_eq!(claims["aud"], "you");
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        600
    );
}
