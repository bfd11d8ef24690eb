"""A scan of what comes out, for `helm/test --long`: no finding that is not explained in checkov.yaml."""

import json
import subprocess

import chart
import pytest
import yaml

pytestmark = pytest.mark.skipif(not chart.LONG, reason="helm/test --long")
CASES = ("defaults", "trial", "production", "autoscaling-keda")
SKIPPED = yaml.safe_load((chart.CHART / "tests/checkov.yaml").read_text())


def scan(folder):
    """All findings, as check and object, and how much was looked at."""
    result = subprocess.run(
        [chart.TOOLS / "checkov/bin/checkov", "--directory", folder, "--framework", "kubernetes", "--skip-download",
         "--quiet", "--compact", "--output", "json"],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    report = json.loads(result.stdout)
    findings = {(c["check_id"], c["resource"], c["check_name"]) for c in report.get("results", {}).get("failed_checks", [])}
    return findings, report["summary"]["passed"]


def test_every_finding_is_explained(tmp_path):
    for name in CASES:
        found = chart.case("4", chart.CHART / f"tests/values/{name}.yaml")
        (tmp_path / f"{name}.yaml").write_text(chart.shown(found))
    findings, passed = scan(tmp_path)
    assert passed > 100, "too little was looked at"
    unexplained = sorted(f for f in findings if f[0] not in SKIPPED)
    assert not unexplained, "\n".join(map(str, unexplained))
    stale = set(SKIPPED) - {f[0] for f in findings}
    assert not stale, f"explained, and not found: {stale}"
    assert all(isinstance(reason, str) and len(reason) > 40 for reason in SKIPPED.values())


def test_the_scan_sees_mistakes(tmp_path):
    found = chart.render("4", {"securityContext": {"privileged": True}})
    (tmp_path / "privileged.yaml").write_text(chart.shown(found))
    assert "CKV_K8S_16" in {check for check, *_ in scan(tmp_path)[0]}
