// Two jobs side by side: figures, numbers, and where their specs differ.
import { getJob, getJson, getResult } from "./api.js";
import { badge } from "./badges.js";
import { choice, el, field, section, table } from "./dom.js";
import { shareScale, showFigure } from "./figure.js";
import { problemBox } from "./problem.js";
import { compact, differences, written } from "./spec.js";
import { summaryTables } from "./tables.js";
import { examplesOf, titleOf } from "./words.js";

const shown = (value) => (value === undefined ? "–" : el("code", {}, written(value, " ")));

export async function showCompare(main, { ids, signal }) {
  const page = await getJson("v1/jobs?limit=100&status=succeeded", { signal });
  const options = [["", "choose a job"], ...page.data.map((job) => [job.id, `…${job.id.slice(-6)}, ${job.model}: ${titleOf(job)}`])];
  for (const id of ids) if (id && !options.some(([value]) => value === id)) options.push([id, id]);
  const picks = [0, 1].map((side) => choice(options, ids[side] || "", { onchange: () => {
    location.hash = `#/compare/${picks.map((pick) => pick.value).join("/")}`;
  } }));
  const body = el("div", {});
  main.replaceChildren(el("h1", { tabindex: "-1" }, "Compare two jobs"),
    el("div", { class: "card rows" }, field("First job", picks[0]), field("Second job", picks[1])), body);
  const jobs = await Promise.all([0, 1].map((side) => (ids[side] ? getJob(ids[side]) : null)));
  const sides = jobs.map((job) => job && el("section", { class: "card", "aria-label": titleOf(job) }));
  if (jobs[0] && jobs[1]) {
    const found = differences(compact(jobs[0].spec), compact(jobs[1].spec));
    body.append(found.length
      ? section("Differences", table("Where the specs differ", ["field", "first", "second"],
        found.map(([pointer, first, second]) => [el("code", {}, pointer), shown(first), shown(second)]), { class: "differences" }))
      : el("p", { class: "notice" }, "Both jobs have the same spec."));
  }
  body.append(el("div", { class: "pair" }, sides));
  Promise.all(jobs.map((job, side) => job && showSide(sides[side], job))).then((figures) => {
    if (!signal.aborted && shareScale(figures)) body.append(el("p", { class: "hint" }, "Both heatmaps have the same colour scale."));
  });
}

async function showSide(place, job) {
  const figure = el("div", { class: "figure" });
  const numbers = el("div", {});
  place.replaceChildren(
    el("h2", {}, el("a", { href: `#/jobs/${job.id}` }, titleOf(job))),
    el("div", { class: "state" }, badge(job), el("span", {}, [job.model, examplesOf(job.spec)].filter(Boolean).join(", "))),
    figure, numbers);
  if (job.status !== "succeeded") return null;
  const [drawn] = await Promise.all([showFigure(figure, job.id),
    getResult(job.id).then((result) => numbers.replaceChildren(...summaryTables(result))).catch((error) => numbers.replaceChildren(problemBox(error)))]);
  return drawn;
}
