//! docs/security.md and docs/operations.md name what there is.

use std::{fs, path::Path};

use gateway::{config::keys, settings::Kind};

const SECURITY: &str = include_str!("../../../docs/security.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

fn is_key(name: &str) -> bool {
    keys().any(|key| key.path == name && key.kind != Kind::Planned)
}

/// `auth.jwt.leeway` and the like: what is quoted, has dots, and is no file.
fn quoted(doc: &'static str) -> impl Iterator<Item = &'static str> {
    let texts = doc
        .split("```")
        .step_by(2)
        .flat_map(|text| text.split('`').skip(1).step_by(2));
    texts.filter_map(|text| {
        let name = text.split([' ', '=']).next()?;
        let is_dotted = name.contains('.')
            && name.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            });
        // The place of a token in the CONNECT packet is written in the same way.
        (is_dotted && name != "auth.token").then_some(name)
    })
}

/// Every key of an example.
fn flat(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = format!("{prefix}{name}");
        match value {
            toml::Value::Table(table) => flat(table, &format!("{path}."), found),
            _ => found.push(path),
        }
    }
}

#[test]
fn every_key_is_one() {
    let mut found: Vec<String> = quoted(SECURITY).map(str::to_owned).collect();
    assert!(found.len() > 40, "{found:?}");
    for block in SECURITY.split("```toml\n").skip(1) {
        let (text, _) = block.split_once("```").unwrap();
        flat(&toml::from_str(text).unwrap(), "", &mut found);
    }
    let before = found.len();
    found.extend(quoted(OPERATIONS).map(str::to_owned));
    assert!(found.len() > before + 20, "{found:?}");
    assert!(found.iter().any(|key| key == "limits.max_rooms_per_socket"));
    let unknown: Vec<&String> = found.iter().filter(|name| !is_key(name)).collect();
    assert!(
        unknown.is_empty(),
        "docs/security.md or docs/operations.md names {unknown:?}"
    );
}

#[test]
fn every_link_leads_somewhere() {
    for doc in [SECURITY, OPERATIONS] {
        let targets: Vec<&str> = doc
            .split("](")
            .skip(1)
            .map(|rest| rest.split_once(')').unwrap().0)
            .collect();
        assert!(targets.len() > 40);
        for target in targets {
            assert_leads_somewhere(doc, target);
        }
    }
}

fn assert_leads_somewhere(doc: &str, target: &str) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    if docs.join(file).is_dir() && !file.is_empty() {
        return;
    }
    let text = if file.is_empty() {
        doc.to_owned()
    } else {
        fs::read_to_string(docs.join(file)).unwrap_or_else(|error| panic!("{target}: {error}"))
    };
    let is_heading = |line: &str| line.starts_with('#') && anchor(line) == heading;
    assert!(heading.is_empty() || text.lines().any(is_heading), "{target}");
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches(['#', ' '])
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
