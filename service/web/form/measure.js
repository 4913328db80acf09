// What is measured: one metric, or several of which the fields show one at a time.
import { choice, el, field } from "../dom.js";
import { Unreadable } from "./lists.js";

const LABELS = { query: "From", key: "To", minus_key: "Minus to", answer: "Answer", minus_answer: "Minus answer", position: "At position", head: "Of head" };
const FIELDS = Object.keys(LABELS);
const ANSWERS = ["answer", "minus_answer"];
const OPTIONAL = ["position", "head"];
const USUAL = { query: "end", key: "IO", minus_key: "S1", answer: "IO", minus_answer: "S" };
const NORMALIZED = [["none", "no: in its own unit"], ["noising", "noising: orig 0, new −1"], ["denoising", "denoising: orig 0, new 1"]];
const ADD = "add", DROP = "drop";
const orDelete = (record, name, value, isDefault) => { isDefault ? delete record[name] : (record[name] = value); };

function valueOf(name, text) {
  if (name !== "head") return /^-?\d+$/.test(text) && !ANSWERS.includes(name) ? Number(text) : text;
  const [, layer, head] = text.match(/^(\d+)\.(\d+)$/) || [];
  if (layer === undefined) throw new Unreadable(`“${text}” is not a head: write layer.head, such as 9.6.`);
  return { layer: Number(layer), head: Number(head) };
}

const written = (name, value) => (name === "head" && value ? `${value.layer}.${value.head}` : value ?? "");

/** @param kinds each kind's fields, such as `attention: ["query", "key", "head"]`. */
export function makeMeasure(kinds) {
  const text = (name) => el("input", { type: "text", spellcheck: "false", autocomplete: "off", list: name === "head" ? null : ANSWERS.includes(name) ? "answers" : "roles", placeholder: { head: "the receiver's", position: "end" }[name] });
  const controls = {
    which: el("select"),
    metric: choice(Object.keys(kinds).map((kind) => [kind, kind.replaceAll("_", " ")]), "attention_diff"),
    ...Object.fromEntries(FIELDS.map((name) => [name, text(name)])), normalize: choice(NORMALIZED, "none"),
  };
  const whichField = field("Measured", controls.which, "several metrics are read in the same runs", { class: "field wide" });
  let shown = 0;
  const fields = Object.fromEntries(FIELDS.map((name) => [name, field(LABELS[name], controls[name])]));
  const normalizeField = field("Normalised", controls.normalize, null, { class: "field wide" });

  function arrange() {
    const taken = kinds[controls.metric.value] || [];
    for (const name of FIELDS) controls[name].disabled = fields[name].hidden = !taken.includes(name);
  }

  const metricsOf = ({ metric, metrics }) => metrics ?? (metric ? [metric] : []);

  /** List the metrics, to choose the one that is shown. */
  function list(all) {
    controls.which.replaceChildren(
      ...all.map((one, index) => el("option", { value: String(index) }, `${index + 1} of ${all.length}: ${one.kind?.replaceAll("_", " ")}`)),
      el("option", { value: ADD }, "add another"), ...(all.length > 1 ? [el("option", { value: DROP }, "drop this one")] : []),
    );
    controls.which.value = String(shown);
  }

  function fill(spec) {
    const all = metricsOf(spec);
    shown = Math.max(0, Math.min(shown, all.length - 1));
    list(all);
    controls.which.disabled = controls.metric.disabled = controls.normalize.disabled = !all.length;
    const metric = all[shown] ?? {};
    controls.metric.value = metric.kind;
    controls.normalize.value = metric.normalize ?? "none";
    for (const name of FIELDS) controls[name].value = written(name, metric[name]);
    arrange();
  }

  /** Show another metric, after adding or dropping one if that was asked for. */
  function turn(spec) {
    const all = [...metricsOf(spec)], asked = controls.which.value;
    if (asked === ADD) all.push({ ...all[shown] });
    if (asked === DROP) all.splice(shown, 1);
    shown = asked === ADD ? all.length - 1 : asked === DROP ? Math.max(0, shown - 1) : Number(asked);
    if (asked === ADD || asked === DROP) put(spec, all);
    fill(spec);
  }

  function put(spec, all) {
    for (const name of ["metric", "metrics"]) delete spec[name];
    all.length === 1 ? (spec.metric = all[0]) : (spec.metrics = all);
  }

  function write(spec, changed) {
    const faults = [], all = [...metricsOf(spec)];
    if (changed === controls.which) turn(spec);
    if (changed === controls.which || !all.length) return faults;
    const kind = controls.metric.value || all[shown].kind;
    const isNew = changed === controls.metric;
    const metric = isNew ? { kind } : { ...all[shown], kind };
    for (const name of (kinds[kind] || []).filter((one) => FIELDS.includes(one))) {
      if (isNew && !controls[name].value) controls[name].value = USUAL[name] ?? "";
      const said = controls[name].value.trim();
      try { orDelete(metric, name, said === "" ? "" : valueOf(name, said), said === "" && OPTIONAL.includes(name)); } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        faults.push([controls[name], error.message]);
      }
    }
    orDelete(metric, "normalize", controls.normalize.value, controls.normalize.value === "none");
    all[shown] = metric;
    spec.metrics ? (spec.metrics = all) : (spec.metric = metric);
    if (isNew) list(all);
    arrange();
    return faults;
  }

  /** Circuits are judged by logits: a metric of attention gives way. */
  function suit(spec) {
    if (spec.patch?.kind !== "circuit" || !controls.metric.value.startsWith("attention")) return;
    controls.metric.value = "logit_diff";
    write(spec, controls.metric);
  }

  return {
    controls, fill, write, suit, title: "Measure",
    elements: [whichField, field("Metric", controls.metric), ...Object.values(fields), normalizeField],
    places: () => Object.fromEntries(FIELDS.flatMap((name) => ["/metric", `/metrics/${shown}`].map((start) => [`${start}/${name}`, controls[name]]))),
  };
}
