// A form to start an experiment. The JSON is the truth; the fields follow it, and it follows them.
import { getJson, submit, validate } from "./api.js";
import { curlOf, pythonOf } from "./code.js";
import { announce, code, el, field, section } from "./dom.js";
import { collect, fill, layOut, makeControls, mark } from "./fields.js";
import { metricKinds } from "./metrics.js";
import { PRESETS, preset } from "./presets.js";
import { preview } from "./preview.js";
import { problemBox } from "./problem.js";
import { written } from "./spec.js";

const PAUSE_MS = 400;
const FALLBACK_SHAPE = { n_layers: 4, n_heads: 8 };

export async function showExperiment(main, { signal, query }) {
  const [models, kinds] = await Promise.all([getJson("v1/models", { signal }).then(({ data }) => data), metricKinds({ signal })]);
  const draft = query.has("draft") ? sessionStorage.getItem("pathpatch-draft") : null;
  const first = PRESETS.find(([name]) => name === query.get("preset"))?.[0] ?? PRESETS[0][0];
  const controls = makeControls(models, kinds, draft ? "" : first);
  const fromPreset = (name, model) => preset(name, model, models.find((one) => one.name === model)?.shape || FALLBACK_SHAPE);
  const usable = models.find((model) => model.available)?.name || models[0].name;
  let spec = draft ? JSON.parse(draft) : fromPreset(first, usable);
  let notJson = null;

  const notes = { question: el("span", {}), dataset: el("p", { class: "hint" }) };
  const verdict = el("div", { class: "verdict", "aria-live": "polite" });
  const codes = el("div", { class: "pair" });
  const start = el("button", { type: "submit", class: "primary" }, "Start the experiment");
  const refusal = el("div", {});
  const form = el("form", { class: "experiment", novalidate: true },
    layOut(controls, notes),
    el("details", { open: Boolean(draft) }, el("summary", {}, "The whole spec as JSON"),
      field("Spec", controls.json, "Everything the API takes; the fields above follow.")),
    el("datalist", { id: "roles" }), el("datalist", { id: "answers" }), refusal, el("p", {}, start));
  main.replaceChildren(el("h1", { tabindex: "-1" }, "New experiment"),
    el("div", { class: "split" }, el("div", { class: "card" }, form),
      el("section", { class: "card sticky", "aria-label": "Preview" }, el("h2", {}, "Preview"), verdict)),
    section("The same in code", codes));

  const check = checker(verdict, signal, (report) => {
    mark(controls, []);
    const [{ roles = {}, answers = {} } = {}] = report.examples;
    for (const [id, names] of Object.entries({ roles, answers })) {
      form.querySelector(`#${id}`).replaceChildren(...Object.keys(names).map((value) => el("option", { value })));
    }
  }, (error) => mark(controls, error.errors || []));

  function show(isTyped = false) {
    notJson = null;
    fill(controls, spec, kinds, notes);
    if (!isTyped) controls.json.value = written(spec);
    codes.replaceChildren(code("Python", pythonIfComplete(spec)), code("curl", curlOf(spec)));
    check(spec);
  }

  function typed() {
    controls.preset.value = "";
    try {
      spec = JSON.parse(controls.json.value);
      show(true);
    } catch (error) {
      notJson = { message: `This is not JSON yet: ${error.message}` };
      controls.json.setAttribute("aria-invalid", "true");
      verdict.replaceChildren(problemBox(notJson));
    }
  }

  function changed(control) {
    const chosen = controls.preset.value;
    if (chosen && [controls.preset, controls.model].includes(control)) spec = fromPreset(chosen, controls.model.value);
    else if (control !== controls.preset) {
      controls.preset.value = "";
      spec = collect(controls, spec, kinds, control);
    }
    show();
  }

  for (const control of Object.values(controls)) {
    const isChosen = control.tagName === "SELECT" || control.type === "checkbox";
    control.addEventListener(isChosen ? "change" : "input", () => (control === controls.json ? typed() : changed(control)));
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    start.disabled = true;
    refusal.replaceChildren();
    try {
      if (notJson) throw notJson;
      const job = await submit(spec, crypto.randomUUID?.() || String(Math.random()).slice(2));
      announce("Experiment started");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      refusal.replaceChildren(problemBox(error));
      mark(controls, error.errors || [{ pointer: "" }]);
      start.disabled = false;
    }
  });
  show();
}

/** Asks the service about a spec, a moment after the last change; the answer is shown in `verdict`. */
function checker(verdict, signal, onValid, onProblem) {
  let running = null;
  let timer = null;
  signal.addEventListener("abort", () => { clearTimeout(timer); running?.abort(); });
  return (spec) => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      running?.abort();
      running = new AbortController();
      verdict.setAttribute("aria-busy", "true");
      try {
        const report = await validate(spec, running.signal);
        verdict.replaceChildren(preview(report));
        onValid(report);
      } catch (error) {
        if (error.name === "AbortError") return;
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
