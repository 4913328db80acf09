// Specs as data: without what is left to its default, and compared field by field.

const DEFAULTS = {
  "": { method: "exact", dtype: "float32", priority: "normal", use_cache: true },
  model: { fold_ln: true, center_writing_weights: true, center_unembed: true, refactor_factored_attn_matrices: true, fold_value_biases: true },
  dataset: { swap: false, new: "abc", prompt_type: "mixed", seed: 0 },
  patch: { kind: "path", direct_includes_mlps: false, source: "new", mean_over: "position", tests: [], seed: 0 },
  metric: { normalize: "none", position: "end" },
};

const LONGEST_LINE = 66;
const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function withoutNulls(value) {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([name, item]) => [name, withoutNulls(item)]));
}

function without(defaults, record) {
  const isLeftOut = (name, value) => name in defaults && JSON.stringify(defaults[name]) === JSON.stringify(value);
  return Object.fromEntries(Object.entries(record).filter(([name, value]) => !isLeftOut(name, value)));
}

/** The spec as somebody would write it by hand. */
export function compact(spec) {
  const short = without(DEFAULTS[""], withoutNulls(spec));
  const update = short.patch?.direct_includes_mlps ? "overwrite" : "add";
  if (short.patch?.receiver_update === update) delete short.patch.receiver_update;
  for (const part of ["model", "patch", "metric"]) if (short[part]) short[part] = without(DEFAULTS[part], short[part]);
  for (const end of ["senders", "receivers", "nodes"]) {
    const sweep = short.patch?.[end]?.sweep;
    if (sweep) short.patch[end] = { sweep: without({ layers: "all" }, sweep) };
  }
  if (short.metrics) short.metrics = short.metrics.map((metric) => without(DEFAULTS.metric, metric));
  if (short.dataset) {
    const kept = short.dataset.kind === "templates" ? { swap: false, seed: 0 } : DEFAULTS.dataset;
    short.dataset = without(kept, short.dataset);
  }
  for (const [name, value] of Object.entries(short)) if (isPlain(value) && Object.keys(value).length === 0) delete short[name];
  return short;
}

/** A compact spec without what its model and its other fields imply. */
export function withoutImplied({ model = {}, dataset, output, ...rest }) {
  const { prepend_bos, ...prompts } = dataset;
  const { per_example, ...others } = output ?? {};
  return { model: { name: model.name }, dataset: prompts, ...rest, ...(Object.keys(others).length ? { output: others } : {}) };
}

/** A spec as JSON that is short to read: what fits stays on one line. */
export function written(value, indent = "") {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const line = oneLine(value);
  if (line.length + indent.length < LONGEST_LINE && indent) return line;
  const inner = `${indent}  `;
  const items = Array.isArray(value)
    ? value.map((item) => inner + written(item, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${written(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return items.length ? `${open}\n${items.join(",\n")}\n${indent}${close}` : open + close;
}

function oneLine(value) {
  if (Array.isArray(value)) return `[${value.map(oneLine).join(", ")}]`;
  if (!isPlain(value)) return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${oneLine(item)}`).join(", ")}}`;
}

/** Where two specs differ: [pointer, first's value, second's value]. Parts of another kind differ as a whole. */
export function differences(first, second, pointer = "") {
  if (JSON.stringify(first) === JSON.stringify(second)) return [];
  if (!isPlain(first) || !isPlain(second) || first.kind !== second.kind) return [[pointer || "/", first, second]];
  const names = [...new Set([...Object.keys(first), ...Object.keys(second)])];
  return names.flatMap((name) => differences(first[name], second[name], `${pointer}/${name}`));
}
