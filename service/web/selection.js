// Several jobs of the list at once: cancel, erase, compare, download.
import { cancel, download, erase, isDone } from "./api.js";
import { announce, el } from "./dom.js";
import { problemBox } from "./problem.js";

/** @param jobs id -> job; `gone` is told of each job that was erased, `changed` of anything else that was done. */
export function makeSelection(rows, jobs, { changed, gone, signal }) {
  const counted = el("strong", { role: "status" });
  const problems = el("div", {});
  const button = (name, action, attributes = {}) => el("button", { type: "button", onclick: action, ...attributes }, name);
  const chosen = () => [...rows.querySelectorAll("input:checked")].map((box) => jobs.get(box.value)).filter(Boolean);
  const open = () => chosen().filter((job) => !isDone(job.status));
  const ended = () => chosen().filter((job) => isDone(job.status));
  const withResult = () => chosen().filter((job) => job.status === "succeeded");
  let isBusy = false;

  /** Does one thing to each, one after another; what fails is told at the end, and the rest is done. */
  async function toEach(found, action, done) {
    isBusy = true;
    problems.replaceChildren();
    draw();
    const failures = [];
    for (const job of found) {
      try { await action(job); } catch (error) { failures.push([job, error]); }
    }
    isBusy = false;
    if (signal.aborted) return;
    problems.replaceChildren(...failures.map(([job, error]) => el("div", {}, el("code", {}, job.id), problemBox(error))));
    announce(`${found.length - failures.length} ${done}`);
    changed();
    draw();
  }

  const actions = {
    cancel: button("Cancel", () => toEach(open(), (job) => cancel(job.id), "cancelled"), { class: "danger" }),
    erase: button("Erase", () => {
      const found = ended();
      if (confirm(`Erase ${found.length === 1 ? "this job" : `these ${found.length} jobs`} with events and results?`)) {
        toEach(found, async (job) => { await erase(job.id); gone(job.id); }, "erased");
      }
    }, { class: "danger" }),
    download: button("Download results", () => toEach(withResult(), (job) => download(`v1/jobs/${job.id}/result`, "application/x-npz", `${job.id}.npz`), "downloaded")),
    compare: button("Compare selected", () => { location.hash = `#/compare/${chosen().map((job) => job.id).join("/")}`; }, { title: "Select two jobs" }),
  };
  const bar = el("div", { class: "selection", role: "group", "aria-label": "Selected jobs", hidden: true }, counted, Object.values(actions), problems);
  const all = el("input", { type: "checkbox", "aria-label": "Select all jobs in the list" });

  function draw() {
    const count = chosen().length;
    bar.hidden = count === 0 && !problems.children.length;
    counted.textContent = `${count} selected`;
    actions.cancel.disabled = isBusy || !open().length;
    actions.erase.disabled = isBusy || !ended().length;
    actions.download.disabled = isBusy || !withResult().length;
    actions.compare.disabled = count !== 2;
    all.checked = count > 0 && count === jobs.size;
    all.indeterminate = count > 0 && count < jobs.size;
  }

  rows.addEventListener("change", draw);
  all.addEventListener("change", () => {
    for (const box of rows.querySelectorAll("input")) box.checked = all.checked;
    draw();
  });
  return { bar, all, draw };
}
