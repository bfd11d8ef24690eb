"""What the chart makes of every file of values/, by both versions of Helm."""

import difflib
import functools
import json
import re
import subprocess

import chart
import jsonschema
import kubernetes_validate
import node
import pytest
import yaml

NAMES = [path.stem for path in chart.CASES]
DEFAULTS = chart.CHART / "tests/values/defaults.yaml"
every_case = pytest.mark.parametrize("path", chart.CASES, ids=NAMES)
every_helm = pytest.mark.parametrize("version", chart.HELMS)
CUSTOM = ("gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com")


def test_helm_is_what_it_is_said_to_be():
    for version in chart.HELMS:
        assert chart.helm(version, "version", "--short").stdout.startswith(f"v{version}.")


@every_helm
@every_case
def test_lint(version, path):
    result = chart.helm(version, "lint", "--strict", str(chart.CHART), "--values", str(path), "--kube-version", chart.NEWEST)
    assert result.returncode == 0, result.stdout + result.stderr


@every_case
def test_both_versions_make_the_same(path):
    assert chart.shown(chart.case("3", path)) == chart.shown(chart.case("4", path))


def of_grafana(o):
    """Whether it is one of those that hold a copy of a file of grafana/, and would only be another copy here."""
    return o["kind"] == "PrometheusRule" or "grafana_dashboard" in o["metadata"].get("labels", {})


@every_case
def test_snapshot(path):
    """The defaults as a whole; of every other case what it changes about them. `helm/test --update` takes it over."""
    text = chart.shown([o for o in chart.case("4", path) if not of_grafana(o)])
    if path != DEFAULTS:
        before = chart.shown(chart.case("4", DEFAULTS)).splitlines(keepends=True)
        lines = list(difflib.unified_diff(before, text.splitlines(keepends=True), n=2))[2:]
        text = "".join("@@\n" if line.startswith("@@") else line for line in lines)
    snapshot = chart.CHART / "tests/snapshots" / (path.stem + (".yaml" if path == DEFAULTS else ".diff"))
    if chart.UPDATE:
        snapshot.write_text(text)
    assert snapshot.exists() and text == snapshot.read_text(), f"{path.stem} renders otherwise: helm/test --update, and look at git diff"


def test_no_snapshot_is_left_over():
    kept = {file.stem for file in (chart.CHART / "tests/snapshots").iterdir()}
    assert kept == set(NAMES)


@pytest.mark.parametrize("kubernetes", [chart.OLDEST, chart.NEWEST])
@every_case
def test_kubernetes_accepts_it(path, kubernetes):
    for found in chart.case("4", path):
        if not found["apiVersion"].startswith(CUSTOM):
            problem = mistake(json.dumps(found), kubernetes)
            assert not problem, f"{found['kind']} {found['metadata']['name']}: {problem}"


@functools.lru_cache(maxsize=None)
def mistake(text, kubernetes):
    """What that version has against an object; many cases share theirs."""
    try:
        kubernetes_validate.validate(json.loads(text), kubernetes, strict=True)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as problem:
        return str(problem)
    return None


def test_kubernetes_sees_mistakes():
    deployment = chart.one(chart.case("4", DEFAULTS), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "public"
    assert mistake(json.dumps(deployment), chart.OLDEST) and mistake(json.dumps(deployment), chart.NEWEST)
    service = chart.one(chart.case("4", DEFAULTS), "Service")
    service["spec"]["sesionAffinity"] = "None"
    assert mistake(json.dumps(service), chart.OLDEST) and mistake(json.dumps(service), chart.NEWEST)


def test_the_oldest_version_is_that_of_the_chart():
    assert f'kubeVersion: ">={chart.OLDEST}.0-0"' in (chart.CHART / "Chart.yaml").read_text()
    refused = chart.helm("4", "template", str(chart.CHART), "--kube-version", "1.29")
    assert "kubeVersion" in refused.stderr


def check_models(found):
    """The mistakes in custom resources."""
    result = subprocess.run(
        ["node", chart.CHART / "tests/models.mjs", chart.TOOLS / "models"],
        input=json.dumps(found), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.splitlines()


def test_operators_accept_it():
    found = [o for path in chart.CASES for o in chart.case("4", path) if o["apiVersion"].startswith(CUSTOM)]
    kinds = {o["kind"] for o in found}
    rules = {"PrometheusRule"} if list((chart.CHART / "files/alerts").glob("*.yaml")) else set()
    assert kinds == {"HTTPRoute", "ScaledObject", "ServiceMonitor", "PodMonitor"} | rules
    assert check_models(found) == []


def test_the_models_see_mistakes():
    (route,) = (o for o in chart.case("4", chart.CHART / "tests/values/gateway-api.yaml") if o["kind"] == "HTTPRoute")
    route["spec"]["rules"][0]["backendRefs"][0]["port"] = "http"
    route["spec"]["parentRefs"][0]["nmespace"] = "typo"
    mistakes = check_models([route])
    assert any("port: type" in line for line in mistakes), mistakes
    assert any("nmespace: unknown field" in line for line in mistakes), mistakes


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    return node.existing(tmp_path_factory.mktemp("existing"))


@every_case
def test_the_node_accepts_the_configuration(path, there, tmp_path):
    found = chart.case("4", path)
    node.write(tmp_path, node.files(found, there))
    result = subprocess.run(
        [chart.ROOMCAST, "check-config", tmp_path / "roomcast.json"],
        env=node.environment(found, there), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "warn" not in said.lower(), said


@every_case
def test_no_secret_is_outside_of_a_secret(path):
    found = chart.case("4", path)
    secrets = {v for o in found if o["kind"] == "Secret" for v in chart.content(o).values()}
    rest = chart.shown([o for o in found if o["kind"] != "Secret"])
    for secret in secrets:
        assert secret not in rest


EXAMPLES = re.findall(r"```yaml\n# values.yaml\n(.*?)```", (chart.CHART / "README.md").read_text(), re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_work(example):
    for version in chart.HELMS:
        chart.render(version, yaml.safe_load(example))
    assert len(EXAMPLES) == 2


def test_the_command_of_the_readmes_works():
    """The same in both, and with values that are there."""
    for readme in (chart.CHART / "README.md", chart.CHART.parent / "README.md"):
        command = re.search(r"helm upgrade --install (.*?)\n```", readme.read_text(), re.S)[1].replace("\\\n", " ").split()
        assert command[:5] == ["live", "./helm", "--namespace", "live", "--create-namespace"]
        result = chart.helm("4", "template", "live", str(chart.CHART), *command[5:])
        assert result.returncode == 0, result.stderr
        assert chart.one(chart.objects(result.stdout), "Deployment")["spec"]["replicas"] == 3
