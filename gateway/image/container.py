"""Containers of the unpacked image, as runc starts them: nothing but loopback, a root that is read-only, no capability."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import time

WORK = pathlib.Path(os.environ["WORK"])
BUNDLE = WORK / "bundle"
ROOTFS = BUNDLE / "rootfs"
STATE = WORK / "runc"
DEADLINE = 60
NUMBERS = itertools.count()

CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")


def image():
    """What the image says about how it is run."""
    return json.loads((WORK / "image.json").read_text())["Docker"]["config"]


class Container:
    """Runs the image's program with these arguments, or with those of the image."""

    def __init__(self, arguments=None, environment=None, mounts=None):
        self.name = f"roomcast-{os.getpid()}-{next(NUMBERS)}"
        self.folder = WORK / self.name
        self.folder.mkdir()
        self.log = self.folder / "log"
        config = self.config(arguments, environment or {}, mounts or {})
        (self.folder / "config.json").write_text(json.dumps(config))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["runc", "--root", STATE, "run", "--bundle", self.folder, self.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @staticmethod
    def config(arguments, environment, mounts):
        config = json.loads((BUNDLE / "config.json").read_text())
        config["root"] = {"path": str(ROOTFS), "readonly": True}
        process = config["process"]
        process["terminal"] = False
        process["capabilities"] = {name: [] for name in CAPABILITIES}
        process["noNewPrivileges"] = True
        if arguments is not None:
            process["args"] = image()["Entrypoint"] + arguments
        process["env"] += [f"{name}={value}" for name, value in environment.items()]
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
        config["mounts"] += [
            {"destination": target, "source": str(source), "type": "bind", "options": ["rbind", "ro"]}
            for target, source in mounts.items()
        ]
        config["linux"].pop("resources", None)
        assert {"type": "network"} in config["linux"]["namespaces"], "its ports would be this machine's"
        return config

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Again, when it was not there yet.
        self.delete()
        while self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            self.delete()
        shutil.rmtree(self.folder)

    def delete(self):
        subprocess.run(["runc", "--root", STATE, "delete", "--force", self.name], capture_output=True, check=False)

    def output(self):
        return self.log.read_text()

    def ended(self):
        """The exit code and all output of a program that ends by itself."""
        return self.process.wait(DEADLINE), self.output()

    def execute(self, *arguments):
        """Runs a command in the container, as `docker exec` does: the exit code and what it said."""
        command = ["runc", "--root", STATE, "exec", self.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    def health(self):
        """Runs the image's health check, as Docker does."""
        kind, *command = image()["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*command)

    def until_serving(self):
        self.until("serving", lambda: '"serving"' in self.output())

    def until_healthy(self):
        self.until("healthy", lambda: self.health()[0] == 0)

    def until(self, what, condition):
        """Waits for a condition of a program that does not end by itself."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}"
            time.sleep(0.05)

    def pid(self):
        state = subprocess.run(["runc", "--root", STATE, "state", self.name], capture_output=True, check=True)
        return json.loads(state.stdout)["pid"]

    def in_its_network(self, *command):
        """A command of this machine, in the container's network."""
        return ["nsenter", f"--net=/proc/{self.pid()}/ns/net", *command]

    def stop(self):
        """Stops it as Docker does, and says with which code it ended."""
        stop = ["runc", "--root", STATE, "kill", self.name, image()["StopSignal"]]
        subprocess.run(stop, capture_output=True, check=True)
        return self.process.wait(DEADLINE)
