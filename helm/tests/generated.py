"""What is made of other files, and has to be made again when they change: README's table, the list of live keys, and
the copies of dashboards and alerts, since Helm reads nothing outside of a chart.

As a program it writes all of it.
"""

import json
import pathlib
import re

import yaml

CHART = pathlib.Path(__file__).parent.parent
ROOT = CHART.parent
# Where a copy is from: what matches here, and nothing in folders below.
COPIES = {"files/dashboards": ("grafana/dashboards", "*.json"), "files/alerts": ("grafana/alerts", "*.yaml")}
BEGIN, END = "<!-- values: made by helm/test --update -->", "<!-- end of values -->"


def descriptions(text):
    """Path to description of all keys that have one. Raises where a leaf has none."""
    found, path, pending = {}, [], None
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r" *# -- (.*)", line):
            pending = match[1]
            continue
        match = re.match(r"( *)([A-Za-z]\w*):(.*)", line)
        if not match or any(".".join(path[:n]) in found for n in range(1, len(match[1]) // 2 + 1)):
            continue
        path = path[: len(match[1]) // 2] + [match[2]]
        if pending is not None:
            found[".".join(path)] = pending
            pending = None
        elif match[3].strip():
            raise ValueError(f"values.yaml:{number}: {'.'.join(path)} has no description (a line `# -- …` above it)")
    return found


def table():
    """The table of all values."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = ["| Value | Default | Meaning |", "|---|---|---|"]
    for path, meaning in descriptions(text).items():
        default = values
        for part in path.split("."):
            default = default[part]
        rows.append(f"| `{path}` | `{json.dumps(default, ensure_ascii=False)}` | {meaning} |")
    return "\n".join(rows)


def readme():
    """README.md with the table as it has to be."""
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def live_keys():
    """The keys that a running node takes over, from the reference of the configuration."""
    rows = (line.split(" | ") for line in (ROOT / "docs/configuration.md").read_text().splitlines())
    keys = [row[0].strip("|` ") for row in rows if len(row) == 6 and row[4].strip() == "live"]
    return "".join(f"{key}\n" for key in keys)


def copies():
    """Every file that has to be in the chart: its path there, and the path that it is a copy of."""
    found = {}
    for there, (here, pattern) in COPIES.items():
        for file in sorted((ROOT / here).glob(pattern)):
            found[CHART / there / file.name] = file
    return found


def copied():
    """Every file that is there."""
    return {file for there, (_, pattern) in COPIES.items() for file in (CHART / there).glob(pattern)}


def main():
    (CHART / "README.md").write_text(readme())
    (CHART / "files/live-keys.txt").write_text(live_keys())
    wanted = copies()
    for stale in copied() - set(wanted):
        stale.unlink()
    for copy, original in wanted.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(original.read_bytes())


if __name__ == "__main__":
    main()
