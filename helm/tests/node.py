"""The folder /etc/roomcast of a rendered pod, as a kubelet makes it, and the node's binary on it."""

import base64
import os
import pathlib
import subprocess

import chart
import yaml

MOUNT = "/etc/roomcast"


def existing(folder):
    """ConfigMaps and Secrets that the cases say are there already: those of existing.yaml, and a certificate."""
    found = list(yaml.safe_load_all((chart.CHART / "tests/existing.yaml").read_text()))
    key, certificate = folder / "tls.key", folder / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=live.example.com", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("public-tls", "ops-tls"):
        data = {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}
        found.append({"kind": "Secret", "metadata": {"name": name}, "stringData": data})
    public = subprocess.run(["openssl", "ec", "-in", key, "-pubout"], check=True, capture_output=True, text=True)
    found.append({"kind": "ConfigMap", "metadata": {"name": "id-key"}, "data": {"id.pem": public.stdout}})
    return found


def look_up(found, kind, name, key):
    """A key of a ConfigMap or a Secret."""
    for o in found:
        if (o["kind"], o["metadata"]["name"]) == (kind, name):
            text = chart.content(o) if kind == "Secret" else o["data"]
            assert key in text, f"{kind} {name} has no key {key}"
            return text[key]
    raise AssertionError(f"{kind} {name} is neither rendered nor in existing.yaml")


def files(found, there):
    """What is below /etc/roomcast: path to text."""
    volumes = {v["name"]: v for v in chart.pod(found)["volumes"]}
    tree = {}
    for source in volumes["roomcast"]["projected"]["sources"]:
        ((kind, reference),) = source.items()
        for item in reference["items"]:
            assert item["path"] not in tree, f"{item['path']} twice"
            kinds = {"configMap": "ConfigMap", "secret": "Secret"}
            tree[item["path"]] = look_up(found + there, kinds[kind], reference["name"], item["key"])
    return tree


def write(root, tree, generation="..1"):
    """Puts files where a kubelet puts them: in a folder of their own, behind a link that is exchanged as a whole."""
    for path, text in tree.items():
        file = root / generation / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # Nothing else is changed: secrets may not be rewritten.
        file.write_text(text.replace(MOUNT, str(root)) if path == "roomcast.json" else text)
    (root / "..new").symlink_to(generation)
    os.replace(root / "..new", root / "..data")
    for top in {pathlib.PurePath(path).parts[0] for path in tree}:
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"..data/{top}")


def environment(found, there):
    """The environment of the container, and nothing else."""
    env = {"PATH": "/usr/bin:/bin"}
    for entry in chart.pod(found)["containers"][0].get("env", []):
        if "value" in entry:
            value = entry["value"]
            for name, known in env.items():
                value = value.replace(f"$({name})", known)
            env[entry["name"]] = value
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            env[entry["name"]] = look_up(found + there, "Secret", reference["name"], reference["key"])
    return env
