//! The commands of README.md do what they say: each is run, shortened.

use std::fs;

use crate::node::{Node, repository};

const PROGRAM: &str = "target/release/roomcast-loadtest ";
/// The command, with no more clients and no more time than a test has.
fn shortened(command: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in command.strip_prefix(PROGRAM).unwrap().split_whitespace() {
        let value = word.trim_matches('\'');
        let shorter = match words.last().map(String::as_str) {
            Some("--users") => "6",
            Some("--rooms") => "2",
            Some("--duration") => "1s",
            Some("--spread") => "200ms",
            Some("--payload") => "100",
            Some("--rate") => "10",
            _other => value,
        };
        words.push(shorter.to_owned());
    }
    words.join(" ")
}

/// All commands of the program, each in one line.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("loadtest/README.md")).unwrap();
    let commands = readme.lines().filter(|line| line.starts_with(PROGRAM));
    commands.map(str::to_owned).collect()
}

/// Runs those of one scenario.
async fn works(scenario: &str, policy: &str) {
    let node = Node::start(policy).await;
    let lines: Vec<String> = commands().iter().map(|command| shortened(command)).collect();
    let mine: Vec<&String> = lines
        .iter()
        .filter(|line| line.split(' ').next() == Some(scenario))
        .collect();
    assert!(!mine.is_empty(), "README.md has no command for {scenario}");
    for line in mine {
        let ran = node.run(line);
        // What the README fails for may fail here: this machine does other things.
        assert!(matches!(ran.code, Some(0 | 1)), "{line}\n{ran:?}");
        let (due, delivered) = (ran.figure("due"), ran.figure("delivered"));
        assert!(due > 0 && due == delivered, "{line}\n{}", ran.output);
    }
}

macro_rules! commands_work {
    ($($scenario:ident $policy:literal;)*) => {
        $(
            #[tokio::test]
            async fn $scenario() {
                works(stringify!($scenario), $policy).await;
            }
        )*

        #[test]
        fn no_command_is_left_out() {
            let known = [$(stringify!($scenario)),*];
            for command in commands() {
                let line = shortened(&command);
                assert!(known.contains(&line.split(' ').next().unwrap()), "{command}");
            }
        }
    };
}

commands_work! {
    steady_fanout "whatsapp-crm.toml";
    user_updates "whatsapp-crm.toml";
    chat "chat.toml";
    connect_storm "whatsapp-crm.toml";
    reconnect_wave "whatsapp-crm.toml";
    slow_consumer "whatsapp-crm.toml";
    crm_day "whatsapp-crm.toml";
}
