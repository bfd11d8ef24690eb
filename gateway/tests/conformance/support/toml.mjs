// Plain objects as TOML. A JSON string, number, boolean or list of them is written the same way in TOML.

export function toToml(object, path = []) {
  const isTable = (value) => typeof value === "object" && !Array.isArray(value);
  const entries = Object.entries(object).filter(([, value]) => value !== undefined);
  const lines = entries.filter(([, value]) => !isTable(value)).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  if (path.length && lines.length) lines.unshift(`\n[${path.join(".")}]`);
  for (const [key, value] of entries.filter(([, value]) => isTable(value))) {
    lines.push(toToml(value, [...path, key]));
  }
  return lines.join("\n");
}

/** `base` with the tables of `change` merged in; `undefined` removes a key. */
export function merge(base, change = {}) {
  const result = { ...base };
  for (const [key, value] of Object.entries(change)) {
    const bothTables = [value, base[key]].every((side) => side && typeof side === "object" && !Array.isArray(side));
    result[key] = bothTables ? merge(base[key], value) : value;
  }
  return result;
}
