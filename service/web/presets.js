// Experiments to start from, made to fit the chosen model: name, title, the question it answers.

const attentionDiff = { kind: "attention_diff", query: "end", key: "IO", minus_key: "S1" };
const logitDiff = { kind: "logit_diff", answer: "IO", minus_answer: "S" };
const NAMES = ["Mary", "John", "Tom", "James", "Anna", "Paul", "Lucy", "Sarah"];
/** Prompts of one wording, so that a position is the same word in each of them, but for the names. */
const oneWording = {
  kind: "templates", templates: ["When [A] and [B] arrived at the library that evening, [B] handed a lamp to"],
  slots: { A: NAMES, B: NAMES }, new: { A: "B", B: "A" },
  roles: { IO: "A", S1: "B", S2: { slot: "B", occurrence: 1 }, end: -1 }, answers: { IO: "A", S: "B" }, examples: 50, seed: 0,
};
const heads = (hook, names) => names.map(([layer, head]) => ({ hook, layer, head }));

/** Heads that are known to matter: the demo model's by its card, GPT-2 small's by the IOI paper; else a guess by depth. */
function knownHeads(name, shape) {
  if (name === "demo") return { senders: [0, 1, 2, 3, 4, 5, 6, 7].map((head) => [2, head]), receiver: [3, 0] };
  if (shape.n_layers === 12 && shape.n_heads === 12) return { senders: [[9, 6], [9, 9]], receiver: [10, 7] };
  const late = Math.max(1, Math.round(shape.n_layers * 0.75));
  return { senders: [[Math.max(0, late - 1), 0]], receiver: [Math.min(late, shape.n_layers - 1), 0] };
}

export const PRESETS = [
  ["heads-to-query", "Heads into one head's query", "Where does it look once these heads are patched?"],
  ["every-head-to-logits", "Every head to the logits", "Which heads write the answer?"],
  ["every-head-to-query", "Every head into one head's query", "Which heads steer where it looks?"],
  ["every-mlp-to-logits", "Every MLP to the logits", "Which MLPs write the answer?"],
  ["residual-by-position", "Residual stream, by layer and position", "Where is the answer, and when? Activation patching."],
  ["edges", "Every head into every head's value", "Which heads read what others wrote? The circuit."],
];

export function preset(name, model, shape) {
  const known = knownHeads(model, shape);
  const last = [{ hook: "resid_post", layer: shape.n_layers - 1 }];
  const base = { model: { name: model }, dataset: { kind: "ioi", examples: 100, seed: 0 } };
  const patches = {
    "heads-to-query": [{ senders: heads("z", known.senders), receivers: heads("q", [known.receiver]) }, attentionDiff],
    "every-head-to-logits": [{ senders: { sweep: { hook: "z" } }, receivers: last }, logitDiff],
    "every-head-to-query": [{ senders: { sweep: { hook: "z" } }, receivers: heads("q", [known.receiver]) }, attentionDiff],
    "every-mlp-to-logits": [{ senders: { sweep: { hook: "mlp_out" } }, receivers: last }, logitDiff],
    "residual-by-position": [{ kind: "activation", nodes: { sweep: { hook: "resid_pre", positions: "each" } } }, logitDiff],
    "edges": [{ senders: { sweep: { hook: "z" } }, receivers: { sweep: { hook: "v" } } }, logitDiff],
  };
  const [patch, metric] = patches[name];
  const datasets = { "residual-by-position": oneWording, "edges": { ...base.dataset, examples: 20 } };
  return { ...base, dataset: structuredClone(datasets[name] ?? base.dataset), patch, metric };
}
