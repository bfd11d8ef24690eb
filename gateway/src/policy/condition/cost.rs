//! What an expression may cost. CEL always ends, but lists inside of lists can keep a processor busy for long, and
//! nothing can stop an evaluation that has begun: so it is reckoned before, from the expression and from the size of
//! what it looks at. Pure.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr},
};

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 4096;
/// The most brackets inside of brackets: the parser goes down into each.
const MAX_NESTING: usize = 32;
/// The most loops (`all`, `exists`, `map`, `filter`) inside of loops.
const MAX_LOOPS: u32 = 3;
/// The most steps of one evaluation, as reckoned here: some tens of milliseconds at worst, and a thousandth of
/// that for what people write.
const BUDGET: u64 = 2_000_000;

/// How much work an expression is for each thing that it looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    parts: u64,
    loops: u32,
}

/// How much there is to look at: values, and texts by their length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size(u64);

impl Size {
    pub(super) fn add(&mut self, values: u64) {
        self.0 = self.0.saturating_add(values);
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.add(text.len() as u64 / 16);
    }
}

impl Cost {
    /// Reckons, and refuses what has no bound.
    pub(super) fn of(expression: &IdedExpr) -> Result<Cost, String> {
        let mut cost = Cost { parts: 0, loops: 0 };
        cost.visit(expression, 0)?;
        if cost.loops > MAX_LOOPS {
            return Err(format!(
                "{} loops inside of each other; {MAX_LOOPS} are the most",
                cost.loops
            ));
        }
        Ok(cost)
    }

    /// Whether it may be evaluated on so much.
    pub(super) fn is_affordable(&self, size: Size) -> bool {
        // A loop may run over what the expression itself puts together.
        let each = size.0.max(self.parts);
        let steps = each.saturating_pow(self.loops.max(1)).saturating_mul(self.parts);
        steps <= BUDGET
    }

    fn visit(&mut self, expression: &IdedExpr, loops: u32) -> Result<(), String> {
        self.parts += 1;
        match &expression.expr {
            Expr::Call(call) => {
                let pattern = call.args.last().map(|p| &p.expr);
                if call.func_name == "matches" && !matches!(pattern, Some(Expr::Literal(_))) {
                    return Err(
                        "the pattern of matches() must be written here: compiling one costs too much"
                            .to_owned(),
                    );
                }
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    self.visit(part, loops)?;
                }
            }
            Expr::Comprehension(comprehension) => {
                self.loops = self.loops.max(loops + 1);
                for part in [&comprehension.iter_range, &comprehension.accu_init] {
                    self.visit(part, loops)?;
                }
                for part in [
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(part, loops + 1)?;
                }
            }
            Expr::Select(select) => self.visit(&select.operand, loops)?,
            Expr::List(list) => {
                for item in &list.elements {
                    self.visit(item, loops)?;
                }
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|e| &e.expr), loops)?,
            Expr::Struct(message) => self.entries(message.entries.iter().map(|e| &e.expr), loops)?,
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        Ok(())
    }

    fn entries<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a EntryExpr>,
        loops: u32,
    ) -> Result<(), String> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.visit(&field.value, loops)?,
                EntryExpr::MapEntry(pair) => {
                    self.visit(&pair.key, loops)?;
                    self.visit(&pair.value, loops)?;
                }
            }
        }
        Ok(())
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
        for (source, size, expect) in [
            ("arg in claims.a || '*' in claims.a", 10, true),
            ("arg in claims.a || '*' in claims.a", 100_000, true),
            ("arg in claims.a || '*' in claims.a", 1_000_000, false),
            ("claims.a.exists(x, x == arg)", 10_000, true),
            ("claims.a.exists(x, x in claims.b)", 10_000, true),
            ("claims.a.exists(x, claims.b.exists(y, x == y))", 200, true),
            ("claims.a.exists(x, claims.b.exists(y, x == y))", 10_000, false),
            (
                "data.a.all(x, data.a.all(y, data.a.all(z, x + y + z > 0)))",
                20,
                true,
            ),
            (
                "data.a.all(x, data.a.all(y, data.a.all(z, x + y + z > 0)))",
                1_000,
                false,
            ),
        ] {
            let affordable = cost(source).unwrap().is_affordable(Size(size));
            assert_eq!(affordable, expect, "{source} on {size}");
        }
        assert!(!cost("data").unwrap().is_affordable(Size(u64::MAX)));
    }

    #[test]
    fn what_has_no_bound_is_refused_when_it_is_loaded() {
        let loops = "a.all(x, a.all(x, a.all(x, a.all(x, true))))";
        for (source, expect) in [
            (loops, "4 loops inside of each other; 3 are the most"),
            ("a.matches(arg)", "the pattern of matches() must be written here"),
            (&format!("{}1{}", "(".repeat(33), ")".repeat(33)), "goes 33 deep"),
            (&format!("{}1", "a ? 1 : ".repeat(33)), "goes 33 deep"),
            (&format!("'{}'", "x".repeat(4096)), "is 4098 bytes long"),
        ] {
            let error = cost(source).unwrap_err();
            assert!(error.contains(expect), "{source}: {error}");
        }
        for source in ["a.matches('^x')", "a in ['0-0-0', '1-1-1', '2-2-2']", "((((a))))"] {
            assert!(cost(source).is_ok(), "{source}");
        }
    }
}
