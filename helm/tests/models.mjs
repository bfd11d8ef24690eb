// Checks custom resources against models of their definitions: a JSON list of objects on standard input, a line for each
// mistake on standard output.
//
// The models accept fields that they do not know, as the definitions do; an API server prunes them, and a field with a
// typo does nothing. So each object is watched while it is checked: what a model never looks at, it does not know.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const OPERATOR = "prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1";
const MODELS = {
  HTTPRoute: "gateway-api/_schemas/IoK8sSigsGatewayApiApisV1HTTPRoute",
  ScaledObject: "keda/_schemas/ComGithubKedacoreKedaV2ApisKedaV1alpha1ScaledObject",
  ServiceMonitor: `${OPERATOR}ServiceMonitor`,
  PodMonitor: `${OPERATOR}PodMonitor`,
  PrometheusRule: `${OPERATOR}PrometheusRule`,
};
const folder = join(process.argv[2], "node_modules/@kubernetes-models");

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind} ${object.metadata.name}`;
  const { validate } = await import(pathToFileURL(join(folder, `${MODELS[object.kind]}.js`)));
  const seen = new Set();
  if (!validate(watched(object, "", seen))) {
    for (const error of validate.errors) console.log(`${name}${error.instancePath}: ${error.message ?? error.keyword} ${JSON.stringify(error.params)}`);
  }
  for (const path of paths(object, "")) {
    if (!seen.has(path)) console.log(`${name}${path}: unknown field`);
  }
}

function watched(node, path, seen) {
  if (node === null || typeof node !== "object") return node;
  return new Proxy(node, {
    get(target, key) {
      seen.add(`${path}/${String(key)}`);
      return watched(target[key], `${path}/${String(key)}`, seen);
    },
  });
}

// All fields, but those of an unknown one.
function* paths(node, path) {
  if (node === null || typeof node !== "object") return;
  for (const [key, value] of Object.entries(node)) {
    yield `${path}/${key}`;
    yield* paths(value, `${path}/${key}`);
  }
}
