// Two jobs side by side: figures, numbers, and where their specs differ.
import { getJob, getJson, getResult } from "./api.js";
import { badge } from "./badges.js";
import { choice, el, field, table } from "./dom.js";
import { showFigure } from "./figure.js";
import { problemBox } from "./problem.js";
import { compact, differences } from "./spec.js";
import { summaryTables } from "./tables.js";
import { specWords } from "./words.js";

const shown = (value) => (value === undefined ? "default" : JSON.stringify(value));

export async function showCompare(main, { ids, signal }) {
  const page = await getJson("v1/jobs?limit=100&status=succeeded", { signal });
  const options = [["", "choose a job"], ...page.data.map((job) => [job.id, `${specWords(job.spec)} (${job.model}, …${job.id.slice(-6)})`])];
  for (const id of ids) if (id && !options.some(([value]) => value === id)) options.push([id, id]);
  const picks = [0, 1].map((side) => choice(options, ids[side] || "", { onchange: () => {
    location.hash = `#/compare/${picks.map((pick) => pick.value).join("/")}`;
  } }));
  const body = el("div", {});
  main.replaceChildren(el("h1", { tabindex: "-1" }, "Compare two jobs"),
    el("div", { class: "pair" }, field("First job", picks[0]), field("Second job", picks[1])), body);
  const jobs = await Promise.all([0, 1].map((side) => (ids[side] ? getJob(ids[side]) : null)));
  const sides = jobs.map((job) => el("section", { "aria-label": job ? specWords(job.spec) : "No job chosen" }));
  if (jobs[0] && jobs[1]) {
    const found = differences(compact(jobs[0].spec), compact(jobs[1].spec));
    body.append(found.length
      ? table("Where the specs differ", ["field", "first", "second"], found.map(([pointer, first, second]) => [el("code", {}, pointer), shown(first), shown(second)]))
      : el("p", { class: "notice" }, "Both jobs have the same spec."));
  }
  body.append(el("div", { class: "pair" }, sides));
  jobs.forEach((job, side) => job && showSide(sides[side], job));
}

async function showSide(place, job) {
  const figure = el("div", { class: "figure" });
  const numbers = el("div", {});
  place.replaceChildren(el("h2", {}, el("a", { href: `#/jobs/${job.id}` }, specWords(job.spec))), el("p", {}, badge(job)), figure, numbers);
  if (job.status !== "succeeded") return;
  await Promise.all([showFigure(figure, job.id),
    getResult(job.id).then((result) => numbers.replaceChildren(...summaryTables(result))).catch((error) => numbers.replaceChildren(problemBox(error)))]);
}
