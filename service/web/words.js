// Specs in words, as figure captions say them.
import { el } from "./dom.js";

/** A model in a line: its sizes, and what is particular about it. */
export function modelWords(model) {
  const { architecture: known, shape } = model ?? {};
  if (!known) return shape ? `${shape.n_layers} layers of ${shape.n_heads} heads` : "";
  const isGrouped = known.n_kv_heads < known.n_heads;
  return [
    `${known.family}: ${known.n_layers} layers of ${known.n_heads} heads${isGrouped ? ` with ${known.n_kv_heads} key-value heads` : ""}`,
    `d_model ${known.d_model}`, `${known.positions} positions`,
    known.norm === "rms_norm" ? "RMSNorm" : "LayerNorm",
    known.is_gated && "gated MLPs", known.is_parallel && "parallel blocks (no resid_mid)",
    known.has_post_norms && "norms after attention and MLP", known.has_qk_norms && "norms of queries and keys",
    known.windows.some((window) => window !== null) && `window ${[...new Set(known.windows.filter((window) => window !== null))].join(", ")}`,
  ].filter(Boolean).join(", ");
}

const place = (node) => {
  const index = node.head ?? node.query_head ?? node.neuron;
  return node.layer === null || node.layer === undefined ? "" : ` ${node.layer}${index === null || index === undefined ? "" : `.${index}`}`;
};

export function endWords(end) {
  if (end.sweep) {
    const hook = Array.isArray(end.sweep.hook) ? end.sweep.hook.join("/") : end.sweep.hook;
    return `each ${hook}${end.sweep.positions === "each" ? " at each position" : ""}`;
  }
  const named = end.slice(0, 4).map((node) => node.hook + place(node)).join(", ");
  return end.length > 4 ? `${named} and ${end.length - 4} more` : named;
}

const SCORES = { exact: "exact score", attribution: "EAP", integrated: "EAP-IG" };
const CHOICES = { top: "the top", greedy: "greedily added", iterated: "iteratively kept" };

function circuitWords({ edges, choose, score }) {
  if (edges) return "cfg" in edges ? "circuit of a graph file" : `circuit ${Object.keys(edges).slice(0, 4).join(", ")}`;
  if (choose?.by === "acdc") return `circuit by ACDC, threshold ${choose.threshold}`;
  return `circuits of ${CHOICES[choose?.by ?? "top"]} edges by ${SCORES[score?.method ?? "exact"]}`;
}

export function patchWords(patch) {
  if (patch.kind === "activation") return `activations ${endWords(patch.nodes)}`;
  if (patch.paths) return patch.paths.slice(0, 2).map((path) => path.map((node) => endWords(node.sweep ? node : [node])).join(" → ")).join("; ") + (patch.paths.length > 2 ? ` and ${patch.paths.length - 2} more` : "");
  if (patch.kind === "circuit") return circuitWords(patch);
  return `${endWords(patch.senders)} → ${endWords(patch.receivers)}${patch.direct_includes_mlps ? ", through MLPs" : ""}`;
}

export function metricWords(metric) {
  switch (metric.kind) {
    case "attention": return `attention ${metric.query}→${metric.key}`;
    case "attention_diff": return `attention ${metric.query}→${metric.key} minus ${metric.query}→${metric.minus_key}`;
    case "logit_diff": return `logit ${metric.answer} minus ${metric.minus_answer}`;
    case "prob_diff": return `prob ${metric.answer} minus ${metric.minus_answer}`;
    case "kl": return "KL from orig";
    case "js": return "JS divergence from orig";
    default: return metric.kind.replace("_", " ") + (metric.answer ? ` of ${metric.answer}` : "");
  }
}

export const metricsOf = (spec) => spec.metrics || (spec.metric ? [spec.metric] : []);
export const metricsWords = (spec) => metricsOf(spec).map(metricWords).join(", ");
/** What a job is called: its own name, or what its spec asks. */
export const titleOf = (job) => job.spec.name || specWords(job.spec);

/** Each tag as a link to the jobs that have it. */
export const tagLinks = (tags) => Object.entries(tags).map(([name, value]) =>
  el("a", { class: "tag", href: `#/jobs?${new URLSearchParams({ tag: `${name}:${value}` })}` }, `${name}:${value}`));

export const specWords = (spec) => `${patchWords(spec.patch)}: ${metricsWords(spec)}`;

/** How many prompts a spec has, in words. */
export function examplesOf({ dataset }) {
  const count = dataset.examples ?? dataset.orig?.length;
  if (!count) return "";
  return `${count} ${count === 1 ? "example" : "examples"}${dataset.seed === undefined || dataset.seed === null ? "" : `, seed ${dataset.seed}`}`;
}

/** One cell of a result in words, such as `9.6` or `9.6 → 10.7`. */
export function cellName(block, index) {
  const at = {};
  if (block.axes.length === 1 && block.axes[0] === "cell") {
    for (const [axis, values] of Object.entries(block.coordinates)) if (axis !== "cell") at[axis] = values[index[0]];
  } else block.axes.forEach((axis, i) => { at[axis] = block.coordinates[axis][index[i]]; });
  const ends = ["sender_", "receiver_", ""].map((side) => {
    const [hook, layer, head, neuron, position] = ["hook", "layer", "head", "neuron", "position"].map((part) => at[side + part]);
    const number = head ?? neuron;
    const isLayer = hook === undefined && layer !== undefined && number === undefined;
    const name = isLayer ? `layer ${layer}` : [hook, layer === undefined ? "" : String(layer)].filter(Boolean).join(" ");
    const full = number === undefined ? name : `${name}.${number}`;
    if (position === undefined) return full;
    return full ? `${full} at ${position}` : `position ${position}`;
  });
  const named = ends.filter(Boolean);
  if (at.example !== undefined) named.push(`example ${at.example}`);
  return named.join(ends[0] && ends[1] ? " → " : ", ");
}
