"""compose.yaml: its form, its mounts and ports, and whether each program takes what it is given there."""

import pathlib
import re
import subprocess
import unittest

import yaml
from container import WORK, Container, image

FILE = pathlib.Path("compose.yaml")
# As with an empty environment: `${NAME:-default}`.
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text())
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
NODES = ["node-1", "node-2", "node-3"]


def mounts(service):
    """The files and folders of this one that a service sees, by where it sees them; volumes are left out."""
    parts = [mount.split(":") for mount in SERVICES[service].get("volumes", [])]
    return {target: pathlib.Path(source).absolute() for source, target, *_ in parts if source.startswith(".")}


def accepts(service, folder, *command):
    """Runs a command that sees the service's mounts at their places, below a folder that exists here."""
    view = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", folder, "--unshare-net"]
    for target, source in mounts(service).items():
        if target.startswith(f"{folder}/"):
            view += ["--ro-bind", source, target]
    return subprocess.run(view + list(command), capture_output=True, text=True, check=False)


class Form(unittest.TestCase):
    def check(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_specification(self):
        self.check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)

    def test_no_variable_is_without_a_default(self):
        self.assertNotIn("${", TEXT)

    def test_what_a_container_may_do(self):
        rules = "gateway/image/compose-lint.yml"
        self.check("compose-lint", "check", "--config", rules, "--strict-config", "--fail-on", "low", "--quiet", FILE)
        for name, service in SERVICES.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertIn("healthcheck", service, name)
            self.assertEqual(set(service["deploy"]["resources"]["limits"]), {"cpus", "memory", "pids"}, name)
            self.assertRegex(service["image"], r":[^:]*(\d|local)", f"{name}: a tag")

    def test_ports_are_on_the_loopback(self):
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        self.assertTrue(ports)
        for port in ports:
            self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$")

    def test_what_is_mounted_is_there_and_read_only(self):
        for name, service in SERVICES.items():
            for mount in service.get("volumes", []):
                source, _, *mode = mount.split(":")
                if not source.startswith("."):
                    self.assertIn(source, COMPOSE["volumes"], name)
                    continue
                self.assertTrue(pathlib.Path(source).exists(), f"{name}: {source}")
                self.assertEqual(mode, ["ro"], f"{name}: {mount}")
                # Those who read it are not who owns it.
                mode = pathlib.Path(source).stat().st_mode
                self.assertEqual(mode & 0o004, 0o004, f"{name}: {source}")

    def test_who_depends_on_whom_is_in_a_network_with_them(self):
        for name, service in SERVICES.items():
            for other in service.get("depends_on", {}):
                self.assertIn(other, SERVICES, name)
                self.assertTrue(set(service["networks"]) & set(SERVICES[other]["networks"]), f"{name} and {other}")
            self.assertLessEqual(set(service["networks"]), set(COMPOSE["networks"]), name)


class Programs(unittest.TestCase):
    def test_the_nodes_start(self):
        for name in NODES:
            node = SERVICES[name]
            with Container(node.get("command"), node["environment"], mounts(name)) as container:
                container.until_healthy()
                # What stands there takes the place of what the image says.
                self.assertEqual(node["healthcheck"]["test"], image()["Healthcheck"]["Test"])
                self.assertEqual(container.execute("roomcast", "token", "--user", "ann")[0], 0)
                self.assertEqual(container.stop(), 0, container.output())
                self.assertNotIn('"level":"ERROR"', container.output())

    def test_the_nodes_take_a_check_of_their_configuration(self):
        empty = WORK / "empty.toml"
        empty.write_text("")
        node = SERVICES["node-1"]
        with Container(["check-config", "/empty.toml"], node["environment"], mounts("node-1") | {"/empty.toml": empty}) as it:
            self.assertEqual(it.ended(), (0, "/empty.toml: ok\n"))

    def test_haproxy(self):
        file = mounts("haproxy")["/usr/local/etc/haproxy/haproxy.cfg"]
        done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = file.read_text()
        self.assertEqual(re.findall(r"^\s+server (\S+) (\S+)", text, re.MULTILINE), [(n, f"{n}:3000") for n in NODES])
        address = SERVICES["haproxy"]["networks"]["public"]["ipv4_address"]
        for name in NODES:
            self.assertEqual(SERVICES[name]["environment"]["ROOMCAST__SERVER__TRUSTED_PROXIES"], address)

    def test_prometheus(self):
        file = "/etc/prometheus/prometheus.yml"
        self.assertIn(f"--config.file={file}", SERVICES["prometheus"]["command"])
        done = accepts("prometheus", "/etc/prometheus", "promtool", "check", "config", file)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"[1-9]\d* rule")
        scraped = yaml.safe_load(mounts("prometheus")[file].read_text())["scrape_configs"][0]["static_configs"]
        self.assertEqual(scraped[0]["targets"], [f"{name}:3001" for name in NODES])

    def test_grafana(self):
        seen = mounts("grafana")
        source = yaml.safe_load(seen["/etc/grafana/provisioning/datasources/roomcast.yaml"].read_text())
        self.assertEqual([s["url"] for s in source["datasources"]], ["http://prometheus:9090"])
        provided = yaml.safe_load(seen["/etc/grafana/provisioning/dashboards/roomcast.yaml"].read_text())
        folder = provided["providers"][0]["options"]["path"]
        home = pathlib.Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        self.assertEqual(str(home.parent), folder)
        self.assertTrue((seen[folder] / home.name).is_file(), home)


if __name__ == "__main__":
    unittest.main()
