//! Expressions in CEL, compiled once. The language is the `cel` crate's; the names in it, and how much one may
//! cost, are ours.

mod cost;
mod names;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, Program,
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
        value::Val,
    },
};
use serde_json::Value;

pub(super) use self::cost::BUDGET_OF_LIST;
use self::cost::{Cost, Size};
use super::{
    scope::{Path, Root, Scope},
    trail::{Outcome, Trail},
};

/// Building the standard environment costs more than evaluating a condition: all of them share one.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression and the names that it uses.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    program: Program,
    uses: Vec<Use>,
    paths: Vec<Path>,
    is_path: bool,
    cost: Cost,
}

/// A root, and what of it the expression looks at: the rest is not handed over to it, which is most of the work.
#[derive(Debug)]
struct Use {
    root: Root,
    /// The names directly inside; `None` = all of it.
    members: Option<Vec<String>>,
}

/// The expression did not give a value.
#[derive(Debug)]
pub(super) enum Failed {
    /// A claim is missing, types do not fit. The text may hold values: it is for whoever holds the token.
    Value(Box<ExecutionError>),
    /// There is nothing at the path that it consists of.
    Missing(Path),
    /// It gave something that is no JSON.
    NotJson,
    /// It gave something else than true or false.
    NotBool,
    /// It gave something else than a list.
    NotList,
    /// What it looks at is too large for what it does.
    TooMuch,
    /// The evaluation broke.
    Broken,
}

impl Expression {
    /// Compiles and checks every name against the roots that the place allows.
    pub(super) fn parse(source: &str, allowed: &[Root]) -> Result<Expression, String> {
        cost::check_source(source)?;
        // The parser is a foreign one and fed by people: should it ever panic, that is their typo, not our end.
        let program = catch_unwind(|| Program::compile(source))
            .map_err(|_| format!("{source:?} cannot be parsed as CEL"))?
            .map_err(|e| {
                let first = e.errors.first().map(|e| e.msg.clone()).unwrap_or_default();
                format!("{source:?} is not valid CEL: {first}")
            })?;
        let cost = Cost::of(program.expression()).map_err(|e| format!("{source:?}: {e}"))?;
        let named = names::of(program.expression());
        let mut paths = Vec::new();
        for (root, names) in named.paths {
            let root = Root::find(&root, allowed).map_err(|e| format!("{source:?}: {e}"))?;
            let path = Path { root, names };
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(Expression {
            source: source.to_owned(),
            program,
            uses: uses(&paths),
            paths,
            is_path: named.is_path,
            cost,
        })
    }

    /// As it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The path that this expression consists of, when it is nothing else.
    pub(super) fn as_path(&self) -> Option<&Path> {
        self.paths.first().filter(|_| self.is_path)
    }

    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Failed> {
        if let Some(path) = self.as_path() {
            // Only looks something up: that needs no evaluation, and keeps the order of keys.
            return scope
                .find(path)
                .map(Cow::into_owned)
                .ok_or_else(|| Failed::Missing(path.clone()));
        }
        let roots = self.uses.iter().map(|part| (part, scope.root(part.root)));
        let roots: Vec<_> = roots.filter_map(|(part, value)| Some((part, value?))).collect();
        let mut context = Context::with_env(STANDARD.clone());
        let mut size = Size::default();
        for (part, value) in &roots {
            let value = to_cel(value, part.members.as_deref(), &mut size);
            context.add_variable_as_val(part.root.name(), value);
        }
        let steps = self.cost.steps(size).ok_or(Failed::TooMuch)?;
        if !scope.spend(steps) {
            return Err(Failed::TooMuch);
        }
        // As above: whatever happens inside for some input is a no, not the end of a connection's task.
        catch_unwind(AssertUnwindSafe(|| {
            self.program
                .execute(&context)
                .map_err(|e| Failed::Value(Box::new(e)))?
                .json()
                .map_err(|_| Failed::NotJson)
        }))
        .unwrap_or(Err(Failed::Broken))
    }

    /// The value, on the record.
    pub(super) fn value(
        &self,
        key: &'static str,
        scope: &Scope<'_>,
        trail: &mut Trail<'_>,
    ) -> Result<Value, Failed> {
        let result = self.evaluate(scope);
        trail.expression(key, self, scope, || match &result {
            Ok(value) => Outcome::Value(value.clone()),
            Err(failed) => Outcome::Failed(failed.to_string()),
        });
        result
    }

    /// Whether the condition is true. Everything else, failures included, is no; failures are on the record.
    pub(super) fn holds(&self, key: &'static str, scope: &Scope<'_>, trail: &mut Trail<'_>) -> bool {
        let result = match self.evaluate(scope) {
            Ok(Value::Bool(value)) => Ok(value),
            Ok(_) => Err(Failed::NotBool),
            Err(failed) => Err(failed),
        };
        trail.expression(key, self, scope, || match &result {
            Ok(value) => Outcome::Value(Value::Bool(*value)),
            Err(failed) => Outcome::Failed(failed.to_string()),
        });
        result.unwrap_or_else(|_| {
            trail.failed();
            false
        })
    }

    /// The items of a list. A list that is not there has none, and neither has anything else.
    pub(super) fn items(&self, key: &'static str, scope: &Scope<'_>, trail: &mut Trail<'_>) -> Vec<Value> {
        let result = match self.evaluate(scope) {
            Ok(Value::Array(items)) => Ok(items),
            Ok(_) => Err(Failed::NotList),
            Err(failed) => Err(failed),
        };
        trail.expression(key, self, scope, || match &result {
            Ok(items) => Outcome::Value(Value::Array(items.clone())),
            Err(failed) => Outcome::Failed(failed.to_string()),
        });
        result.unwrap_or_default()
    }

    /// What it looks at, with the values of the moment.
    pub(super) fn looked_at(&self, scope: &Scope<'_>) -> Vec<(String, Option<Value>)> {
        let seen = |path: &Path| (path.to_string(), scope.find(path).map(|v| v.into_owned()));
        self.paths.iter().map(seen).collect()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Value(error) => match &**error {
                ExecutionError::NoSuchKey(key) => write!(f, "{key:?} is missing"),
                ExecutionError::UndeclaredReference(name) => write!(f, "{name} has no value"),
                _ => f.write_str("the types do not fit"),
            },
            Failed::Missing(path) => write!(f, "{path} has no value"),
            Failed::NotJson => f.write_str("it gives something that is no JSON"),
            Failed::NotBool => f.write_str("it gives something else than true or false"),
            Failed::NotList => f.write_str("it gives something else than a list"),
            Failed::TooMuch => f.write_str("what it looks at is too large for what it does"),
            Failed::Broken => f.write_str("it cannot be evaluated"),
        }
    }
}

fn uses(paths: &[Path]) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::new();
    for path in paths {
        let member = path.names.first();
        match uses.iter_mut().find(|u| u.root == path.root) {
            Some(part) => match (&mut part.members, member) {
                (Some(members), Some(member)) => members.push(member.clone()),
                (members, None) => *members = None,
                (None, _) => {}
            },
            None => uses.push(Use {
                root: path.root,
                members: member.map(|m| vec![m.clone()]),
            }),
        }
    }
    uses
}

/// The crate's own conversion makes unsigned numbers of all that are not negative, and CEL adds those to no plain
/// `1`. Whole numbers are what people mean by them here: int. Texts are not copied.
fn to_cel<'v>(value: &'v Value, members: Option<&[String]>, size: &mut Size) -> Box<dyn Val + 'v> {
    size.add(1);
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Box::new(CelInt::from(n)),
            (None, Some(n)) => Box::new(CelUInt::from(n)),
            (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(s) => {
            size.add_text(s);
            Box::new(CelString::from(s.as_str()))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|v| to_cel(v, None, size)).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(map) => {
            let wanted = |name: &String| members.is_none_or(|m| m.contains(name));
            let wanted = map.iter().filter(|(name, _)| wanted(name));
            let map: HashMap<CelMapKey<'v>, _> = wanted
                .map(|(name, v)| {
                    size.add_text(name);
                    (CelMapKey::from(name.as_str()), to_cel(v, None, size))
                })
                .collect();
            Box::new(CelMap::from(map))
        }
    }
}
