// The list of jobs: filters, live progress, and what can be done to several at once.
import { follow, getJson, isDone } from "./api.js";
import { advanced, badge, progress } from "./badges.js";
import { ago, announce, choice, el, field, setFault } from "./dom.js";
import { problemBox } from "./problem.js";
import { makeSelection } from "./selection.js";
import { examplesOf, tagLinks, titleOf } from "./words.js";

const STATES = ["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"];
const PAGE = 20;
const MOST_STREAMS = 3; // a browser keeps few connections to one host
const POLL_MS = 4000;
const WAITING = ["queued", "running"];

export async function showJobs(main, { signal, query }) {
  const rows = el("tbody", {});
  const more = el("button", { type: "button", hidden: true }, "Older jobs");
  const empty = el("div", { hidden: true });
  const problem = el("div", {});
  const idle = el("p", { class: "notice", hidden: true }, "No worker is running: jobs wait until one is there.");
  const jobs = new Map();
  const selection = makeSelection(rows, jobs, { signal, changed: () => refresh(), gone: (id) => { jobs.delete(id); document.getElementById(`row-${id}`)?.remove(); } });
  const head = [selection.all, "Experiment", "State", "Progress", "Created"];
  const list = el("div", { class: "card" }, el("table", { class: "jobs" },
    el("caption", { class: "unseen" }, "Jobs, newest first"),
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))), rows));
  const filters = filterForm(query);
  main.replaceChildren(
    el("div", { class: "head" }, el("h1", { tabindex: "-1" }, "Jobs"), filters.form),
    idle, problem, empty, list, el("p", { class: "row" }, more), selection.bar);

  const streams = new Set();

  function draw(job) {
    const old = document.getElementById(`row-${job.id}`);
    const row = rowOf(job, old?.querySelector("input")?.checked);
    const hadFocus = old?.contains(document.activeElement) ? document.activeElement.tagName : null;
    old ? old.replaceWith(row) : rows.append(row);
    if (hadFocus) row.querySelector(hadFocus.toLowerCase())?.focus();
    return row;
  }

  function watch(job) {
    if (isDone(job.status) || streams.has(job.id) || streams.size >= MOST_STREAMS) return;
    streams.add(job.id);
    follow(job.id, (event) => {
      if (!jobs.has(job.id)) return;
      const now = advanced(jobs.get(job.id), event);
      jobs.set(job.id, now);
      draw(now);
      selection.draw();
      if (now.done) announce(`Job ${job.id} ${now.status}`);
    }, signal).finally(() => { streams.delete(job.id); if (!signal.aborted) refresh(); });
  }

  const wanted = (after) => {
    const asked = new URLSearchParams({ limit: String(PAGE) });
    for (const name of ["name", "status", "model", "tag"]) if (query.get(name)) asked.set(name, query.get(name));
    if (after) asked.set("after", after);
    return `v1/jobs?${asked}`;
  };

  async function load(after = null) {
    const page = await getJson(wanted(after), { signal });
    const isFirst = after === null;
    for (const job of page.data) {
      const isNew = !jobs.has(job.id);
      jobs.set(job.id, job);
      const row = draw(job);
      if (isFirst && isNew) rows.prepend(row);
      watch(job);
    }
    if (isFirst) {
      const inOrder = page.data.map((job) => document.getElementById(`row-${job.id}`));
      if (inOrder.some((row, place) => rows.children[place] !== row)) rows.prepend(...inOrder);
    }
    empty.hidden = jobs.size > 0;
    list.hidden = !empty.hidden;
    selection.draw();
    if (!empty.hidden && !empty.children.length) empty.append(...(query.size ? nothingFits() : await firstSteps()));
    if (!isFirst || jobs.size <= PAGE) more.hidden = !page.has_more;
    if (page.data.some((job) => WAITING.includes(job.status))) idle.hidden = (await getJson("v1/workers", { signal })).data.length > 0;
    else idle.hidden = true;
  }

  async function refresh() {
    if (!document.hidden) await load().catch(() => {});
  }

  more.addEventListener("click", () => load(rows.lastElementChild.id.slice("row-".length)));
  try { await load(); } catch (error) {
    if (!error.errors?.length) throw error;
    list.hidden = true;
    problem.replaceChildren(problemBox(error));
    filters.mark(error.errors);
    return;
  }
  const timer = setInterval(refresh, POLL_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  getJson("v1/models", { signal }).then((models) => {
    document.getElementById("models")?.append(...models.data.map((one) => el("option", { value: one.name })));
  }).catch(() => {});
}

function filterForm(query) {
  const input = (name, attributes) => el("input", { value: query.get(name) || "", spellcheck: "false", ...attributes });
  const controls = {
    name: input("name", { placeholder: "part of it" }), status: choice([["", "any state"], ...STATES], query.get("status") || ""), model: input("model", { placeholder: "any model", list: "models" }),
    tag: input("tag", { placeholder: "name:value" }),
  };
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filter jobs" },
    field("Name", controls.name), field("State", controls.status), field("Model", controls.model), field("Tag", controls.tag), el("datalist", { id: "models" }),
    el("button", { type: "submit" }, "Filter"));
  controls.status.addEventListener("change", () => form.requestSubmit());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = Object.entries(controls).map(([name, control]) => [name, control.value.trim()]);
    const asked = new URLSearchParams(said.filter(([, value]) => value));
    location.hash = `#/jobs${asked.size ? `?${asked}` : ""}`;
  });
  return { form, mark: (errors) => errors.forEach(({ pointer, message }) => controls[pointer.replace("/query/", "")] && setFault(controls[pointer.replace("/query/", "")], message)) };
}

function rowOf(job, isChosen) {
  return el("tr", { id: `row-${job.id}` },
    el("td", {}, el("input", { type: "checkbox", value: job.id, checked: isChosen, "aria-label": `Select ${job.id}` })),
    el("th", { scope: "row" }, el("a", { href: `#/jobs/${job.id}` }, titleOf(job)),
      el("small", {}, [job.model, examplesOf(job.spec), job.id].filter(Boolean).join(" · "), tagLinks(job.tags))),
    el("td", {}, badge(job)),
    el("td", {}, job.status === "failed" ? el("span", { class: "why" }, job.error?.detail || "failed") : progress(job)),
    el("td", {}, el("time", { datetime: job.created_at, title: job.created_at }, ago(job.created_at))));
}

const nothingFits = () => [el("p", { class: "notice" }, "No job fits these filters. ", el("a", { href: "#/jobs" }, "Show all"))];

async function firstSteps() {
  const presets = await getJson("web/presets.json");
  return [
    el("p", {}, "No jobs yet. Start from one of these, or from a notebook: every job of yours appears here, while it runs."),
    el("ul", { class: "starts" }, presets.map(({ name, title }) => el("li", {},
      el("a", { href: `#/new?preset=${name}` }, el("strong", {}, name), el("br"), el("small", {}, title))))),
  ];
}
