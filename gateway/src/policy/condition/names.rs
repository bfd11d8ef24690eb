//! Which names an expression uses, and how deep it looks into them. Pure.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, IdedEntryExpr},
};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Every free name, with the names that are selected from it: `claims.a.b` is one path.
    pub(super) paths: Vec<(String, Vec<String>)>,
    /// The whole expression is one path.
    pub(super) is_path: bool,
}

/// Collects the names that are not bound by a macro such as `exists(x, …)`.
pub(super) fn of(expression: &IdedExpr) -> Names {
    let mut names = Names {
        is_path: path(expression).is_some(),
        paths: Vec::new(),
    };
    collect(expression, &mut Vec::new(), &mut names.paths);
    names
}

/// `a.b.c` as names; `None` when it is anything else.
fn path(expression: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    match &expression.expr {
        Expr::Ident(name) => Some((name, Vec::new())),
        Expr::Select(select) if !select.test => {
            let (root, mut names) = path(&select.operand)?;
            names.push(&select.field);
            Some((root, names))
        }
        _ => None,
    }
}

fn collect(expression: &IdedExpr, bound: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    let mut note = |root: &str, names: Vec<&str>, bound: &[String]| {
        if !root.starts_with('@') && !bound.iter().any(|b| b == root) {
            found.push((root.to_owned(), names.into_iter().map(str::to_owned).collect()));
        }
    };
    match &expression.expr {
        Expr::Ident(name) => note(name, Vec::new(), bound),
        Expr::Select(select) => match path(&select.operand) {
            // `has(a.b)` looks for `b` as well.
            Some((root, mut names)) => {
                names.push(&select.field);
                note(root, names, bound);
            }
            None => collect(&select.operand, bound, found),
        },
        Expr::Call(call) => {
            for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                collect(part, bound, found);
            }
        }
        Expr::List(list) => {
            for item in &list.elements {
                collect(item, bound, found);
            }
        }
        Expr::Comprehension(comprehension) => {
            collect(&comprehension.iter_range, bound, found);
            collect(&comprehension.accu_init, bound, found);
            let outside = bound.len();
            bound.push(comprehension.iter_var.clone());
            bound.extend(comprehension.iter_var2.clone());
            bound.push(comprehension.accu_var.clone());
            for part in [
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ] {
                collect(part, bound, found);
            }
            bound.truncate(outside);
        }
        Expr::Map(map) => entries(&map.entries, bound, found),
        Expr::Struct(message) => entries(&message.entries, bound, found),
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entries(entries: &[IdedEntryExpr], bound: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => collect(&field.value, bound, found),
            EntryExpr::MapEntry(pair) => {
                collect(&pair.key, bound, found);
                collect(&pair.value, bound, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    #[test]
    fn paths_are_found_and_bound_names_are_not() {
        for (source, expect, is_path) in [
            ("claims", "claims", true),
            ("claims.a.b", "claims.a.b", true),
            ("has(claims.a.b)", "claims.a.b", false),
            (
                "arg in claims.a || '*' in claims.a",
                "arg claims.a claims.a",
                false,
            ),
            ("claims.a.exists(x, x.id == arg.b)", "claims.a arg.b", false),
            ("claims.a[0].b", "claims.a", false),
            ("claims['a']", "claims", false),
            ("size(claims.a) > 1 ? user : 'x'", "claims.a user", false),
            ("[claims.a, {user: claims.b}]", "claims.a user claims.b", false),
        ] {
            let program = Program::compile(source).unwrap();
            let names = of(program.expression());
            let shown: Vec<String> = names
                .paths
                .iter()
                .map(|(root, names)| [std::slice::from_ref(root), names.as_slice()].concat().join("."))
                .collect();
            assert_eq!(shown.join(" "), expect, "{source}");
            assert_eq!(names.is_path, is_path, "{source}");
        }
    }
}
