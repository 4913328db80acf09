// The form's fields. They read and write the parts of a spec that they can say; the rest is left as it is.
import { choice, el, field } from "./dom.js";
import { RECEIVER_KINDS, SENDER_KINDS, endOf, fieldsOf } from "./ends.js";
import { PRESETS } from "./presets.js";

const METRIC_LABELS = { query: "From", key: "To", minus_key: "Minus to", answer: "Answer", minus_answer: "Minus answer" };
const METRIC_FIELDS = Object.keys(METRIC_LABELS);
const ANSWERS = ["answer", "minus_answer"];
const USUAL = { query: "end", key: "IO", minus_key: "S1", answer: "IO", minus_answer: "S" };
const NORMALIZED = [["none", "no: in its own unit"], ["noising", "noising: orig 0, new −1"], ["denoising", "denoising: orig 0, new 1"]];
const ENDS = [["senderKind", "senders", SENDER_KINDS], ["receiverKind", "receivers", RECEIVER_KINDS]];

const text = (attributes = {}) => el("input", { type: "text", spellcheck: "false", autocomplete: "off", ...attributes });
const count = (min) => el("input", { type: "number", min, step: "1", inputmode: "numeric" });
const isPath = (spec) => (spec.patch?.kind ?? "path") === "path";
const orDelete = (record, name, value, isDefault) => { isDefault ? delete record[name] : (record[name] = value); };

/** Every control by its name. */
export function makeControls(models, kinds, chosen) {
  return {
    preset: choice([...PRESETS, ["", "your own"]], chosen),
    model: choice(models.map((model) => [model.name, model.available ? model.name : `${model.name} (not on this server)`]), ""),
    examples: count("1"), seed: count("0"),
    counterpart: choice([["abc", "unrelated names"], ["swapped", "IO and S exchanged"]], "abc"),
    swap: el("input", { type: "checkbox" }),
    senderKind: choice(SENDER_KINDS, "z"), senders: text({ placeholder: "9.6, 9.9" }),
    receiverKind: choice(RECEIVER_KINDS, "q"), receivers: text({ placeholder: "10.7" }),
    mlps: el("input", { type: "checkbox" }),
    metric: choice(Object.keys(kinds).map((kind) => [kind, kind.replaceAll("_", " ")]), "attention_diff"),
    ...Object.fromEntries(METRIC_FIELDS.map((name) => [name, text({ list: ANSWERS.includes(name) ? "answers" : "roles" })])),
    normalize: choice(NORMALIZED, "none"),
    json: el("textarea", { rows: "16", spellcheck: "false", autocapitalize: "off" }),
  };
}

/** The controls with their labels, in groups. */
export function layOut(controls, notes) {
  const group = (title, ...content) => el("fieldset", {}, el("legend", {}, title), content);
  return [
    group("Start from", field("Experiment", controls.preset, notes.question, { class: "field wide" }), field("Model", controls.model)),
    group("Prompts", notes.dataset, field("Examples", controls.examples), field("Seed", controls.seed),
      field("New prompts", controls.counterpart), field("Exchange the runs (denoising)", controls.swap)),
    group("Patch",
      field("From", controls.senderKind), field("Sender names", controls.senders, "layer.head, from 0, such as 9.6, 9.9"),
      field("Into", controls.receiverKind), field("Receiver names", controls.receivers, "layer.head, such as 10.7; for the residual stream a layer"),
      field("Through MLPs (the IOI paper's algorithm)", controls.mlps)),
    group("Measure", field("Metric", controls.metric),
      METRIC_FIELDS.map((name) => field(METRIC_LABELS[name], controls[name])), field("Normalised", controls.normalize)),
  ];
}

/** Show a spec in the fields that can say it; what somebody is typing in is left alone. */
export function fill(controls, spec, kinds, notes) {
  notes.question.textContent = PRESETS.find(([name]) => name === controls.preset.value)?.[2] ?? "What the fields and the JSON below say.";
  controls.model.value = spec.model?.name ?? "";
  fillDataset(controls, spec.dataset ?? {}, notes);
  for (const [kind, names, known] of ENDS) fillEnd(controls[kind], controls[names], isPath(spec), spec.patch?.[names], known);
  controls.mlps.checked = Boolean(spec.patch?.direct_includes_mlps);
  controls.mlps.disabled = !isPath(spec);
  controls.metric.disabled = !spec.metric;
  if (spec.metric) fillMetric(controls, spec.metric, kinds);
}

function fillDataset(controls, dataset, notes) {
  const isIoi = dataset.kind === "ioi";
  for (const name of ["examples", "seed", "counterpart", "swap"]) controls[name].disabled = !isIoi;
  notes.dataset.textContent = isIoi ? "" : `A dataset of kind “${dataset.kind}” is edited in the JSON.`;
  controls.examples.value = dataset.examples ?? "";
  controls.seed.value = dataset.seed ?? 0;
  controls.counterpart.value = typeof dataset.new === "string" ? dataset.new : "abc";
  controls.swap.checked = Boolean(dataset.swap);
}

function fillEnd(kind, names, isKnown, end, kinds) {
  const [shown, listed] = isKnown ? fieldsOf(end, kinds) : ["custom", ""];
  kind.value = shown;
  kind.disabled = !isKnown;
  names.disabled = !isKnown || shown === "custom" || shown.startsWith("sweep:");
  if (document.activeElement !== names) names.value = listed;
}

function fillMetric(controls, metric, kinds) {
  controls.metric.value = metric.kind;
  controls.normalize.value = metric.normalize ?? "none";
  for (const name of METRIC_FIELDS) {
    controls[name].closest(".field").hidden = !(kinds[metric.kind] || []).includes(name);
    if (document.activeElement !== controls[name]) controls[name].value = metric[name] ?? "";
  }
}

/** The spec with what the fields say, after a change of one of them. */
export function collect(controls, before, kinds, changed) {
  const spec = structuredClone(before);
  spec.model = { ...spec.model, name: controls.model.value };
  if (spec.dataset?.kind === "ioi") collectDataset(controls, spec.dataset);
  if (spec.patch && isPath(spec)) {
    for (const [kind, names] of ENDS) {
      if (controls[kind].value !== "custom") spec.patch[names] = endOf(controls[kind].value, controls[names].value);
    }
    orDelete(spec.patch, "direct_includes_mlps", true, !controls.mlps.checked);
  }
  if (spec.metric) spec.metric = collectMetric(controls, spec.metric, kinds, changed === controls.metric);
  return spec;
}

function collectDataset(controls, dataset) {
  dataset.examples = controls.examples.value === "" ? null : Number(controls.examples.value);
  dataset.seed = Number(controls.seed.value);
  orDelete(dataset, "new", controls.counterpart.value, controls.counterpart.value === "abc");
  orDelete(dataset, "swap", true, !controls.swap.checked);
}

function collectMetric(controls, before, kinds, isNewKind) {
  const kind = controls.metric.value || before.kind;
  const metric = isNewKind ? { kind } : { ...before, kind };
  for (const name of (kinds[kind] || []).filter((one) => METRIC_FIELDS.includes(one))) {
    const said = controls[name].value || (isNewKind ? USUAL[name] : "");
    metric[name] = /^\d+$/.test(said) && !ANSWERS.includes(name) ? Number(said) : said;
  }
  orDelete(metric, "normalize", controls.normalize.value, controls.normalize.value === "none");
  return metric;
}

/** Mark the fields at fault, for eyes and for screen readers; what no field says is at fault in the JSON. */
export function mark(controls, errors) {
  const places = {
    "/model": controls.model, "/dataset/examples": controls.examples, "/dataset/seed": controls.seed,
    "/patch/senders": controls.senders, "/patch/receivers": controls.receivers,
    ...Object.fromEntries(METRIC_FIELDS.map((name) => [`/metric/${name}`, controls[name]])),
  };
  for (const control of [...Object.values(places), controls.json]) control.removeAttribute("aria-invalid");
  for (const { pointer } of errors) {
    const place = Object.keys(places).find((start) => pointer === start || pointer.startsWith(`${start}/`));
    const control = place && !places[place].disabled ? places[place] : controls.json;
    control.setAttribute("aria-invalid", "true");
  }
}
