//! What an expression may cost. CEL always ends, but lists inside of lists can keep a processor busy for long, and
//! nothing can stop an evaluation that has begun: so it is reckoned before, from the expression and from the size of
//! what it looks at. Pure.

use cel::{
    Context, IdedExpr, Program,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 4096;
/// The most brackets inside of brackets: the parser goes down into each.
const MAX_NESTING: usize = 32;
/// The most loops (`all`, `exists`, `map`, `filter`) inside of loops.
const MAX_LOOPS: u32 = 3;
/// The most steps of one evaluation, as reckoned here. A step takes 20 to 70 ns, so that this is at most some 40 ms on a
/// busy processor, which `benches/policy.rs` looks for; what people write takes a few microseconds.
const BUDGET: u64 = 500_000;
/// The most steps of one rule for all items of a list together.
pub(in super::super) const BUDGET_OF_LIST: u64 = 4 * BUDGET;
/// The functions that there are: one that is not is a typo, and would be no for ever.
const FUNCTIONS: [&str; 11] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "dyn",
];
/// What each value is reckoned at for being handed over to the evaluation.
const HANDED_OVER: u64 = 5;
/// What a pattern is reckoned at for each time that it is looked for: it is compiled anew each time.
const PATTERN: u64 = 2_000;
/// The longest pattern, in bytes, and the most that it may count to: `[0-9]{6,15}` is compiled as fifteen parts.
const MAX_PATTERN: usize = 256;
const MAX_COUNT: u64 = 64;
/// How many bytes of text are one step.
const BYTES: u64 = 16;
/// The powers of the size that are told apart. Loops and what goes through lists inside of them come to fewer.
const POWERS: usize = 8;

/// How much work an expression is: how many of its parts take time that grows with a power of the size of what it looks
/// at. `claims.a.exists(x, x in claims.b)` goes through a list for each item of a list, which is the square.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    parts: [u64; POWERS],
    /// How much is written down in the expression, which a loop may run over as well.
    own: u64,
}

/// How much there is to look at: values, and texts by their length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size(u64);

/// What is known of a value: with which power of the size it grows. 0 = it does not, or it is an item of a loop over
/// what was there before: all items together are no more than the list, which the loop was reckoned at already.
type Power = usize;

impl Size {
    pub(super) fn add(&mut self, values: u64) {
        self.0 = self.0.saturating_add(values);
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.add(text.len() as u64 / BYTES);
    }
}

impl Cost {
    /// Reckons, and refuses what has no bound.
    pub(super) fn of(expression: &IdedExpr) -> Result<Cost, String> {
        let mut reckoning = Reckoning {
            cost: Cost {
                parts: [0; POWERS],
                own: 0,
            },
            depth: 0,
            loops: 0,
            bound: Vec::new(),
        };
        let result = reckoning.visit(expression, 0)?;
        if reckoning.loops > MAX_LOOPS {
            return Err(format!(
                "{} loops inside of each other; {MAX_LOOPS} are the most",
                reckoning.loops
            ));
        }
        reckoning.spend(1, result); // what comes out is made into JSON
        Ok(reckoning.cost)
    }

    /// The steps that it takes on so much; `None` = too many.
    pub(super) fn steps(&self, size: Size) -> Option<u64> {
        let each = size.0.max(self.own);
        let powers = std::iter::successors(Some(1_u64), |power| Some(power.saturating_mul(each)));
        let steps = self.parts.iter().zip(powers);
        let steps = steps.fold(size.0.saturating_mul(HANDED_OVER), |sum, (parts, power)| {
            sum.saturating_add(parts.saturating_mul(power))
        });
        Some(steps).filter(|steps| *steps <= BUDGET)
    }
}

/// On the way through an expression.
struct Reckoning<'e> {
    cost: Cost,
    /// How many loops are around, and the most that there were.
    depth: u32,
    loops: u32,
    /// The variables of the loops around, and how they grow.
    bound: Vec<(&'e str, Power)>,
}

impl<'e> Reckoning<'e> {
    fn spend(&mut self, parts: u64, power: Power) {
        if let Some(sum) = self.cost.parts.get_mut(power.min(POWERS - 1)) {
            *sum = sum.saturating_add(parts);
        }
    }

    /// Reckons a part that is evaluated as often as this power says, and tells how what comes out of it grows.
    fn visit(&mut self, expression: &'e IdedExpr, often: Power) -> Result<Power, String> {
        self.spend(1, often);
        match &expression.expr {
            Expr::Call(call) => self.call(call, often),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, often),
            Expr::Select(select) => self.visit(&select.operand, often),
            Expr::List(list) => self.all(list.elements.iter(), often),
            Expr::Map(map) => self.entries(map.entries.iter().map(|e| &e.expr), often),
            Expr::Struct(message) => self.entries(message.entries.iter().map(|e| &e.expr), often),
            Expr::Ident(name) => {
                let bound = self.bound.iter().rev().find(|(bound, _)| bound == name);
                Ok(bound.map_or(1, |(_, power)| *power))
            }
            Expr::Literal(value) => {
                let length = text(value).map_or(0, |text| text.len() as u64 / BYTES);
                self.spend(length, often);
                self.cost.own += length;
                Ok(0)
            }
            Expr::Unspecified => Ok(0),
        }
    }

    /// Several values that are put together: each is copied.
    fn all(&mut self, parts: impl Iterator<Item = &'e IdedExpr>, often: Power) -> Result<Power, String> {
        let mut most = 0;
        for part in parts {
            let power = self.visit(part, often)?;
            self.cost.own += 1;
            self.spend(1, often + power);
            most = most.max(power);
        }
        Ok(most)
    }

    fn call(&mut self, call: &'e CallExpr, often: Power) -> Result<Power, String> {
        let name = call.func_name.as_str();
        if name.starts_with(char::is_alphabetic) && !FUNCTIONS.contains(&name) {
            return Err(format!(
                "there is no function {name}(); there are {}",
                FUNCTIONS.join(", ")
            ));
        }
        if name == "matches" {
            self.pattern(call.args.last(), often)?;
        }
        let mut powers = Vec::with_capacity(3);
        for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
            powers.push(self.visit(part, often)?);
        }
        let most = powers.iter().copied().max().unwrap_or_default();
        let (goes_through, gives) = match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => (0, 0),
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => (0, 0),
            operators::NEGATE | operators::NOT_STRICTLY_FALSE => (0, 0),
            // Both are gone through together, up to the end of the shorter one.
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => (powers.iter().copied().min().unwrap_or_default(), 0),
            // Each item of the list is compared; whatever is looked for, no further than the item goes.
            operators::IN => (powers.last().copied().unwrap_or_default(), 0),
            "matches" | "contains" | "startsWith" | "endsWith" | "size" => (most, 0),
            _ => (most, most),
        };
        self.spend(1, often + goes_through);
        Ok(gives)
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr, often: Power) -> Result<Power, String> {
        let range = self.visit(&comprehension.iter_range, often)?;
        self.visit(&comprehension.accu_init, often)?;
        // How often it runs: the items of what the expression wrote down are reckoned as if they grew, too.
        let runs = often + range.max(1);
        self.spend(1, runs); // each item is copied
        let item = if is_given(&comprehension.iter_range) {
            0
        } else {
            range
        };
        let outside = self.bound.len();
        self.bound.push((&comprehension.iter_var, item));
        self.bound
            .extend(comprehension.iter_var2.iter().map(|name| (name.as_str(), item)));
        // The list that is being put together is not copied for each item; those of `all` and `exists` do not grow.
        self.bound.push((&comprehension.accu_var, 0));
        self.depth += 1;
        self.loops = self.loops.max(self.depth);
        self.visit(&comprehension.loop_cond, runs)?;
        let step = self.visit(&comprehension.loop_step, runs)?;
        self.depth -= 1;
        let gathers = matches!(comprehension.accu_init.expr, Expr::List(_) | Expr::Map(_));
        let whole = if gathers { range.max(1) + step } else { 0 };
        if let Some((_, power)) = self.bound.last_mut() {
            *power = whole;
        }
        let result = self.visit(&comprehension.result, often)?;
        self.bound.truncate(outside);
        self.spend(1, often + result);
        Ok(result)
    }

    fn entries(
        &mut self,
        entries: impl Iterator<Item = &'e EntryExpr>,
        often: Power,
    ) -> Result<Power, String> {
        let parts = entries.flat_map(|entry| match entry {
            EntryExpr::StructField(field) => [Some(&field.value), None],
            EntryExpr::MapEntry(pair) => [Some(&pair.key), Some(&pair.value)],
        });
        self.all(parts.flatten(), often)
    }

    fn pattern(&mut self, pattern: Option<&IdedExpr>, often: Power) -> Result<(), String> {
        let Some(Expr::Literal(value)) = pattern.map(|p| &p.expr) else {
            return Err(
                "the pattern of matches() must be written here: compiling one costs too much".to_owned(),
            );
        };
        let pattern = text(value).unwrap_or_default();
        if pattern.len() > MAX_PATTERN {
            let length = pattern.len();
            return Err(format!("a pattern of {length} bytes; {MAX_PATTERN} are the most"));
        }
        let counted: u64 = counts(pattern).fold(0, u64::saturating_add);
        if counted > MAX_COUNT {
            return Err(format!(
                "the pattern {pattern:?} counts up to {counted} in all; {MAX_COUNT} are the most"
            ));
        }
        check_pattern(pattern)?;
        self.spend(
            PATTERN.saturating_mul(1 + pattern.len() as u64 / BYTES + counted),
            often,
        );
        Ok(())
    }
}

/// How often the parts of a pattern are repeated: 15 for `a{6,15}`.
fn counts(pattern: &str) -> impl Iterator<Item = u64> {
    let counts = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    counts.filter_map(|(count, _)| count.split(',').filter_map(|n| n.trim().parse().ok()).max())
}

/// A pattern that cannot be compiled is a mistake in the file, and not a no for everybody.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let mut context = Context::default();
    context.add_variable_from_value("pattern", pattern.to_owned());
    let checked = Program::compile("''.matches(pattern)").map(|program| program.execute(&context).is_ok());
    match checked {
        Ok(true) => Ok(()),
        _ => Err(format!("{pattern:?} is no pattern that can be compiled")),
    }
}

/// What was there before the evaluation, or a part of it: not put together by the expression.
fn is_given(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_given(&select.operand),
        _ => false,
    }
}

fn text(value: &LiteralValue) -> Option<&str> {
    match value {
        LiteralValue::String(text) => Some(text.inner()),
        _ => None,
    }
}

/// Looks at the text before the parser does.
pub(super) fn check_source(source: &str) -> Result<(), String> {
    if source.len() > MAX_SOURCE {
        let start: String = source.chars().take(40).collect();
        return Err(format!(
            "{start:?}… is {} bytes long; {MAX_SOURCE} are the most",
            source.len()
        ));
    }
    // Those in texts count as well: nobody has that many there. Each `a ? b : c` may be inside of the one before.
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_NESTING {
        return Err(format!(
            "{source:?} goes {deepest} deep; {MAX_NESTING} are the most"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    fn cost(source: &str) -> Result<Cost, String> {
        check_source(source)?;
        Cost::of(Program::compile(source).unwrap().expression())
    }

    #[test]
    fn what_people_write_is_affordable_and_what_burns_a_processor_is_not() {
        let three = "data.a.all(x, data.a.all(y, data.a.all(z, x + y + z > 0)))";
        for (source, size, expect) in [
            ("arg in claims.a || '*' in claims.a", 10, true),
            ("arg in claims.a || '*' in claims.a", 50_000, true),
            ("arg in claims.a || '*' in claims.a", 100_000, false),
            ("claims.a.exists(x, x == arg)", 10_000, true),
            ("claims.teams.exists(t, t.id == arg)", 20_000, true),
            (
                "claims.a.exists(x, x.id == arg && x.role in ['a', 'b'])",
                10_000,
                true,
            ),
            ("claims.a.exists(x, x in claims.b)", 500, true),
            ("claims.a.exists(x, x in claims.b)", 10_000, false),
            ("claims.a.exists(x, claims.b == claims.c)", 10_000, false),
            ("claims.a.exists(x, claims.b.contains(claims.c))", 10_000, false),
            ("claims.a.exists(x, x.startsWith('a'))", 10_000, true),
            ("size(claims.a.map(x, x + 1)) > 0", 10_000, true),
            ("size(claims.a.map(x, claims.b)) > 0", 10_000, false),
            ("claims.a.map(x, claims.b).all(l, size(l) > 0)", 10_000, false),
            ("claims.a.map(x, [x])", 10_000, true),
            ("claims.a.map(x, [claims.a])", 10_000, false),
            ("claims.a.exists(x, claims.b.exists(y, x == y))", 100, true),
            ("claims.a.exists(x, claims.b.exists(y, x == y))", 10_000, false),
            (three, 20, true),
            (three, 1_000, false),
            ("arg.matches('^[a-z]{1,20}$')", 10_000, true),
            ("claims.a.exists(x, x.matches('^a'))", 100, true),
            ("claims.a.exists(x, x.matches('^a'))", 10_000, false),
        ] {
            let affordable = cost(source).unwrap().steps(Size(size)).is_some();
            assert_eq!(affordable, expect, "{source} on {size}");
        }
        assert!(cost("data").unwrap().steps(Size(u64::MAX)).is_none());
    }

    #[test]
    fn what_has_no_bound_is_refused_when_it_is_loaded() {
        let loops = "a.all(x, a.all(x, a.all(x, a.all(x, true))))";
        for (source, expect) in [
            (loops, "4 loops inside of each other; 3 are the most"),
            ("a.matches(arg)", "the pattern of matches() must be written here"),
            ("a.matches('(')", "is no pattern that can be compiled"),
            ("a.matches('a{65}')", "counts up to 65 in all; 64 are the most"),
            ("a.matches('(a{40}b{1,30})')", "counts up to 70 in all"),
            (
                &format!("a.matches('{}')", "x".repeat(257)),
                "a pattern of 257 bytes; 256 are the most",
            ),
            (&format!("{}1{}", "(".repeat(33), ")".repeat(33)), "goes 33 deep"),
            (&format!("{}1", "a ? 1 : ".repeat(33)), "goes 33 deep"),
            (&format!("'{}'", "x".repeat(4096)), "is 4098 bytes long"),
        ] {
            let error = cost(source).unwrap_err();
            assert!(error.contains(expect), "{source}: {error}");
        }
        for source in [
            "a.matches('^x')",
            "a.matches('^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')",
            "a in ['0-0-0', '1-1-1', '2-2-2']",
            "((((a))))",
        ] {
            assert!(cost(source).is_ok(), "{source}");
        }
    }
}
