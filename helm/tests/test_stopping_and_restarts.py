"""What is derived: how long a pod has to stop, and which changes restart pods."""

import chart
import pytest

REDIS = {"redis": {"value": "redis://:password@redis:6379"}}


@pytest.mark.parametrize("drain, stopping, waits, grace", [
    ({}, {}, None, 30),
    ({"timeout": "60s"}, {}, None, 65),
    # What the node waits counts: at most half of its time.
    ({"wait": "0s"}, {}, 5, 35),
    ({"wait": "2s"}, {}, 3, 33),
    ({"wait": "1500ms"}, {}, 4, 34),
    ({"wait": "20s", "timeout": "10s"}, {"loadBalancerSeconds": 20}, 15, 30),
    ({}, {"loadBalancerSeconds": 30}, 25, 55),
    ({}, {"loadBalancerSeconds": 0}, None, 30),
    ({"timeout": "1m 500ms"}, {}, None, 66),
    ({"timeout": "1h"}, {}, None, 3605),
    ({}, {"terminationGracePeriodSeconds": 26}, None, 26),
])  # fmt: skip
def test_a_pod_has_time_to_stop(drain, stopping, waits, grace):
    pod = chart.pod(chart.render("4", {"config": {"drain": drain}, "stopping": stopping}))
    hook = pod["containers"][0].get("lifecycle")
    assert hook == (waits and {"preStop": {"sleep": {"seconds": waits}}})
    assert pod["terminationGracePeriodSeconds"] == grace


def template_of(values):
    """The part of the Deployment whose changes exchange the pods."""
    return chart.one(chart.render("4", values), "Deployment")["spec"]["template"]


@pytest.mark.parametrize("before, after", [
    ({}, {"config": {"limits": {"max_connections": 5}}}),
    ({}, {"config": {"log": {"level": "debug"}, "server": {"trusted_proxies": ["10.0.0.0/24"]}}}),
    ({}, {"policy": {"content": '[identity]\nuser = "claims.sub"'}}),
    ({}, {"policy": {"builtin": "whatsapp-crm"}}),
    ({"auth": {"hmac": {"value": "a" * 32}}}, {"auth": {"hmac": {"value": "b" * 32}}}),
    ({"auth": {"jwks": {"content": "a"}}}, {"auth": {"jwks": {"content": "b"}}}),
    ({}, {"service": {"public": {"port": 8080}}, "podDisruptionBudget": {"enabled": False}}),
])  # fmt: skip
def test_pods_stay_for_what_a_node_takes_over(before, after):
    old, new = template_of(before), template_of(after)
    # What is mounted may be another thing; the test is about its content.
    if "builtin" in after.get("policy", {}):
        old["spec"].pop("volumes"), new["spec"].pop("volumes")
    assert old == new


@pytest.mark.parametrize("before, after", [
    ({}, {"config": {"engine": {"ping_interval": "20s"}}}),
    ({}, {"config": {"cors": {"allowed_origins": ["https://app.example.com"]}}}),
    ({"api": {"keys": {"values": ["a"]}}}, {"api": {"keys": {"values": ["b"]}}}),
    (REDIS, {"redis": {"value": "redis://:another@redis:6379"}}),
    (REDIS | {"cluster": {"value": "a" * 16}}, REDIS | {"cluster": {"value": "b" * 16}}),
    ({"amqp": {"value": "amqp://a"}}, {"amqp": {"value": "amqp://b"}}),
])  # fmt: skip
def test_pods_are_exchanged_for_what_it_does_not(before, after):
    old, new = template_of(before), template_of(after)
    assert old["metadata"]["annotations"].pop("checksum/restart") != new["metadata"]["annotations"].pop("checksum/restart")
    assert old == new, "the checksum alone should have done it"


def test_made_up_secrets_do_not_restart_pods():
    assert template_of(REDIS | {"webhook": {"url": {"value": "https://a"}}}) == template_of(REDIS | {"webhook": {"url": {"value": "https://a"}}})
