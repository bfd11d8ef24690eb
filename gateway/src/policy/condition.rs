//! Expressions in CEL, compiled once. The language is the `cel` crate's; the names in it are ours.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, IdedExpr, Program, common::ast::Expr};
use serde_json::Value;

use super::scope::{Root, Scope};

/// Building the standard environment costs more than evaluating a condition: all of them share one.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression and the names that it uses.
#[derive(Debug)]
pub(super) struct Expression {
    program: Program,
    roots: Vec<Root>,
    bare: Option<Root>,
}

/// The expression did not give a value: a claim is missing, types do not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl Expression {
    /// Compiles and checks every name against the roots that the place allows.
    pub(super) fn parse(source: &str, allowed: &[Root]) -> Result<Expression, String> {
        // The parser is a foreign one and fed by people: should it ever panic, that is their typo, not our end.
        let program = catch_unwind(|| Program::compile(source))
            .map_err(|_| format!("{source:?} cannot be parsed as CEL"))?
            .map_err(|e| {
                let first = e.errors.first().map(|e| e.msg.clone()).unwrap_or_default();
                format!("{source:?} is not valid CEL: {first}")
            })?;
        let mut names = Vec::new();
        free_names(program.expression(), &mut Vec::new(), &mut names);
        let mut roots = Vec::new();
        for name in names {
            let root = Root::find(&name, allowed).map_err(|e| format!("{source:?}: {e}"))?;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        let bare = match &program.expression().expr {
            Expr::Ident(_) => roots.first().copied(),
            _ => None,
        };
        Ok(Expression { program, roots, bare })
    }

    /// The root that this expression consists of, when it is nothing else.
    pub(super) fn bare_root(&self) -> Option<Root> {
        self.bare
    }

    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Failed> {
        let mut context = Context::with_env(STANDARD.clone());
        for root in &self.roots {
            if let Some(value) = scope.root(*root) {
                context.add_variable_from_value(root.name(), to_cel(&value));
            }
        }
        // As above: whatever happens inside for some input is a no, not the end of a connection's task.
        catch_unwind(AssertUnwindSafe(|| {
            self.program
                .execute(&context)
                .map_err(|_| Failed)?
                .json()
                .map_err(|_| Failed)
        }))
        .unwrap_or(Err(Failed))
    }

    /// Whether the condition is true. Everything else, failures included, is no.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> bool {
        self.evaluate(scope) == Ok(Value::Bool(true))
    }
}

/// The crate's own conversion makes unsigned numbers of all that are not negative, and CEL adds those to no plain
/// `1`. Whole numbers are what people mean by them here: int.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) => n
            .as_i64()
            .map(cel::Value::Int)
            .or_else(|| n.as_u64().map(cel::Value::UInt))
            .unwrap_or_else(|| cel::Value::Float(n.as_f64().unwrap_or(f64::NAN))),
        Value::String(s) => cel::Value::String(Arc::new(s.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(map) => {
            let map: HashMap<String, cel::Value> = map.iter().map(|(k, v)| (k.clone(), to_cel(v))).collect();
            cel::Value::Map(map.into())
        }
    }
}

/// Collects the names that are not bound by a macro such as `exists(x, …)`.
fn free_names(expression: &IdedExpr, bound: &mut Vec<String>, names: &mut Vec<String>) {
    match &expression.expr {
        Expr::Ident(name) => {
            if !name.starts_with('@') && !bound.contains(name) {
                names.push(name.clone());
            }
        }
        Expr::Call(call) => {
            for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                free_names(part, bound, names);
            }
        }
        Expr::Select(select) => free_names(&select.operand, bound, names),
        Expr::List(list) => {
            for item in &list.elements {
                free_names(item, bound, names);
            }
        }
        Expr::Comprehension(comprehension) => {
            free_names(&comprehension.iter_range, bound, names);
            free_names(&comprehension.accu_init, bound, names);
            let outside = bound.len();
            bound.push(comprehension.iter_var.clone());
            bound.extend(comprehension.iter_var2.clone());
            bound.push(comprehension.accu_var.clone());
            for part in [
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ] {
                free_names(part, bound, names);
            }
            bound.truncate(outside);
        }
        Expr::Map(map) => entries(&map.entries, bound, names),
        Expr::Struct(message) => entries(&message.entries, bound, names),
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entries(entries: &[cel::common::ast::IdedEntryExpr], bound: &mut Vec<String>, names: &mut Vec<String>) {
    use cel::common::ast::EntryExpr;
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => free_names(&field.value, bound, names),
            EntryExpr::MapEntry(pair) => {
                free_names(&pair.key, bound, names);
                free_names(&pair.value, bound, names);
            }
        }
    }
}
