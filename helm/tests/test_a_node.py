"""A real node, with the arguments, the files and the environment of its pod: the kubelet's part is played here."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import chart
import node
import pytest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url):
    """Status and body; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()
    except OSError:
        return 0, ""


def until(condition, seconds=30):
    """Waits for a condition, not for a time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return value


class Node:
    """A node as a pod runs it: where its two listeners are, and the folder that it reads."""

    def __init__(self, found, folder, **replaced):
        self.found, self.root, self.log = found, folder / "roomcast", folder / "log"
        node.write(self.root, node.files(found, []))
        container = chart.pod(found)["containers"][0]
        ports = {port["containerPort"]: free_port() for port in container["ports"]}
        arguments = [a.replace(node.MOUNT, str(self.root)) for a in container["args"]]
        for there, here in ports.items():
            arguments = [a.replace(f"0.0.0.0:{there}", f"127.0.0.1:{here}") for a in arguments]
        self.at = {port["name"]: f"http://127.0.0.1:{ports[port['containerPort']]}" for port in container["ports"]}
        with self.log.open("w") as log:
            env = node.environment(found, []) | replaced
            self.process = subprocess.Popen([chart.ROOMCAST, *arguments], env=env, stdout=log, stderr=log)

    def probe(self, kind):
        """The status that a kubelet gets."""
        http = chart.pod(self.found)["containers"][0][f"{kind}Probe"]["httpGet"]
        return get(self.at[http["port"]] + http["path"])[0]

    def until(self, condition):
        """As the function, and no longer than the node runs."""
        until(lambda: self.process.poll() is not None or condition())
        if self.process.poll() is not None:
            pytest.fail(f"the node ended:\n{self.log.read_text()}")


@pytest.fixture()
def start(tmp_path):
    """Starts nodes, and ends them."""
    nodes = []

    def start(found, **replaced):
        nodes.append(Node(found, tmp_path, **replaced))
        return nodes[-1]

    yield start
    for each in nodes:
        each.process.kill()
        each.process.wait()


def test_a_pod_runs_and_takes_over_what_is_mounted_anew(start):
    running = start(chart.render("4", {"config": {"limits": {"max_connections": 5}}}))
    for kind in ("startup", "liveness", "readiness"):
        running.until(lambda: running.probe(kind) == 200)
    assert get(running.at["public"] + "/healthz")[0] == 200

    # Another policy, limit and secret, exchanged as one link.
    values = {
        "config": {"limits": {"max_connections": 7}},
        "policy": {"content": '[identity]\nuser = "claims.name"\n'},
        "auth": {"hmac": {"value": "another-secret-of-32-bytes-or-more"}},
    }
    node.write(running.root, node.files(chart.render("4", values), []), "..2")

    def reloads():
        lines = get(running.at["ops"] + "/metrics")[1].splitlines()
        return [line for line in lines if line.startswith("roomcast_reload_total") and not line.endswith(" 0")]

    running.until(reloads)
    assert [line.split()[0] for line in reloads()] == ['roomcast_reload_total{outcome="applied"}']

    running.process.terminate()
    assert running.process.wait(timeout=chart.pod(running.found)["terminationGracePeriodSeconds"]) == 0


def test_the_made_up_secrets_fit_together(start, tmp_path):
    """The bundled Redis with its password, the node that connects to it, and a backend with the API key."""
    server = shutil.which("redis-server")
    assert server, "install redis-server"
    found = chart.render("4", {"redis": {"bundled": {"enabled": True}}})
    secret = chart.content(chart.one(found, "Secret", "live-roomcast-redis"))
    port = free_port()
    conf = tmp_path / "redis.conf"
    conf.write_text(secret["redis.conf"].replace("port 6379", f"port {port}\nbind 127.0.0.1").replace("/data", str(tmp_path)))
    redis = subprocess.Popen([server, conf], stdout=subprocess.DEVNULL)
    try:
        url = secret["redis-url"].replace("live-roomcast-redis:6379", f"127.0.0.1:{port}")
        running = start(found, ROOMCAST__REDIS__URL=url)
        running.until(lambda: '"connected"' in get(running.at["ops"] + "/readyz")[1])
        body = json.dumps({"room": "user:ann", "event": "hello", "data": 1}).encode()

        def publish(key):
            return get(urllib.request.Request(running.at["ops"] + "/api/v1/publish", body, {"Authorization": f"Bearer {key}"}))

        status, answer = publish(chart.content(chart.one(found, "Secret"))["api-keys"])
        assert (status, json.loads(answer)["complete"]) == (200, True), answer
        assert publish("another")[0] == 401
    finally:
        redis.kill()
        redis.wait()
