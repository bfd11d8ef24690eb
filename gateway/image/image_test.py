"""The image: what is in it, and how a container of it lives and ends."""

import contextlib
import os
import pathlib
import re
import stat
import subprocess
import sys
import tomllib
import unittest

from container import ROOTFS, WORK, Container, image

VERSION = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["workspace"]["package"]["version"]
BINARY = "usr/local/bin/roomcast"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
CONFIGURED = {
    "ROOMCAST__POLICY": "builtin:whatsapp-crm",
    "ROOMCAST__AUTH__JWT__HMAC_SECRET": "a-secret-of-more-than-32-bytes-for-tests",
}


def files():
    """The image's files. What other tests have mounted files upon is empty."""
    return {str(path.relative_to(ROOTFS)): path for path in ROOTFS.rglob("*") if path.is_file() and path.stat().st_size}


def included_files():
    """What the sources of the binary are compiled with, besides themselves; what tests include is left out."""
    outside_of_functions = r"""^(?:#!\[doc = |(?:pub(?:\(\w+\))? )?const .*)include_(?:str|bytes)!\("([^"]+)"\)"""
    for file in [*pathlib.Path("adapter-redis/src").rglob("*.rs"), *pathlib.Path("gateway/src").rglob("*.rs")]:
        if "tests" not in file.parts:
            for name in re.findall(outside_of_functions, file.read_text(), re.MULTILINE):
                yield file, pathlib.Path(os.path.normpath(file.parent / name))


class Contents(unittest.TestCase):
    def test_nothing_but_the_node_and_whom_it_trusts(self):
        found = files()
        own = {BINARY, CERTIFICATES, "etc/passwd", "etc/group", "usr/share/doc/roomcast/LICENSE"}
        libraries = {name for name in found if re.match(r"lib(64)?/", name)}
        self.assertEqual(set(found) - libraries, own)
        size = sum(path.stat().st_size for path in found.values())
        if os.environ["MODE"] == "full":
            self.assertEqual(libraries, set(), "it is linked statically")
            print(f"the image: {size} bytes, of which the binary {found[BINARY].stat().st_size}")
            self.assertLess(size, 20_000_000)
        # Besides the binary and what a binary for tests needs.
        rest = sum(path.stat().st_size for name, path in found.items() if name not in libraries | {BINARY})
        self.assertLess(rest, 300_000)

    def test_nobody_but_root_could_change_it(self):
        for name, path in files().items():
            status = path.lstat()
            self.assertEqual((status.st_uid, status.st_gid), (0, 0), name)
            self.assertEqual(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), 0, name)

    def test_the_binary_has_no_symbols(self):
        sections = subprocess.run(["readelf", "-SW", ROOTFS / BINARY], capture_output=True, text=True, check=True)
        self.assertIn(".text", sections.stdout)
        self.assertNotRegex(sections.stdout, r"\.symtab|\.debug_info|\.debug_line")

    def test_whom_it_trusts(self):
        text = (ROOTFS / CERTIFICATES).read_text()
        self.assertGreater(text.count("BEGIN CERTIFICATE"), 100)

    def test_what_it_says_of_itself(self):
        said = image()
        self.assertEqual(said["User"], "65532:65532")
        self.assertEqual((said["Entrypoint"], said["Cmd"]), (["roomcast"], ["serve"]))
        self.assertEqual(set(said["ExposedPorts"]), {"3000/tcp", "3001/tcp"})
        self.assertEqual(said["StopSignal"], "SIGTERM")
        self.assertEqual(said["Healthcheck"]["Test"], ["CMD", "roomcast", "health"])
        for name, value in {"title": "Roomcast", "version": VERSION, "licenses": "MIT"}.items():
            self.assertEqual(said["Labels"][f"org.opencontainers.image.{name}"], value)

    def test_the_dockerfile_knows_every_crate(self):
        dockerfile = pathlib.Path("Dockerfile").read_text()
        given = pathlib.Path(".dockerignore").read_text().splitlines()
        members = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["workspace"]["members"]
        for member in members:
            self.assertIn(f"\nCOPY {member}/Cargo.toml {member}/\n", dockerfile)
        copied = re.findall(r"^COPY ([^-].*) \S+$", dockerfile, re.MULTILINE)
        copied = [source for line in copied for source in line.split()]
        for source in copied:
            self.assertTrue(pathlib.Path(source).exists(), source)
            self.assertIn(f"!{source}", given, "the .dockerignore keeps it from the Dockerfile")
        for file, included in included_files():
            self.assertTrue(any(included.is_relative_to(source) for source in copied), f"{file}: {included}")


class Life(unittest.TestCase):
    def test_the_version(self):
        with Container(["--version"]) as container:
            self.assertEqual(container.ended(), (0, f"roomcast {VERSION}\n"))

    def test_it_says_what_it_needs(self):
        with Container() as container:
            code, said = container.ended()
        self.assertEqual(code, 64, said)
        self.assertIn("no key to verify tokens", said)

    def test_it_serves_without_rights_and_stops(self):
        with Container(environment=CONFIGURED) as container:
            container.until_healthy()
            process = pathlib.Path(f"/proc/{container.pid()}")
            status = dict(re.findall(r"^(\w+):\t(.*)$", (process / "status").read_text(), re.MULTILINE))
            self.assertEqual(status["Uid"].split(), ["65532"] * 4)
            self.assertEqual(status["Gid"].split(), ["65532"] * 4)
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[capabilities], 16), 0, capabilities)
            self.assertEqual(status["NoNewPrivs"], "1")
            root = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
            self.assertIn("ro", next(mount[5] for mount in root if mount[4] == "/").split(","))

            for url in ("http://127.0.0.1:3000/healthz", "http://127.0.0.1:3001/readyz"):
                fetch = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=10).status)"
                fetch = container.in_its_network(sys.executable, "-c", fetch)
                self.assertEqual(subprocess.run(fetch, capture_output=True, text=True, check=True).stdout, "200\n")
            self.assertEqual(container.health(), (0, "ok"))
            self.assertEqual(container.stop(), 0, container.output())

    def test_a_dead_node_is_not_healthy(self):
        with Container(["health"]) as container:
            code, said = container.ended()
        self.assertEqual(code, 69, said)

    def test_names_are_found_in_the_hosts_file_and_by_the_name_server(self):
        hosts, resolv = WORK / "hosts", WORK / "resolv.conf"
        hosts.write_text("127.0.0.1 localhost in-the-hosts-file\n")
        resolv.write_text("nameserver 127.0.0.53\nsearch example.internal\noptions timeout:1 attempts:2\n")
        mounts = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv}
        with Container(environment=CONFIGURED, mounts=mounts) as container:
            container.until_healthy()

            def ask(name):
                return container.execute("roomcast", "health", "--url", f"http://{name}:3001")

            command = [sys.executable, "gateway/image/nameserver.py", "node.example.internal", "127.0.0.1"]
            server = subprocess.Popen(container.in_its_network(*command), stdout=subprocess.PIPE, text=True)
            with server, contextlib.ExitStack() as stack:
                stack.callback(server.kill)
                self.assertEqual(server.stdout.readline(), "ready\n")
                for name in ("in-the-hosts-file", "node.example.internal", "node"):
                    self.assertEqual(ask(name), (0, "ok"), name)
                code, said = ask("unknown")
                self.assertEqual(code, 69, said)
                self.assertIn("Name or service not known", said)

    def test_certificates_are_checked_against_those_in_it(self):
        key, chain = WORK / "tls.key", WORK / "tls.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-keyout", key, "-out", chain, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
            + ["-addext", "basicConstraints=critical,CA:FALSE"],
            capture_output=True,
            check=True,
        )
        key.chmod(0o644)
        tls = {"/tls.key": key, "/tls.pem": chain}
        environment = CONFIGURED | {"ROOMCAST__OPS__TLS_KEY_FILE": "/tls.key", "ROOMCAST__OPS__TLS_CERT_FILE": "/tls.pem"}
        ask = ("roomcast", "health", "--url", "https://127.0.0.1:3001")
        with Container(environment=environment, mounts=tls | {f"/{CERTIFICATES}": chain}) as container:
            container.until_serving()
            self.assertEqual(container.execute(*ask), (0, "ok"))
        with Container(environment=environment, mounts=tls) as container:
            container.until_serving()
            code, said = container.execute(*ask)
            self.assertEqual(code, 69, said)
            self.assertIn("certificate", said)


if __name__ == "__main__":
    unittest.main()
