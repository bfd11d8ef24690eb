"""As much of a Kubernetes API server as Helm asks when nothing is to be changed: discovery, and Secrets to look up."""

import base64
import contextlib
import http.server
import json
import pathlib
import tempfile
import threading

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: a}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""
SECRETS = "/api/v1/namespaces/chat/secrets/"
GROUPS = {
    "v1": ["ConfigMap", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
    "gateway.networking.k8s.io/v1": ["HTTPRoute"],
    "monitoring.coreos.com/v1": ["ServiceMonitor", "PrometheusRule"],
}
DISCOVERY = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
}
for version, kinds in GROUPS.items():
    plurals = {kind: "networkpolicies" if kind == "NetworkPolicy" else f"{kind.lower()}{'es' if kind == 'Ingress' else 's'}" for kind in kinds}
    resources = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind, name in plurals.items()]
    listed = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    if "/" in version:
        preferred = {"groupVersion": version, "version": "v1"}
        DISCOVERY["/apis"]["groups"].append({"name": version.split("/")[0], "versions": [preferred], "preferredVersion": preferred})
    DISCOVERY[f"/apis/{version}" if "/" in version else "/api/v1"] = listed


@contextlib.contextmanager
def holding(secrets):
    """A server with these Secrets (as they were rendered); the environment by which Helm finds it, and what was asked."""
    stored = {}
    for secret in secrets:
        data = dict(secret.get("data", {}))
        data |= {key: base64.b64encode(text.encode()).decode() for key, text in secret.get("stringData", {}).items()}
        # As Helm marks what it has installed.
        owner = {"meta.helm.sh/release-name": "live", "meta.helm.sh/release-namespace": "chat"}
        metadata = {**secret["metadata"], "annotations": owner}
        stored[metadata["name"]] = {**secret, "metadata": metadata, "data": data, "stringData": None}
    asked = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            asked.append(path)
            found = DISCOVERY.get(path)
            if path.startswith(SECRETS):
                found = stored.get(path.removeprefix(SECRETS))
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "kubeconfig"
            file.write_text(KUBECONFIG % server.server_port)
            yield {"KUBECONFIG": str(file)}, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
