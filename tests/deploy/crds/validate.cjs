// Validates each object of the JSON array on stdin with the schema of its kind, and prints what is wrong, a line each.
const MODELS = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};

const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const objects = JSON.parse(readFileSync(0, "utf8"));
for (const object of objects) {
  const [group] = object.apiVersion.split("/");
  const name = `${object.kind} ${object.metadata.name}`;
  try {
    // By its file, because not every package exports it.
    const models = require(join(__dirname, "node_modules", MODELS[group], object.apiVersion, `${object.kind}.js`));
    new models[object.kind](object).validate();
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
}
