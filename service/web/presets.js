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
const nodes = (hook, names) => names.map(([layer, head]) => ({ hook, layer, head }));

/** GPT-2 small's name movers into a negative one, by the IOI paper; of other models a late layer's heads into the next. */
function headsOf({ n_layers: layers, n_heads: heads }) {
  if (layers === 12 && heads === 12) return { senders: [[9, 6], [9, 9], [10, 10]], receiver: [10, 7] };
  const late = Math.min(Math.max(1, Math.round(layers * 0.75)), layers - 1);
  return { senders: Array.from({ length: heads }, (_, head) => [Math.max(0, late - 1), head]), receiver: [late, 0] };
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
  const known = headsOf(shape);
  const last = [{ hook: "resid_post", layer: shape.n_layers - 1 }];
  const base = { model: { name: model }, dataset: { kind: "ioi", examples: 100, seed: 0 } };
  const patches = {
    "heads-to-query": [{ senders: nodes("z", known.senders), receivers: nodes("q", [known.receiver]) }, attentionDiff],
    "every-head-to-logits": [{ senders: { sweep: { hook: "z" } }, receivers: last }, logitDiff],
    "every-head-to-query": [{ senders: { sweep: { hook: "z" } }, receivers: nodes("q", [known.receiver]) }, attentionDiff],
    "every-mlp-to-logits": [{ senders: { sweep: { hook: "mlp_out" } }, receivers: last }, logitDiff],
    "residual-by-position": [{ kind: "activation", nodes: { sweep: { hook: "resid_pre", positions: "each" } } }, logitDiff],
    "edges": [{ senders: { sweep: { hook: "z" } }, receivers: { sweep: { hook: "v" } } }, logitDiff],
  };
  const [patch, metric] = patches[name];
  const datasets = { "residual-by-position": oneWording, "edges": { ...base.dataset, examples: 20 } };
  return { ...base, dataset: structuredClone(datasets[name] ?? base.dataset), patch, metric };
}
