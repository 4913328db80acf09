// One job: progress as it happens, figure, numbers, checks, provenance, spec, events, downloads.
import { cancel, download, erase, follow, getJob, getResult, isDone } from "./api.js";
import { advanced, badge, progress } from "./badges.js";
import { curlOf, pythonOf } from "./code.js";
import { announce, choice, code, el, facts, field } from "./dom.js";
import { showFigure } from "./figure.js";
import { problemBox } from "./problem.js";
import { compact } from "./spec.js";
import { blocksOf, checks, provenance, summaryTables } from "./tables.js";
import { patchWords, specWords } from "./words.js";

const KINDS = [["", "fitting figure"], "histogram", "scatter", "heatmap", "bars", "graph"];
const DOWNLOADS = [
  ["result", "application/json", "json", "Result, JSON"], ["result", "application/x-npz", "npz", "Result, npz"],
  ["result", "text/csv", "csv", "Result, CSV"], ["figure", "text/html", "html", "Figure, HTML"],
  ["figure", "image/svg+xml", "svg", "Figure, SVG"],
];

const section = (title, ...content) => el("section", { "aria-label": title }, el("h2", {}, title), content);

export async function showJob(main, { id, signal }) {
  let job = await getJob(id);
  const state = el("div", { class: "state" });
  const actions = el("p", { class: "row" });
  const outcome = el("div", {});
  const events = el("ol", { class: "events" });
  const short = compact(job.spec);
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, specWords(job.spec)), state, actions, outcome,
    section("Spec", facts([
      ["job", el("code", {}, job.id)], ["model", job.model], ["patch", patchWords(job.spec.patch)],
      ["dataset", `${job.spec.dataset.kind}${job.spec.dataset.examples ? `, ${job.spec.dataset.examples} examples` : ""}`],
      ["tags", Object.entries(job.tags).map(([name, value]) => `${name}:${value}`).join(", ")],
      ["created", job.created_at], ["attempts", job.attempt || null],
    ]), code("Spec, without defaults", JSON.stringify(short, null, 2)),
    el("details", {}, el("summary", {}, "The same as curl"), code("curl", curlOf(short))),
    el("details", {}, el("summary", {}, "The same in Python"), code("Python", pythonOf(short)))),
    el("details", {}, el("summary", {}, "Events"), events));

  function draw() {
    state.replaceChildren(badge(job), progress(job));
    const button = (name, action, attributes = {}) => el("button", { type: "button", onclick: action, ...attributes }, name);
    actions.replaceChildren(
      isDone(job.status) ? "" : button("Cancel", stop, { class: "danger", disabled: job.status === "cancelling" }),
      button("Run again with changes", () => { sessionStorage.setItem("pathpatch-draft", JSON.stringify(short)); location.hash = "#/new?draft"; }),
      button("Compare", () => { location.hash = `#/compare/${job.id}`; }),
      isDone(job.status) ? button("Erase", remove, { class: "danger" }) : "");
  }

  async function stop() {
    try {
      job = await cancel(id);
      draw();
      if (job.done && !hasEnded) { hasEnded = true; await finish(); }
    } catch (error) { outcome.replaceChildren(problemBox(error)); }
  }

  async function remove() {
    if (!confirm(`Erase ${id} with its events and result?`)) return;
    await erase(id);
    location.hash = "#/jobs";
  }

  async function end() {
    job = await getJob(id);
    draw();
    announce(`Job ${job.status}`);
    if (job.status === "failed") outcome.replaceChildren(problemBox({ problem: job.error }));
    else if (job.status === "succeeded") await showOutcome(outcome, job);
    else outcome.replaceChildren(el("p", { class: "notice" }, `This job is ${job.status}: it has no result.`));
  }

  draw();
  let hasEnded = isDone(job.status);
  const finish = () => end().catch((error) => { if (!signal.aborted) outcome.replaceChildren(problemBox(error)); });
  if (hasEnded) finish();
  follow(id, (event) => {
    events.append(el("li", {}, el("time", { datetime: event.created_at }, new Date(event.created_at).toLocaleTimeString()),
      ` ${event.type} `, el("code", {}, JSON.stringify(event.data))));
    if (hasEnded) return;
    job = advanced(job, event);
    draw();
    if (job.done) { hasEnded = true; finish(); }
  }, signal);
}

/** Everything that a job which succeeded has to show. */
async function showOutcome(place, job) {
  const figure = el("div", { class: "figure" }, el("p", {}, "Drawing the figure…"));
  const numbers = el("div", {}, el("p", {}, "Reading the numbers…"));
  const kind = choice(KINDS, "");
  const block = choice([["0", "first metric"]], "0");
  const draw = () => showFigure(figure, job.id, { kind: kind.value, block: block.value });
  kind.addEventListener("change", draw);
  block.addEventListener("change", draw);
  const blockField = field("Metric", block);
  blockField.hidden = true;
  const saves = DOWNLOADS.map(([part, accept, ending, label]) => el("button", { type: "button", onclick: () => {
    const query = part === "figure" ? `?${new URLSearchParams({ block: block.value, ...(kind.value ? { kind: kind.value } : {}) })}` : "";
    return download(`v1/jobs/${job.id}/${part}${query}`, accept, `${job.id}.${ending}`);
  } }, label));
  place.replaceChildren(
    section("Figure", el("div", { class: "row" }, field("Kind of figure", kind), blockField), figure),
    section("Downloads", el("p", { class: "row" }, saves)), numbers);
  await Promise.all([draw(), getResult(job.id).then((result) => {
    const blocks = blocksOf(result);
    block.replaceChildren(...blocks.map((one, index) => el("option", { value: String(index) }, one.metric.kind)));
    blockField.hidden = blocks.length === 1;
    numbers.replaceChildren(
      ...(result.warnings || []).map((warning) => el("p", { class: "notice" }, `Warning: ${warning}`)),
      section("Summary", summaryTables(result)), section("Checks", checks(result)), section("Provenance", provenance(result)));
  }).catch((error) => numbers.replaceChildren(problemBox(error)))]);
}
