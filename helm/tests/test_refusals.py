"""Values that are refused, by the schema or by a sentence of a template, and what is said then."""

import json
import re

import chart
import jsonschema
import pytest
import yaml

REDIS = {"redis": {"value": "redis://redis:6379"}}
INGRESS = {"ingress": {"enabled": True, "hosts": ["live.example.com"]}}
SCALED = REDIS | {"autoscaling": {"enabled": True}}
SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())


def set_in(path, value):
    """`a.b` and a value as {a: {b: value}}."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def scaled(**autoscaling):
    return REDIS | {"autoscaling": {"enabled": True, **autoscaling}}


# What the schema refuses: values by their path, and a part of the path that is complained of.
WRONG = [
    ("replicas", 3),
    ("image.registy", "registry.example.com"),
    ("image.tag", "a tag"),
    ("image.tag", 1.2),
    ("image.digest", "sha256:short"),
    ("image.repository", "roomcast:0.1.0"),
    ("image.pullPolicy", "Sometimes"),
    ("image.pullSecrets", ["registry"]),
    ("nameOverride", "Not A Name"),
    ("replicaCount", "3"),
    ("replicaCount", -1),
    ("config", "listen = '0.0.0.0:3000'"),
    ("policy.contents", "[identity]"),
    ("policy.content", {"identity": {"user": "claims.sub"}}),
    ("policy.builtin", "builtin:whatsapp-crm"),
    ("policy.existingConfigMap", "policies"),
    ("auth.hmac.mode", "sometimes"),
    ("auth.hmac.value", "too-short"),
    ("auth.hmac.existingSecret.key", "not a key"),
    ("api.keys.values", ["with,comma"]),
    ("api.keys.values", "one-key"),
    ("api.publishKeys.generate", True),
    ("redis.value", "redis:6379"),
    ("redis.url", "redis://redis:6379"),
    ("redis.bundled.enabled", "yes"),
    ("redis.bundled.replicas", 3),
    ("cluster.value", "too-short"),
    ("cluster.value", "a-key-that-is-long-enough\nnot-this"),
    ("amqp.value", "rabbitmq:5672"),
    ("webhook.url.value", "https://user:password@backend"),
    ("webhook.secret.value", "too-short"),
    ("tls.public.existingSecret", {"name": "tls"}),
    ("tls.public.secretName", "tls"),
    ("service.public.type", "ExternalName"),
    ("service.public.port", 0),
    ("service.ops.type", "LoadBalancer"),
    ("service.public.annotations", {"count": 3}),
    ("service.public.externalTrafficPolicy", "Nowhere"),
    ("service.public.loadBalancerSourceRanges", ["everybody"]),
    ("sticky.preset", "envoy"),
    ("sticky.cookieName", "a name"),
    ("ingress.hosts", ["https://live.example.com"]),
    ("ingress.hosts", [{"host": "live.example.com"}]),
    ("ingress.tls", [{"secret": "live-tls"}]),
    ("httpRoute.parentRefs", [{"namespace": "gateways"}]),
    ("httpRoute.timeouts", {"idle": "1m"}),
    ("autoscaling.mode", "vpa"),
    ("autoscaling.minReplicas", 0),
    ("autoscaling.targetConnections", "10k"),
    ("autoscaling.behavior", {"scaleSideways": {}}),
    ("autoscaling.keda.serverAddress", "prometheus:9090"),
    ("podDisruptionBudget.maxUnavailable", "half"),
    ("networkPolicy.opsFrom", ["monitoring"]),
    ("metrics.serviceMonitor.interval", "often"),
    ("metrics.enabled", True),
    ("stopping.loadBalancerSeconds", -1),
    ("probes.liveness.path", "/healthz"),
    ("probes.startup.periodSeconds", 0),
    ("strategy", {"type": "Sudden"}),
    ("topologySpread.whenUnsatisfiable", "Never"),
    ("extraEnv", {"A": "B"}),
    ("extraEnv", [{"value": "B"}]),
    ("extraVolumeMounts", [{"name": "a", "mountPath": "relative"}]),
    ("serviceAccount.automount", True),
]

# What a template refuses: values, and what has to be in the sentence.
CONTRADICTORY = [
    ({"replicaCount": 2}, "several nodes need Redis .*set redis.value"),
    ({"autoscaling": {"enabled": True}}, "several nodes need Redis"),
    (REDIS | {"replicaCount": 2} | INGRESS, "need sticky sessions: set sticky.preset"),
    (REDIS | {"replicaCount": 2, "service": {"public": {"type": "LoadBalancer"}}}, "need sticky sessions"),
    ({"sticky": {"preset": "traefik"}}, "for an Ingress: set ingress.enabled"),
    ({"sticky": {"preset": "gateway"}} | INGRESS, "for an HTTPRoute: set httpRoute.enabled"),
    ({"redis": {"value": "redis://a", "bundled": {"enabled": True}}}, "redis: set only one"),
    ({"redis": {"value": "redis://a", "existingSecret": {"name": "b"}}}, "redis: give the value or the name of an existing Secret"),
    ({"auth": {"hmac": {"value": "x" * 32, "existingSecret": {"name": "b"}}}}, "auth.hmac: give the value or"),
    ({"api": {"keys": {"values": ["a"], "existingSecret": {"name": "b"}}}}, "api.keys: give the value or"),
    ({"auth": {"hmac": {"mode": "never"}}}, "no key could verify a token: set"),
    ({"auth": {"hmac": {"mode": "never", "value": "x" * 32}}}, "auth.hmac.mode is never, and there is a secret"),
    ({"auth": {"hmacPrevious": {"value": "x" * 32}}}, "give the new one there"),
    ({"auth": {"publicKey": {"content": "a", "existingConfigMap": {"name": "b"}}}}, "auth.publicKey: set only one of content and"),
    ({"policy": {"builtin": "whatsapp-crm", "content": "[identity]"}}, "policy: set only one of content, builtin"),
    ({"shadowPolicy": {"builtin": "a", "existingConfigMap": {"name": "b"}}}, "shadowPolicy: set only one of"),
    ({"webhook": {"secret": {"value": "a-secret-for-signing"}}}, "nothing to sign: give webhook.url"),
    ({"config": {"hooks": {"connect": "webhook"}}}, "there is none: give webhook.url"),
    ({"config": {"notices": {"to": "webhook"}}}, "there is none: give webhook.url"),
    ({"config": {"notices": {"to": "stream"}}}, "which is in Redis: set redis.value"),
    (INGRESS | {"config": {"limits": {"max_connections_per_ip": 5}}}, "set config.server.trusted_proxies"),
    ({"podDisruptionBudget": {"minAvailable": 1}}, "set only one of maxUnavailable and minAvailable"),
    ({"podDisruptionBudget": {"maxUnavailable": ""}}, "set maxUnavailable or minAvailable"),
    (scaled(minReplicas=5, maxReplicas=3), "minReplicas is above"),
    (scaled(targetConnections=0, targetCPUUtilizationPercentage=0), "nothing to go by"),
    (scaled() | {"resources": {"requests": {"cpu": None}}}, "set resources.requests.cpu"),
    (scaled() | {"config": {"limits": {"max_connections": 10000}}}, "targetConnections is never reached"),
    (scaled(mode="keda"), "set autoscaling.keda.serverAddress"),
    ({"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "count everything twice"),
    ({"ingress": {"enabled": True}}, "set ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "set httpRoute.parentRefs"),
    ({"service": {"public": {"nodePort": 30000}}}, "set service.public.type"),
    ({"service": {"public": {"type": "NodePort", "loadBalancerClass": "a"}}}, "for the type LoadBalancer"),
    ({"extraEnv": [{"name": "ROOMCAST__LISTEN", "value": "0.0.0.0:80"}]}, "ROOMCAST__LISTEN is set by the chart"),
    (REDIS | {"extraEnv": [{"name": "ROOMCAST__REDIS__URL", "value": "redis://b"}]}, "ROOMCAST__REDIS__URL is set by the chart"),
    ({"extraVolumeMounts": [{"name": "a", "mountPath": "/etc/roomcast/ca"}]}, "mount it elsewhere"),
    ({"extraVolumes": [{"name": "roomcast", "emptyDir": {}}]}, "take another one"),
    ({"config": {"drain": {"timeout": "soon"}}}, 'config.drain.timeout: "soon" is not a duration'),
    ({"stopping": {"terminationGracePeriodSeconds": 25}}, "set it above 25, or shorten config.drain.timeout"),
]
# The keys of the configuration that the chart sets, and what says so.
OWNED = yaml.safe_load(re.search(r'define "roomcast.owned" -}}\n(.*?){{- end', (chart.CHART / "templates/_config.tpl").read_text(), re.S)[1])


def refused(version, values):
    """What is said; the values have to be refused, by either version in its own words."""
    result = chart.template(version, values)
    assert result.returncode != 0, f"{values} is accepted"
    assert "nil pointer" not in result.stderr and "error calling" not in result.stderr.replace("error calling fail", "").replace("error calling include", ""), result.stderr
    return result.stderr


@pytest.mark.parametrize("path, value", WRONG, ids=[f"{path}={value}" for path, value in WRONG])
def test_the_schema_refuses(path, value):
    """By the library of the tests, which is quick; that Helm obeys the schema is shown below."""
    with pytest.raises(jsonschema.ValidationError) as refusal:
        jsonschema.Draft7Validator(SCHEMA).validate(set_in(path, value))
    where = ".".join(map(str, refusal.value.absolute_path)) or "."
    parts = path.split(".")
    assert where.startswith(path) or where == ".".join(parts[:-1]) or (where == "." and len(parts) == 1), f"complains of {where}"


@pytest.mark.parametrize("version", chart.HELMS)
@pytest.mark.parametrize("path, value, said", [
    ("image.registy", "a", "image.*registy.* not allowed"),
    ("replicaCount", "3", "replicaCount"),
    ("replicas", 3, "replicas.* not allowed"),
    ("sticky.preset", "envoy", "sticky.preset"),
])  # fmt: skip
def test_helm_obeys_the_schema(version, path, value, said):
    stderr = refused(version, set_in(path, value))
    assert re.search(said, stderr.replace("/", ".")), stderr


def test_the_schema_knows_all_values_and_no_others():
    """Every object of it is closed, but those that are Kubernetes' own, and `config`."""
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())

    def walk(schema, value, path):
        schema = SCHEMA["definitions"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
        if not isinstance(value, dict) or "properties" not in schema:
            return
        assert schema.get("additionalProperties") is False, path
        known = set(schema["properties"]) - {"global"}
        if path != "autoscaling.behavior":
            assert known >= set(value) and (known == set(value) or path.endswith(("timeouts", "strategy"))), path
        for key in value:
            walk(schema["properties"][key], value[key], f"{path}.{key}".strip("."))

    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(values)
    walk(SCHEMA, values, "")


@pytest.mark.parametrize("values, said", CONTRADICTORY, ids=[said for _, said in CONTRADICTORY])
def test_a_contradiction_is_refused_with_a_sentence(values, said):
    assert re.search(said, refused("4", values))


def test_the_other_version_refuses_with_the_same_sentence():
    for values, said in CONTRADICTORY[:3]:
        assert re.search(said, refused("3", values))


def test_what_the_chart_decides_is_not_taken_from_the_configuration():
    """One of each kind by Helm; that the list is whole is another test's."""
    for key in ("listen", "redis.url", "auth.jwt.hmac_secret", "server.tls_key_file"):
        stderr = refused("4", {"config": set_in(key, "x")})
        assert f"config.{key} is not taken from there: {OWNED[key]}" in stderr, stderr


def test_no_secret_and_no_address_can_be_given_in_the_configuration():
    """Every key of the node that is a secret, a path or an address is the chart's."""
    reference = (chart.CHART.parent / "docs/configuration.md").read_text()
    rows = [line.split(" | ") for line in reference.splitlines() if line.startswith("| `")]
    keys = {row[0].strip("|` ") for row in rows if "secret" in row[1] or row[1] in ("path", "address")}
    assert keys - set(OWNED) == set(), "set these in templates/_config.tpl, or say why not"
    assert set(OWNED) <= {row[0].strip("|` ") for row in rows}, "a key that the node does not know"


def test_a_sentence_tells_where_a_value_is():
    """Every path that a sentence of `roomcast.owned` names is a value."""
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    for sentence in OWNED.values():
        for path in re.findall(r"[a-zA-Z]+(?:\.[a-zA-Z]+)+", sentence):
            value = values
            for part in path.split("."):
                assert part in value, path
                value = value[part]
