// One job: progress as it happens, figure, numbers, checks, provenance, spec, events, downloads.
import { cancel, download, erase, follow, getJob, getResult, isDone, rerun, validate } from "./api.js";
import { advanced, badge, progress } from "./badges.js";
import { curlOf, pythonOf } from "./code.js";
import { ago, announce, choice, code, el, facts, field, section } from "./dom.js";
import { showFigure } from "./figure.js";
import { problemBox } from "./problem.js";
import { compact, differences, withoutImplied, written } from "./spec.js";
import { blocksOf, checks, provenance, summaryTables, titleOf } from "./tables.js";
import { examplesOf, metricsWords, patchWords, tagLinks } from "./words.js";

const DOWNLOADS = [
  ["result", "application/json", "json", "Result, JSON"], ["result", "application/x-npz", "npz", "Result, npz"],
  ["result", "text/csv", "csv", "Result, CSV"], ["figure", "text/html", "html", "Figure, HTML"],
  ["figure", "image/svg+xml", "svg", "Figure, SVG"], ["figure", "image/png", "png", "Figure, PNG"], ["figure", "application/pdf", "pdf", "Figure, PDF"],
];

export async function showJob(main, { id, signal }) {
  let job = await getJob(id);
  if (signal.aborted) return; // another view is shown by now
  const state = el("div", { class: "state" });
  const actions = el("div", { class: "row" });
  const outcome = el("div", {});
  const trust = el("div", {});
  const events = el("ol", { class: "events" });
  const short = compact(job.spec);
  main.replaceChildren(
    el("div", { class: "head" },
      el("div", {}, el("h1", { tabindex: "-1" }, heading(job.spec)), state),
      actions),
    el("div", { class: "layout" },
      el("div", {}, outcome, section("Spec",
        code("The spec, in short", written(short)),
        el("details", {}, el("summary", {}, "The same in Python"), code("Python", pythonOf(short))),
        el("details", {}, el("summary", {}, "The same as curl"), code("curl", curlOf(short))),
        el("details", {}, el("summary", {}, "Events"), events))),
      el("aside", { "aria-label": "About this job" }, section("Job", facts([
        ["id", el("code", {}, job.id)], ["model", job.model], ["prompts", [job.spec.dataset.kind, examplesOf(job.spec)].filter(Boolean).join(", ")],
        ["asks", job.spec.name ? `${patchWords(job.spec.patch)}: ${metricsWords(job.spec)}` : null],
        ["tags", Object.keys(job.tags).length ? el("span", { class: "tags" }, tagLinks(job.tags)) : null],
        ["created", new Date(job.created_at).toLocaleString()], ["attempts", job.attempt > 1 ? job.attempt : null],
      ])), trust)));

  function draw() {
    state.replaceChildren(badge(job), progress(job), isDone(job.status) && job.finished_at ? el("span", {}, `ended ${ago(job.finished_at)}`) : "");
    const button = (name, action, attributes = {}) => el("button", { type: "button", onclick: action, ...attributes }, name);
    actions.replaceChildren(
      isDone(job.status) ? "" : button("Cancel", stop, { class: "danger", disabled: job.status === "cancelling" }),
      ...rerunButton(),
      button("Run again with changes", again),
      button("Compare", () => { location.hash = `#/compare/${job.id}`; }),
      isDone(job.status) ? button("Erase", remove, { class: "danger" }) : "");
    if (!isDone(job.status) && !outcome.children.length) outcome.append(el("p", { class: "notice" }, "The figure appears here when the job has ended."));
  }

  /** The same with other prompts where they are drawn; what has no result, as it was. */
  function rerunButton() {
    const { seed } = job.spec.dataset;
    if (isDone(job.status) && job.status !== "succeeded") return [startAgain("Run again", {})];
    if (seed === undefined) return [];
    return [startAgain("Run with the next seed", { dataset: { seed: seed + 1 } }, `The same experiment on other prompts: seed ${seed + 1} in place of ${seed}.`)];
  }

  function startAgain(name, changes, title) {
    const start = el("button", { type: "button", title, onclick: async () => {
      start.disabled = true;
      try {
        const started = await rerun(id, changes, crypto.randomUUID?.() || String(Math.random()).slice(2));
        announce("Experiment started");
        location.hash = `#/jobs/${started.id}`;
      } catch (error) { start.disabled = false; outcome.prepend(problemBox(error)); }
    } }, name);
    return start;
  }

  async function again() {
    sessionStorage.setItem("pathpatch-draft", JSON.stringify(await asAsked(job.spec, short)));
    location.hash = "#/new?draft";
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
    try {
      await erase(id);
      location.hash = "#/jobs";
    } catch (error) { outcome.prepend(problemBox(error)); }
  }

  async function end() {
    job = await getJob(id);
    draw();
    announce(`Job ${job.status}`);
    if (job.status === "succeeded") await showOutcome(outcome, trust, job);
    else outcome.replaceChildren(...withoutResult(job));
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

/** The spec without what its model implies, if the service then fills in the same: another model may imply other things. */
async function asAsked(spec, short) {
  const shorter = withoutImplied(short);
  const filledIn = await validate(shorter).then((report) => report.spec, () => null);
  return filledIn && differences(filledIn, spec).length === 0 ? shorter : short;
}

const heading = (spec) => (spec.name ? spec.name : [patchWords(spec.patch), el("span", { class: "of" }, `: ${metricsWords(spec)}`)]);

/** What a job without a result says, and what to do next. */
function withoutResult(job) {
  if (job.status === "failed") {
    const error = job.error ?? { title: "The job failed", detail: "No reason was recorded." };
    const next = error.retryable
      ? "The cause may pass: run it again. If it fails again, show the id of this job to whoever runs the service."
      : "Run it again with changes: fewer examples or cells if it was too large, float32 if its checks failed. If the reason above does not explain it, show the id of this job to whoever runs the service: their log has the details.";
    return [problemBox({ problem: error }), el("p", { class: "notice" }, next)];
  }
  const next = {
    expired: `It had not ended within ${job.spec.expires_after_s ?? "its"} s of its submission. Run it again with a longer expires_after_s, or without one.`,
    cancelled: "It was cancelled before it ended. Run it again to have its result.",
  }[job.status];
  return [el("p", { class: "notice" }, `This job is ${job.status}: it has no result. ${next}`)];
}

/** Everything that a job which succeeded has to show: what came out, and beside it why to trust it. */
async function showOutcome(place, trust, job) {
  const figure = el("div", { class: "figure" });
  const numbers = el("div", {});
  const kind = choice([["", "Automatic"]], "");
  const block = choice([["0", "first metric"]], "0");
  const draw = async () => {
    const drawn = await showFigure(figure, job.id, { kind: kind.value, block: block.value });
    if (drawn) offer(kind, drawn.kinds);
  };
  kind.addEventListener("change", draw);
  block.addEventListener("change", () => { kind.value = ""; draw(); });
  const blockField = field("Metric", block);
  blockField.hidden = true;
  place.replaceChildren(
    section("Figure", el("div", { class: "row" }, field("Kind of figure", kind), blockField), figure), numbers);
  await Promise.all([draw(), getResult(job.id).then((result) => {
    const blocks = blocksOf(result);
    block.replaceChildren(...blocks.map((one, index) => el("option", { value: String(index) }, titleOf(one))));
    blockField.hidden = blocks.length === 1;
    numbers.replaceChildren(
      ...(result.warnings || []).map((warning) => el("p", { class: "notice" }, `Warning: ${warning}`)),
      section("Summary", summaryTables(result)));
    trust.replaceChildren(section("Downloads", el("div", { class: "row" }, downloads(job.id, kind, block))),
      section("Checks", checks(result)), section("Provenance", provenance(result)));
  }).catch((error) => numbers.replaceChildren(problemBox(error)))]);
}

/** Only the kinds that this result can fill. */
function offer(select, kinds) {
  const chosen = select.value;
  select.replaceChildren(el("option", { value: "" }, "Automatic"), ...kinds.map((kind) => el("option", { value: kind }, kind)));
  select.value = kinds.includes(chosen) ? chosen : "";
}

function downloads(id, kind, block) {
  return DOWNLOADS.map(([part, accept, ending, label]) => {
    const save = el("button", { type: "button", class: "small", onclick: async () => {
      const query = part === "figure" ? `?${new URLSearchParams({ block: block.value, ...(kind.value ? { kind: kind.value } : {}) })}` : "";
      try { await download(`v1/jobs/${id}/${part}${query}`, accept, `${id}.${ending}`); }
      catch (error) { save.closest("section").append(problemBox(error)); }
    } }, label);
    return save;
  });
}
