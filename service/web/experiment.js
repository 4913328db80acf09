// A form to start an experiment. Fields and JSON say the same spec: whoever types in one sees the other follow, and what is typed stays.
import { getJson, submit, validate } from "./api.js";
import { curlOf, pythonOf } from "./code.js";
import { announce, choice, code, el, field, section, setFault } from "./dom.js";
import { makeDataset } from "./form/dataset.js";
import { makeMeasure } from "./form/measure.js";
import { makePatch } from "./form/patch.js";
import { makeRun } from "./form/run.js";
import { abilities } from "./form/schema.js";
import { preview } from "./preview.js";
import { problemBox } from "./problem.js";
import { written } from "./spec.js";
import { modelWords } from "./words.js";

const PAUSE_MS = 400;

/** The presets for a model, as the service fills them in; asked for once. */
function presetsOf(models) {
  const asked = new Map();
  return (name) => {
    const known = models.find((one) => one.name === name);
    const { n_layers, n_heads, n_kv_heads = 0 } = known?.architecture ?? known?.shape ?? {};
    const query = new URLSearchParams({ model: name, ...(n_layers ? { n_layers, n_heads, n_kv_heads } : {}) });
    if (!asked.has(name)) asked.set(name, getJson(`web/presets.json?${query}`));
    return asked.get(name);
  };
}

export async function showExperiment(main, { signal, query }) {
  const [models, can] = await Promise.all([getJson("v1/models", { signal }).then(({ data }) => data), abilities({ signal })]);
  const presets = presetsOf(models);
  const usable = models.find((model) => model.available)?.name || models[0].name;
  const offered = await presets(usable);
  if (signal.aborted) return; // another view is shown by now
  const draft = query.has("draft") ? sessionStorage.getItem("pathpatch-draft") : null;
  const first = offered.find(({ name }) => name === query.get("preset")) ?? offered[0];

  const controls = {
    preset: choice([...offered.map(({ name }) => name), ["", "your own"]], draft ? "" : first.name),
    model: choice(models.map((model) => [model.name, model.available ? model.name : `${model.name} (not on this server)`]), usable),
    json: el("textarea", { rows: "16", spellcheck: "false", autocapitalize: "off" }),
  };
  const start = (kind) => offered.find(({ spec }) => spec.dataset.kind === kind)?.spec.dataset
    ?? (kind === "tokens" ? { kind, orig: [[1, 2, 3]], new: [[1, 2, 4]], roles: { end: [-1] } } : { kind, examples: 100, seed: 0 });
  const dataset = makeDataset(can.datasets, start);
  const patch = makePatch(can.patches, can.hooks);
  const measure = makeMeasure(can.metrics);
  const parts = [dataset, patch, measure, makeRun(can.hasName)];
  let spec = draft ? JSON.parse(draft) : structuredClone(first.spec);
  let faults = [];
  let changes = 0;

  const question = el("span", {});
  const about = el("span", {});
  const verdict = el("div", { class: "verdict", "aria-live": "polite" });
  const codes = el("div", { class: "pair" });
  const go = el("button", { type: "submit", class: "primary" }, "Start the experiment");
  const refusal = el("div", {});
  const form = el("form", { class: "experiment", novalidate: true },
    group("Start from", field("Experiment", controls.preset, question, { class: "field wide" }), field("Model", controls.model, about, { class: "field wide" })),
    parts.map((part) => group(part.title, part.elements)),
    el("details", { open: Boolean(draft) }, el("summary", {}, "The whole spec as JSON"),
      field("Spec", controls.json, "Everything the API takes; the fields above follow.")),
    el("datalist", { id: "roles" }), el("datalist", { id: "answers" }), refusal, el("p", {}, go));
  main.replaceChildren(el("h1", { tabindex: "-1" }, "New experiment"),
    el("div", { class: "split" }, el("div", { class: "card" }, form),
      el("section", { class: "card sticky", "aria-label": "Preview" }, el("h2", {}, "Preview"), verdict)),
    section("The same in code", codes));

  const everyControl = () => [...Object.values(controls), ...parts.flatMap((part) => Object.values(part.controls))];
  const mark = (found) => markFields(everyControl(), parts, controls, found);
  const check = checker(verdict, signal, (report) => {
    mark([]);
    const [{ roles = {}, answers = {} } = {}] = report.examples;
    for (const [id, names] of Object.entries({ roles, answers })) {
      form.querySelector(`#${id}`).replaceChildren(...Object.keys(names).map((value) => el("option", { value })));
    }
  }, (error) => mark(error.faults ?? error.errors ?? []));

  /** After any change: the other side follows, and the service is asked. */
  function follow({ isJson = false } = {}) {
    changes += 1;
    refusal.replaceChildren();
    question.textContent = offered.find(({ name }) => name === controls.preset.value)?.title ?? "What the fields and the JSON below say.";
    const model = models.find(({ name }) => name === controls.model.value);
    about.textContent = modelWords(model);
    patch.fit(model?.architecture);
    if (!isJson) controls.json.value = written(spec);
    codes.replaceChildren(code("Python", pythonIfComplete(spec)), code("curl", curlOf(spec)));
    check(spec, faults);
  }

  /** Show a spec in all fields. */
  function load(next, options) {
    spec = next;
    faults = [];
    controls.model.value = spec.model?.name ?? "";
    dataset.fill(spec.dataset ?? {});
    patch.fill(spec.patch);
    for (const part of parts.slice(2)) part.fill(spec);
    follow(options);
  }

  function typedJson() {
    controls.preset.value = "";
    try {
      load(JSON.parse(controls.json.value), { isJson: true });
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      changes += 1;
      refusal.replaceChildren();
      faults = [[controls.json, `This is not JSON yet: ${error.message}`]];
      check(spec, faults);
    }
  }

  /** Fill in a preset, unless something else was changed while it was fetched. */
  async function loadPreset() {
    const wanted = controls.preset.value;
    const asked = changes += 1;
    const found = (await presets(controls.model.value)).find(({ name }) => name === wanted);
    if (asked === changes) load(structuredClone(found.spec));
  }

  function changed(control) {
    if (control === controls.json) return typedJson();
    if (controls.preset.value && [controls.preset, controls.model].includes(control)) return loadPreset();
    if (control === controls.preset) return follow();
    controls.preset.value = "";
    spec = structuredClone(spec);
    spec.model = { ...spec.model, name: controls.model.value };
    faults = parts.flatMap((part) => part.write(spec, control));
    if (control === patch.controls.patchKind) measure.suit(spec);
    return follow();
  }

  for (const control of everyControl()) {
    const isChosen = control.tagName === "SELECT" || ["checkbox", "file"].includes(control.type);
    control.addEventListener(isChosen ? "change" : "input", async () => {
      if (control.type !== "file" || await dataset.readFile()) await changed(control);
    });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    refusal.replaceChildren();
    try {
      if (faults.length) throw faultsFound(faults);
      const job = await submit(spec, crypto.randomUUID?.() || String(Math.random()).slice(2));
      announce("Experiment started");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      refusal.replaceChildren(problemBox(error));
      mark(error.faults ?? error.errors ?? []);
      go.disabled = false;
    }
  });
  load(spec);
}

const group = (title, ...content) => el("fieldset", {}, el("legend", {}, title), content);

/** What could not be read from the fields, as an error to show. */
function faultsFound(faults) {
  const errors = faults.map(([control, message]) => ({ pointer: control.labels?.[0]?.textContent ?? "", message }));
  return Object.assign(new Error(), { problem: { title: "Not complete yet", errors }, faults });
}

/** Mark the fields at fault, for eyes and for screen readers; what no field says is at fault in the JSON. */
function markFields(everyControl, parts, controls, found) {
  const places = { "/model": controls.model, ...Object.assign({}, ...parts.map((part) => part.places())) };
  const said = new Map();
  for (const one of found) {
    if (Array.isArray(one)) said.set(...one);
    else {
      const place = Object.keys(places).find((start) => one.pointer === start || one.pointer.startsWith(`${start}/`));
      const control = place && !places[place].disabled && !places[place].closest(".field").hidden ? places[place] : controls.json;
      said.set(control, said.has(control) ? `${said.get(control)} ${one.message}` : one.message);
    }
  }
  for (const control of everyControl) setFault(control, said.get(control) ?? "");
}

/** Asks the service about a spec, a moment after the last change; the answer is shown in `verdict`. */
function checker(verdict, signal, onValid, onProblem) {
  let running = null;
  let timer = null;
  signal.addEventListener("abort", () => { clearTimeout(timer); running?.abort(); });
  return (spec, faults) => {
    clearTimeout(timer);
    running?.abort();
    timer = setTimeout(async () => {
      running = new AbortController();
      const { signal: asked } = running;
      verdict.setAttribute("aria-busy", "true");
      try {
        if (faults.length) throw faultsFound(faults);
        const report = await validate(spec, asked);
        if (asked.aborted) return;
        verdict.replaceChildren(preview(report));
        onValid(report);
      } catch (error) {
        if (error.name === "AbortError" || asked.aborted) return;
        verdict.replaceChildren(problemBox(error));
        onProblem(error);
      }
      verdict.removeAttribute("aria-busy");
    }, PAUSE_MS);
  };
}

function pythonIfComplete(spec) {
  try { return pythonOf(spec); } catch { return "The spec is not complete yet."; }
}
