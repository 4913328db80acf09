// What is measured: one metric; several are edited in the JSON.
import { choice, el, field } from "../dom.js";
import { Unreadable } from "./lists.js";

const LABELS = { query: "From", key: "To", minus_key: "Minus to", answer: "Answer", minus_answer: "Minus answer", position: "At position", head: "Of head" };
const FIELDS = Object.keys(LABELS);
const ANSWERS = ["answer", "minus_answer"];
const OPTIONAL = ["position", "head"];
const USUAL = { query: "end", key: "IO", minus_key: "S1", answer: "IO", minus_answer: "S" };
const NORMALIZED = [["none", "no: in its own unit"], ["noising", "noising: orig 0, new −1"], ["denoising", "denoising: orig 0, new 1"]];
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
    metric: choice(Object.keys(kinds).map((kind) => [kind, kind.replaceAll("_", " ")]), "attention_diff"),
    ...Object.fromEntries(FIELDS.map((name) => [name, text(name)])), normalize: choice(NORMALIZED, "none"),
  };
  const note = el("p", { class: "hint" });
  const fields = Object.fromEntries(FIELDS.map((name) => [name, field(LABELS[name], controls[name])]));
  const normalizeField = field("Normalised", controls.normalize, null, { class: "field wide" });

  function arrange(isOne) {
    const taken = isOne ? kinds[controls.metric.value] || [] : [];
    for (const name of FIELDS) controls[name].disabled = fields[name].hidden = !taken.includes(name);
    controls.normalize.disabled = normalizeField.hidden = !isOne;
    controls.metric.disabled = !isOne;
  }

  function fill({ metric, metrics }) {
    note.textContent = metric ? "" : `These ${metrics?.length ?? 0} metrics are edited in the JSON.`;
    if (metric) {
      controls.metric.value = metric.kind;
      controls.normalize.value = metric.normalize ?? "none";
      for (const name of FIELDS) controls[name].value = written(name, metric[name]);
    }
    arrange(Boolean(metric));
  }

  function write(spec, changed) {
    const faults = [];
    if (!spec.metric) return faults;
    const kind = controls.metric.value || spec.metric.kind;
    const isNew = changed === controls.metric;
    const metric = isNew ? { kind } : { ...spec.metric, kind };
    for (const name of (kinds[kind] || []).filter((one) => FIELDS.includes(one))) {
      if (isNew && !controls[name].value) controls[name].value = USUAL[name] ?? "";
      const said = controls[name].value.trim();
      try { orDelete(metric, name, said === "" ? "" : valueOf(name, said), said === "" && OPTIONAL.includes(name)); } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        faults.push([controls[name], error.message]);
      }
    }
    orDelete(metric, "normalize", controls.normalize.value, controls.normalize.value === "none");
    spec.metric = metric;
    arrange(true);
    return faults;
  }

  return {
    controls, fill, write, title: "Measure",
    elements: [field("Metric", controls.metric), note, ...Object.values(fields), normalizeField],
    places: () => Object.fromEntries(FIELDS.map((name) => [`/metric/${name}`, controls[name]])),
  };
}
