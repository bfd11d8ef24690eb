"""Rendering the chart, and looking at what comes out."""

import base64
import copy
import functools
import json
import os
import pathlib
import re
import subprocess
import tempfile

import yaml

CHART = pathlib.Path(__file__).parent.parent
CASES = sorted((CHART / "tests/values").glob("*.yaml"))
# The cluster's oldest and newest version that the chart is for; the oldest one is Chart.yaml's.
OLDEST, NEWEST = "1.30", "1.37"
HELMS = {version: os.environ[f"HELM_{version}"] for version in "34"}
ROOMCAST = os.environ["ROOMCAST_BIN"]
TOOLS = pathlib.Path(os.environ["HELM_TOOLS"])
UPDATE = bool(os.environ.get("HELM_TEST_UPDATE"))
LONG = bool(os.environ.get("HELM_TEST_LONG"))
# What the chart makes up.
GENERATED = re.compile(r"[A-Za-z0-9]{48}")


def helm(version, *arguments, env=None):
    """Runs Helm, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        own = {"HOME": home, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        return subprocess.run(
            [HELMS[version], *arguments], capture_output=True, text=True, timeout=60, env=kept | own | (env or {})
        )


def template(version, values=None, *arguments, env=None):
    """`helm template` of a release `live` in a namespace `chat`, with a file of values or a dict of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        given = []
        if isinstance(values, dict):
            json.dump(values, file)
            file.flush()
            given = ["--values", file.name]
        elif values is not None:
            given = ["--values", str(values)]
        return helm(
            version, "template", "live", str(CHART), "--namespace", "chat", "--kube-version", OLDEST, *given, *arguments, env=env
        )


def render(version, values=None):
    """The objects that come of it, sorted by kind and name."""
    result = template(version, values)
    assert result.returncode == 0, result.stderr
    return objects(result.stdout)


@functools.lru_cache(maxsize=None)
def _case(version, path):
    return render(version, path)


def case(version, path):
    """As render, of a file, and only once."""
    return copy.deepcopy(_case(version, path))


def objects(text):
    found = [document for document in yaml.safe_load_all(text) if document]
    return sorted(found, key=lambda o: (o["kind"], o["metadata"]["name"]))


def one(found, kind, name="live-roomcast"):
    """The one object of that kind and name."""
    matching = [o for o in found if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(matching) == 1, f"{kind} {name}: {len(matching)} of {[(o['kind'], o['metadata']['name']) for o in found]}"
    return matching[0]


def pod(found):
    (deployment,) = (o for o in found if o["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]


def config(found):
    return json.loads(one(found, "ConfigMap")["data"]["roomcast.json"])


def content(secret):
    """What is in a Secret, as text."""
    data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return data | secret.get("stringData", {})


class Readable(yaml.SafeDumper):
    """Lines as lines."""


Readable.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def shown(found):
    """As text to compare: what is made up by chance is replaced."""
    found = copy.deepcopy(found)
    for o in found:
        if o["kind"] == "Secret":
            o["stringData"] = {k: GENERATED.sub("<generated>", v) for k, v in content(o).items()}
            o.pop("data", None)
    return yaml.dump_all(found, Dumper=Readable, sort_keys=True, width=10_000)
