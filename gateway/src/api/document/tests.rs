use adapter_redis::{Envelope, Limits};

use super::*;

fn tree() -> Value {
    serde_json::from_str(&TEXT).unwrap()
}

fn operations(tree: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = tree["paths"].as_object().unwrap();
    let each = |(path, methods)| {
        let methods: &Value = methods;
        let methods = methods.as_object().unwrap();
        methods
            .iter()
            .map(move |(method, operation)| (path, method, operation))
    };
    paths
        .iter()
        .flat_map(each)
        .map(|(p, m, o): (&String, &String, &Value)| (p.as_str(), m.as_str(), o))
        .collect()
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let tree = tree();
    assert_eq!(tree["openapi"], "3.1.0");
    let described: Vec<_> = operations(&tree)
        .into_iter()
        .map(|(path, method, operation)| {
            let scope = operation.pointer("/security/0/key/0").and_then(Value::as_str);
            (path.to_owned(), method.to_owned(), scope.map(str::to_owned))
        })
        .collect();
    let routes = ROUTES.map(|route| {
        let method = match method(&route) {
            HttpMethod::Get => "get",
            _ => "post",
        };
        let scope = route.scope.map(|scope| scope.as_str().to_owned());
        (format!("{BASE}{}", route.path), method.to_owned(), scope)
    });
    assert_eq!(described, routes);
    for (path, _, operation) in operations(&tree) {
        for field in ["operationId", "summary", "description"] {
            assert!(
                operation[field].as_str().is_some_and(|t| !t.is_empty()),
                "{path}: {field}"
            );
        }
        let in_path = path.matches('{').count();
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let named = parameters.iter().filter(|p| {
            p["in"] == "path"
                && p["required"] == true
                && path.contains(&format!("{{{}}}", p["name"].as_str().unwrap()))
        });
        assert_eq!(named.count(), in_path, "{path}");
        let answers = operation["responses"]["200"]["content"].as_object().unwrap();
        assert!(
            path.ends_with("/openapi.json") || answers.values().all(|answer| answer["example"].is_object()),
            "{path}"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(at: &Value, tree: &Value) {
        match at {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let target = tree.pointer(reference.trim_start_matches('#'));
                    assert!(target.is_some(), "{reference}");
                }
                fields.values().for_each(|value| follow(value, tree));
            }
            Value::Array(items) => items.iter().for_each(|item| follow(item, tree)),
            _ => {}
        }
    }
    let tree = tree();
    follow(&tree, &tree);
    let schemas = tree["components"]["schemas"].as_object().unwrap();
    for name in [
        "Envelope",
        "Request",
        "Batch",
        "Published",
        "Requested",
        "Obeyed",
        "Disconnect",
        "Explain",
        "Explanation",
        "Move",
        "Problem",
        "Room",
        "User",
        "Nodes",
        "Socket",
        "TailLine",
    ] {
        assert!(
            schemas.contains_key(name),
            "{name} is missing in {:?}",
            schemas.keys()
        );
    }
}

#[test]
fn example_envelopes_are_envelopes() {
    let tree = tree();
    let example = |path: &str| {
        let body = &tree["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        body["example"].clone()
    };
    let parse = |envelope: &Value| Envelope::parse(envelope.to_string().as_bytes(), &Limits::default());
    parse(&example("/api/v1/publish")).unwrap();
    let mut request = example("/api/v1/request");
    assert!(request.as_object_mut().unwrap().remove("timeout").is_some());
    parse(&request).unwrap();
    let batch = example("/api/v1/publish/batch");
    let bad: Vec<_> = batch["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| parse(item).is_err())
        .collect();
    assert_eq!(
        bad,
        [false, true],
        "the second is the one that the answer's example refuses"
    );
}

#[test]
fn every_code_is_documented_and_every_documented_code_exists() {
    let tree = tree();
    let mut documented = std::collections::BTreeSet::new();
    for (path, _, operation) in operations(&tree) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(content) = response["content"].get("application/problem+json") else {
                assert_eq!(status, "200", "{path}");
                continue;
            };
            for (name, example) in content["examples"].as_object().unwrap() {
                let problem = &example["value"];
                assert_eq!(problem["code"], name.as_str(), "{path}");
                assert_eq!(problem["status"].to_string(), *status, "{path}: {name}");
                documented.insert(name.clone());
            }
        }
    }
    let source = include_str!("../code.rs");
    let protocol = include_str!("../../../../docs/protocol.md");
    let (source, _) = source.split_once("#[cfg(test)]").unwrap();
    let mut existing: std::collections::BTreeSet<String> = source
        .split('"')
        .filter(|text| text.contains('_') || matches!(*text, "unauthorized" | "forbidden"))
        .filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .map(str::to_owned)
        .collect();
    let info = tree["info"]["description"].as_str().unwrap();
    for of_no_operation in ["not_found", "method_not_allowed"] {
        assert!(existing.remove(of_no_operation) && info.contains(of_no_operation));
    }
    assert_eq!(documented, existing);
    for code in documented {
        assert!(
            protocol.contains(&format!("`{code}`")),
            "docs/protocol.md does not say {code}"
        );
    }
}
