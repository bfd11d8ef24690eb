"""What is made of other files is as it has to be."""

import json
import re
import shutil

import chart
import generated
import pytest
import yaml

AGAIN = "run helm/test --update"


def test_readme_has_the_values():
    assert (chart.CHART / "README.md").read_text() == generated.readme(), AGAIN


def test_every_value_is_described():
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    described = generated.descriptions((chart.CHART / "values.yaml").read_text())

    def leaves(node, path):
        if path in described or not isinstance(node, dict):
            yield path
        else:
            for key, value in node.items():
                yield from leaves(value, f"{path}.{key}".strip("."))

    assert set(leaves(values, "")) == set(described)


def test_live_keys_are_those_of_the_reference():
    assert (chart.CHART / "files/live-keys.txt").read_text() == generated.live_keys(), AGAIN
    assert "limits.max_connections" in generated.live_keys() and "redis.url" not in generated.live_keys()


def test_what_the_chart_takes_for_a_default_is_the_nodes():
    reference = (generated.ROOT / "docs/configuration.md").read_text()
    defaults = dict(re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| `([^`]+)` \|", reference, re.M))
    templates = "".join(file.read_text() for file in (chart.CHART / "templates").iterdir())
    assumed = set(re.findall(r'"key" "([a-z_.]+)" "default" "([^"]*)"', templates))
    assert {key for key, _ in assumed} == {"drain.timeout", "drain.wait", "engine.path", "engine.transports"}
    # A node that does not know `drain.wait` yet waits for nobody.
    assert {(k, v) for k, v in assumed if k in defaults or k != "drain.wait"} <= set(defaults.items())


def test_dashboards_and_alerts_are_those_of_grafana():
    copies = generated.copies()
    assert generated.copied() == set(copies), AGAIN
    for copy, original in copies.items():
        assert copy.read_bytes() == original.read_bytes(), f"{copy.name}: {AGAIN}"


@pytest.fixture()
def with_files(tmp_path, monkeypatch):
    """The chart with a dashboard and a file of alerts more."""
    folder = tmp_path / "roomcast"
    shutil.copytree(chart.CHART, folder, ignore=shutil.ignore_patterns("tests"))
    (folder / "files/dashboards").mkdir(exist_ok=True)
    (folder / "files/alerts").mkdir(exist_ok=True)
    (folder / "files/dashboards/extra.json").write_text('{"title": "Extra", "legend": "{{instance}} {{ $labels.room }}"}\n')
    (folder / "files/alerts/extra.yaml").write_text(
        "# A comment.\ngroups:\n  - name: extra\n    rules:\n      - alert: Extra\n        expr: up{job=\"a\"} == 0\n"
        "        for: 1m\n        annotations: {summary: '{{ $labels.instance }} is down', runbook_url: '${ROOMCAST_DOCS}/x.md#extra'}\n"
    )
    monkeypatch.setattr(chart, "CHART", folder)


@pytest.mark.parametrize("version", chart.HELMS)
def test_dashboards_and_alerts_are_taken_as_they_are(version, with_files):
    metrics = {"prometheusRule": {"enabled": True, "docsUrl": "https://docs.example.com/"}, "dashboards": {"enabled": True}}
    found = chart.render(version, {"metrics": metrics})
    dashboard = chart.one(found, "ConfigMap", "live-roomcast-extra")
    assert json.loads(dashboard["data"]["roomcast-extra.json"])["legend"] == "{{instance}} {{ $labels.room }}"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (group,) = chart.one(found, "PrometheusRule", "live-roomcast-extra")["spec"]["groups"]
    (rule,) = group["rules"]
    assert rule["annotations"] == {"summary": "{{ $labels.instance }} is down", "runbook_url": "https://docs.example.com/x.md#extra"}
    assert rule["for"] == "1m"


def test_a_dashboard_fits_into_a_configmap():
    for file in generated.copied():
        assert file.stat().st_size < 900_000, file


def test_the_package_has_no_tests(tmp_path):
    result = chart.helm("4", "package", str(chart.CHART), "--destination", str(tmp_path))
    assert result.returncode == 0, result.stderr
    (package,) = tmp_path.glob("*.tgz")
    shutil.unpack_archive(package, tmp_path)
    assert {p.name for p in (tmp_path / "roomcast").iterdir()} == {
        "Chart.yaml", "README.md", "files", "templates", "values.yaml", "values.schema.json", ".helmignore",
    }  # fmt: skip
