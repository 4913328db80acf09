// A form to start an experiment. The JSON is the truth; the fields read and write the parts of it that they know.
import { getJson, submit, validate } from "./api.js";
import { curlOf, pythonOf } from "./code.js";
import { announce, choice, code, el, field, section } from "./dom.js";
import { RECEIVER_KINDS, SENDER_KINDS, endOf, fieldsOf } from "./ends.js";
import { metricKinds } from "./metrics.js";
import { PRESETS, preset } from "./presets.js";
import { preview } from "./preview.js";
import { problemBox } from "./problem.js";
import { written } from "./spec.js";

const PAUSE_MS = 400;
const ROLES = ["IO", "S1", "S1+1", "S2", "end"];
const USUAL = { query: "end", key: "IO", minus_key: "S1", answer: "IO", minus_answer: "S" };
const FALLBACK_SHAPE = { n_layers: 4, n_heads: 8 };

export async function showExperiment(main, { signal, query }) {
  const [models, kinds] = await Promise.all([getJson("v1/models", { signal }).then(({ data }) => data), metricKinds({ signal })]);
  const shapeOf = (name) => models.find((model) => model.name === name)?.shape || FALLBACK_SHAPE;
  const usable = models.find((model) => model.available)?.name || models[0].name;
  const draft = query.has("draft") ? sessionStorage.getItem("pathpatch-draft") : null;
  const first = PRESETS.some(([name]) => name === query.get("preset")) ? query.get("preset") : PRESETS[0][0];
  let spec = draft ? JSON.parse(draft) : preset(first, usable, shapeOf(usable));
  let running = null;
  let timer = null;

  const text = (attributes = {}) => el("input", { type: "text", spellcheck: "false", autocomplete: "off", ...attributes });
  const controls = {
    preset: choice([...PRESETS, ["", "your own"]], draft ? "" : first),
    model: choice(models.map((model) => [model.name, model.available ? model.name : `${model.name} (not on this server)`]), spec.model.name),
    examples: el("input", { type: "number", min: "1", step: "1", inputmode: "numeric" }),
    seed: el("input", { type: "number", min: "0", step: "1", inputmode: "numeric" }),
    counterpart: choice([["abc", "unrelated names"], ["swapped", "IO and S exchanged"]], "abc"),
    swap: el("input", { type: "checkbox" }),
    senderKind: choice(SENDER_KINDS, "z"), senders: text({ placeholder: "9.6, 9.9" }),
    receiverKind: choice(RECEIVER_KINDS, "q"), receivers: text({ placeholder: "10.7" }),
    mlps: el("input", { type: "checkbox" }),
    metric: choice(Object.keys(kinds).map((kind) => [kind, kind.replaceAll("_", " ")]), "attention_diff"),
    query: text({ list: "roles" }), key: text({ list: "roles" }), minus_key: text({ list: "roles" }),
    answer: text({ list: "answers" }), minus_answer: text({ list: "answers" }),
    normalize: choice([["none", "no: in its own unit"], ["noising", "noising: orig 0, new −1"], ["denoising", "denoising: orig 0, new 1"]], "none"),
    json: el("textarea", { rows: "16", spellcheck: "false", autocapitalize: "off" }),
  };
  const metricFields = Object.fromEntries(["query", "key", "minus_key", "answer", "minus_answer"].map((name) =>
    [name, field({ query: "From", key: "To", minus_key: "Minus to", answer: "Answer", minus_answer: "Minus answer" }[name], controls[name])]));
  const pointers = {
    "/model": controls.model, "/dataset/examples": controls.examples, "/dataset/seed": controls.seed,
    "/patch/senders": controls.senders, "/patch/receivers": controls.receivers,
    ...Object.fromEntries(Object.keys(metricFields).map((name) => [`/metric/${name}`, controls[name]])),
  };
  const verdict = el("div", { class: "verdict", "aria-live": "polite" });
  const codes = el("div", { class: "pair" });
  const start = el("button", { type: "submit", class: "primary" }, "Start the experiment");
  const refusal = el("div", {});
  const datasetNote = el("p", { class: "hint" });
  const question = el("span", {});

  /** Show the spec in the fields that can say it. */
  function fill(withJson = true) {
    const { dataset = {}, patch = {}, metric } = spec;
    question.textContent = PRESETS.find(([name]) => name === controls.preset.value)?.[2] ?? "What the fields and the JSON below say.";
    const isIoi = dataset.kind === "ioi";
    controls.model.value = spec.model?.name ?? "";
    for (const name of ["examples", "seed", "counterpart", "swap"]) controls[name].disabled = !isIoi;
    datasetNote.textContent = isIoi ? "" : `A dataset of kind “${dataset.kind}” is edited in the JSON.`;
    controls.examples.value = dataset.examples ?? "";
    controls.seed.value = dataset.seed ?? 0;
    controls.counterpart.value = typeof dataset.new === "string" ? dataset.new : "abc";
    controls.swap.checked = Boolean(dataset.swap);
    const isPath = (patch.kind ?? "path") === "path";
    for (const [kind, names, end, kinds] of [["senderKind", "senders", patch.senders, SENDER_KINDS], ["receiverKind", "receivers", patch.receivers, RECEIVER_KINDS]]) {
      const [shown, listed] = isPath ? fieldsOf(end, kinds) : ["custom", ""];
      controls[kind].value = shown;
      controls[kind].disabled = !isPath;
      controls[names].disabled = !isPath || shown === "custom" || shown.startsWith("sweep:");
      if (document.activeElement !== controls[names]) controls[names].value = listed;
    }
    controls.mlps.checked = Boolean(patch.direct_includes_mlps);
    controls.mlps.disabled = !isPath;
    controls.metric.disabled = !metric;
    if (metric) {
      controls.metric.value = metric.kind;
      controls.normalize.value = metric.normalize ?? "none";
      for (const [name, holder] of Object.entries(metricFields)) {
        holder.hidden = !(kinds[metric.kind] || []).includes(name);
        if (document.activeElement !== controls[name]) controls[name].value = metric[name] ?? "";
      }
    }
    if (withJson) controls.json.value = written(spec);
    codes.replaceChildren(code("Python", safely(() => pythonOf(spec))), code("curl", curlOf(spec)));
  }

  const safely = (make) => { try { return make(); } catch { return "The spec is not complete yet."; } };
  const asNumber = (control) => (control.value === "" ? null : Number(control.value));
  const asPosition = (value) => (/^\d+$/.test(value) ? Number(value) : value);

  /** Write the fields into the spec; what they cannot say is left as it is. */
  function collect(changed) {
    spec = structuredClone(spec);
    spec.model = { ...spec.model, name: controls.model.value };
    if (spec.dataset?.kind === "ioi") {
      Object.assign(spec.dataset, { examples: asNumber(controls.examples), seed: asNumber(controls.seed) ?? 0 });
      controls.counterpart.value === "abc" ? delete spec.dataset.new : (spec.dataset.new = controls.counterpart.value);
      controls.swap.checked ? (spec.dataset.swap = true) : delete spec.dataset.swap;
    }
    if ((spec.patch?.kind ?? "path") === "path") {
      for (const [kind, names] of [["senderKind", "senders"], ["receiverKind", "receivers"]]) {
        if (controls[kind].value !== "custom") spec.patch[names] = endOf(controls[kind].value, controls[names].value);
      }
      controls.mlps.checked ? (spec.patch.direct_includes_mlps = true) : delete spec.patch.direct_includes_mlps;
    }
    if (spec.metric) {
      const kind = controls.metric.value || spec.metric.kind;
      const kept = changed === controls.metric ? { kind } : { ...spec.metric, kind };
      for (const name of (kinds[kind] || []).filter((field) => field in metricFields)) {
        const said = changed === controls.metric ? controls[name].value || USUAL[name] : controls[name].value;
        kept[name] = ["answer", "minus_answer"].includes(name) ? said : asPosition(said);
      }
      controls.normalize.value === "none" ? delete kept.normalize : (kept.normalize = controls.normalize.value);
      spec.metric = kept;
    }
  }

  function mark(errors) {
    for (const control of [...Object.values(pointers), controls.json]) control.removeAttribute("aria-invalid");
    for (const { pointer } of errors) {
      const known = Object.keys(pointers).find((start) => pointer === start || pointer.startsWith(`${start}/`));
      const control = known && !pointers[known].disabled ? pointers[known] : controls.json;
      control.setAttribute("aria-invalid", "true");
    }
  }

  function check() {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      running?.abort();
      running = new AbortController();
      verdict.setAttribute("aria-busy", "true");
      try {
        verdict.replaceChildren(preview(await validate(spec, running.signal)));
        mark([]);
      } catch (error) {
        if (error.name === "AbortError") return;
        verdict.replaceChildren(problemBox(error));
        mark(error.errors || []);
      }
      verdict.removeAttribute("aria-busy");
    }, PAUSE_MS);
  }

  function changed(control) {
    if (control !== controls.preset) controls.preset.value = "";
    collect(control);
    fill();
    check();
  }

  const form = el("form", { class: "experiment", novalidate: true },
    el("fieldset", {}, el("legend", {}, "Start from"), field("Experiment", controls.preset, question, { class: "field wide" }), field("Model", controls.model)),
    el("fieldset", {}, el("legend", {}, "Prompts"), datasetNote, field("Examples", controls.examples), field("Seed", controls.seed),
      field("New prompts", controls.counterpart), field("Exchange the runs (denoising)", controls.swap)),
    el("fieldset", {}, el("legend", {}, "Patch"),
      field("From", controls.senderKind), field("Sender names", controls.senders, "layer.head, from 0, such as 9.6, 9.9"),
      field("Into", controls.receiverKind), field("Receiver names", controls.receivers, "layer.head, such as 10.7; for the residual stream a layer"),
      field("Through MLPs (the IOI paper's algorithm)", controls.mlps)),
    el("fieldset", {}, el("legend", {}, "Measure"), field("Metric", controls.metric), Object.values(metricFields), field("Normalised", controls.normalize)),
    el("details", { open: Boolean(draft) }, el("summary", {}, "The whole spec as JSON"), field("Spec", controls.json, "Everything the API takes; the fields above follow.")),
    el("datalist", { id: "roles" }, ROLES.map((role) => el("option", { value: role }))),
    el("datalist", { id: "answers" }, ["IO", "S"].map((answer) => el("option", { value: answer }))),
    refusal, el("p", {}, start));
  main.replaceChildren(el("h1", { tabindex: "-1" }, "New experiment"),
    el("div", { class: "split" }, el("div", { class: "card" }, form), el("section", { class: "card sticky", "aria-label": "Preview" }, el("h2", {}, "Preview"), verdict)),
    section("The same in code", codes));

  controls.preset.addEventListener("change", () => {
    if (!controls.preset.value) return;
    spec = preset(controls.preset.value, controls.model.value, shapeOf(controls.model.value));
    fill();
    check();
  });
  controls.model.addEventListener("change", () => {
    const chosen = controls.preset.value;
    if (chosen) spec = preset(chosen, controls.model.value, shapeOf(controls.model.value));
    else collect(controls.model);
    fill();
    check();
  });
  for (const [name, control] of Object.entries(controls)) {
    if (["preset", "model", "json"].includes(name)) continue;
    control.addEventListener(control.tagName === "SELECT" || control.type === "checkbox" ? "change" : "input", () => changed(control));
  }
  controls.json.addEventListener("input", () => {
    controls.preset.value = "";
    try {
      spec = JSON.parse(controls.json.value);
      fill(false);
      check();
    } catch (error) {
      controls.json.setAttribute("aria-invalid", "true");
      verdict.replaceChildren(problemBox({ message: `This is not JSON yet: ${error.message}` }));
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    start.disabled = true;
    refusal.replaceChildren();
    try {
      const job = await submit(spec, crypto.randomUUID?.() || String(Math.random()).slice(2));
      announce("Experiment started");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      refusal.replaceChildren(problemBox(error));
      mark(error.errors || []);
      start.disabled = false;
    }
  });
  signal.addEventListener("abort", () => { clearTimeout(timer); running?.abort(); });
  fill();
  check();
}
