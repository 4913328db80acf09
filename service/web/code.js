// The same experiment as curl and as Python.
import { key, origin } from "./api.js";
import { written } from "./spec.js";

export function curlOf(spec) {
  const header = key.get() ? ` \\\n  -H "Authorization: Bearer $PATHPATCH_API_KEY"` : "";
  const body = written(spec).replaceAll("'", "'\\''");
  return `curl -sS ${origin()}/v1/jobs${header} \\\n  -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\\n  -d '${body}'`;
}

/** A value as a Python literal. */
function literal(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  return line.length < 80 ? line : `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

const HEADS = { z: "heads", q: "query", k: "key", v: "value", pattern: "pattern" };
const LAYERS = { mlp_out: "mlp", attn_out: "attn", pre: "mlp_in" };

/** Nodes by the constructor of their hook; null where one call cannot say them. */
function nodesOf(nodes) {
  const hook = nodes[0].hook;
  if (nodes.some((node) => node.hook !== hook || (node.positions ?? null) !== null || (node.neuron ?? null) !== null)) return null;
  if (HEADS[hook]) {
    const names = nodes.map((node) => ((node.head ?? null) === null ? node.layer : JSON.stringify(`${node.layer}.${node.head}`)));
    return `pp.${HEADS[hook]}(${names.join(", ")})`;
  }
  if (LAYERS[hook]) return `pp.${LAYERS[hook]}(${nodes.map((node) => node.layer).join(", ")})`;
  if (nodes.length === 1 && hook.startsWith("resid_")) return `pp.resid(${nodes[0].layer}, ${JSON.stringify(hook.slice(6))})`;
  return nodes.length === 1 && (hook === "embed" || hook === "pos_embed") ? `pp.${hook}()` : null;
}

const call = (name, required, options) =>
  `pp.${name}(${[...required, ...Object.entries(options).map(([option, value]) => `${option}=${literal(value, "    ")}`)].join(", ")})`;

function endOf(end) {
  if (!end.sweep) return nodesOf(end);
  const { hook, ...rest } = end.sweep;
  return call("sweep", [literal(hook)], rest);
}

function datasetOf({ kind, ...rest }) {
  if (kind !== "ioi") return `pp.${kind}(**${literal(rest, "    ")})`;
  const { examples, ...options } = rest;
  return call("ioi", [literal(examples)], options);
}

/** What the constructors of metrics take by place; a metric without one is given as a dict. */
const METRIC_ARGUMENTS = {
  attention: ["query", "key"], attention_diff: ["query", "key", "minus_key"], logit_diff: ["answer", "minus_answer"],
  prob_diff: ["answer", "minus_answer"],
  logit: ["answer"], prob: ["answer"], log_prob: ["answer"], accuracy: ["answer"], rank: ["answer"], kl: [], js: [], loss: [],
};

function metricOf(metric) {
  const { kind, head, ...rest } = metric;
  const names = METRIC_ARGUMENTS[kind];
  if (!names) return literal(metric, "    ");
  const options = Object.fromEntries(Object.entries(rest).filter(([name]) => !names.includes(name)));
  if (head) options.head = `${head.layer}.${head.head}`;
  return call(kind, names.map((name) => literal(rest[name])), options);
}

/** Constructors where they can say it, else the spec as a dict: both run the same experiment. */
export function pythonOf(spec) {
  const start = "import pathpatch as pp\n\nclient = pp.Client()";
  const address = origin() === "http://127.0.0.1:8000" ? start : start.replace("Client()", `Client(${JSON.stringify(origin())})`);
  const body = constructed(spec) || literal(spec);
  return `${address}\nspec = ${body}\nresult = client.run(spec)\nprint(result)\nresult.figure()\n`;
}

function constructed(spec) {
  const { model, dataset, patch, metric, metrics, output = {}, ...rest } = spec;
  const { kind = "path", senders, receivers, nodes, ...options } = patch;
  if (patch.paths || kind === "circuit") return null;
  const ends = kind === "path" ? { senders: endOf(senders), receivers: endOf(receivers) } : { nodes: endOf(nodes) };
  const known = ["method", "verify", "dtype", "priority", "expires_after_s", "use_cache", "tags"];
  if (Object.values(ends).includes(null) || Object.keys(model).length > 1 || Object.keys(rest).some((name) => !known.includes(name))) return null;
  const flat = { ...output };
  if (flat.reduce?.top) { flat.top = flat.reduce.top; delete flat.reduce; }
  const measured = metrics ? `[${metrics.map(metricOf).join(", ")}]` : metricOf(metric);
  const lines = [
    ...Object.entries(ends).map(([name, end]) => `${name}=${end}`), `dataset=${datasetOf(dataset)}`, `metric=${measured}`,
    `model=${literal(model.name)}`,
    ...Object.entries({ ...options, ...flat, ...rest }).map(([name, value]) => `${name}=${literal(value, "    ")}`),
  ];
  return `pp.${kind === "path" ? "path_patch" : "activation_patch"}(\n${lines.map((line) => `    ${line},\n`).join("")})`;
}
