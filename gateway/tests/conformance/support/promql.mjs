// As much of PromQL as it takes to put in what Grafana puts in, and to take alerts apart.

/** Which metrics of ours an expression names. */
export const metricsIn = (expr) => new Set([...expr.matchAll(/\b(?:roomcast|process)_\w+/g)]
  .map(([name]) => name.replace(/_(bucket|sum|count)$/, "")));

/** As Grafana does for everything of one data source. */
export const filledIn = (expr, window) => expr
  .replaceAll("$__rate_interval", window)
  .replace(/\$(namespace|job|instance)\b/g, ".*");

/** The sides of the comparisons of a condition, without what they are compared with: what has to have data. */
export function measured(expr) {
  return split(expr, /^ (?:and|or|unless)(?: on ?\([^)]*\))? /).map((part) => split(part, /^ (?:==|!=|<=|>=|<|>) /)[0].trim());
}

/** Splits where the pattern matches outside of brackets and texts. */
function split(expr, pattern) {
  const parts = [];
  let [depth, from, quoted] = [0, 0, false];
  for (let at = 0; at < expr.length; at += 1) {
    if (expr[at] === '"') quoted = !quoted;
    if (quoted) continue;
    if ("([{".includes(expr[at])) depth += 1;
    if (")]}".includes(expr[at])) depth -= 1;
    const found = depth === 0 && pattern.exec(expr.slice(at));
    if (!found) continue;
    parts.push(expr.slice(from, at));
    from = at + found[0].length;
    at = from - 1;
  }
  return [...parts, expr.slice(from)];
}
