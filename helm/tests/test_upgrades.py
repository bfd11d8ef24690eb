"""Secrets that the chart makes up are those of the first installation for ever.

`helm template --dry-run=server` asks a server, as an upgrade does; the server is one of the tests' own. That an upgrade
on a real cluster does the same is not shown here.
"""

import chart
import cluster
import pytest

ALL = {"redis": {"bundled": {"enabled": True}}, "webhook": {"url": {"value": "https://backend.internal"}}}


# Helm would have the server check the objects as well, which is another test's part.
UNCHECKED = "--disable-openapi-validation"


def secrets(version, values, there=()):
    """The Secrets by name: what is in them, in a cluster where these are already."""
    with cluster.holding(there) as (env, asked):
        result = chart.template(version, values, "--dry-run=server", UNCHECKED, env=env)
        assert result.returncode == 0, result.stderr
        assert any(path.startswith(cluster.SECRETS) for path in asked), "nothing was looked up"
    found = [o for o in chart.objects(result.stdout) if o["kind"] == "Secret"]
    return found, {o["metadata"]["name"]: chart.content(o) for o in found}


@pytest.mark.parametrize("version", chart.HELMS)
def test_what_was_made_up_is_kept(version):
    there, first = secrets(version, ALL)
    made_up = {text for content in first.values() for key, text in content.items() if chart.GENERATED.fullmatch(text)}
    assert set(first["live-roomcast"]) == {"api-keys", "cluster-secret", "hmac-secret", "webhook-secret", "webhook-url"}
    assert len(made_up) == 5, "four in one, and the password of the other"
    assert secrets(version, ALL, there)[1] == first
    assert secrets(version, ALL)[1] != first, "without them others are made up"


def test_what_comes_on_top_changes_nothing_else():
    there, first = secrets("4", {})
    _, second = secrets("4", ALL, there)
    assert second["live-roomcast"].items() > first["live-roomcast"].items()


def test_a_given_value_takes_the_place_of_a_made_up_one():
    there, _ = secrets("4", {})
    given = {"auth": {"hmac": {"value": "a-secret-of-ones-own-of-32-bytes-or-more"}}, "api": {"keys": {"values": ["a", "b"]}}}
    assert secrets("4", given, there)[1]["live-roomcast"] == {"hmac-secret": given["auth"]["hmac"]["value"], "api-keys": "a,b"}


def test_the_bundled_redis_has_one_password():
    _, found = secrets("4", ALL)
    redis = found["live-roomcast-redis"]
    password = redis["redis-password"]
    assert redis["redis-url"] == f"redis://:{password}@live-roomcast-redis:6379"
    assert f"requirepass {password}\n" in redis["redis.conf"]


@pytest.mark.parametrize("version", chart.HELMS)
def test_an_installation_says_how_to_go_on(version):
    said = {}
    for name in ("defaults", "trial", "production", "gateway-api", "key-set"):
        values = chart.CHART / f"tests/values/{name}.yaml"
        with cluster.holding([]) as (env, _):
            arguments = ["--dry-run=client", UNCHECKED, "--namespace", "chat", "--values", str(values)]
            result = chart.helm(version, "install", "live", str(chart.CHART), *arguments, env=env)
        assert result.returncode == 0, result.stderr
        said[name] = result.stdout.split("NOTES:")[1]
    for text in said.values():
        for needed in ("Reach it", "Publish", "/api/v1/publish", "Watch", "kubectl -n chat"):
            assert needed in text
    assert "image.registry is empty" in said["defaults"] and "no policy of yours" in said["defaults"]
    assert "bundled Redis is for trials" in said["trial"] and "image.registry" not in said["trial"]
    assert 'io("https://live.example.com")' in said["production"] and "get secret api -o" in said["production"]
    assert "curl -sS -k https://localhost:3001" in said["production"]
    assert 'io("https://live.example.com")' in said["gateway-api"]
    assert "roomcast token" in said["defaults"] and "roomcast token" not in said["key-set"]
