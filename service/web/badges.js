// A job's state and progress: a word and a shape beside every colour.
import { isDone } from "./api.js";
import { duration, el } from "./dom.js";

const SIGNS = { queued: "○", running: "◐", cancelling: "◌", succeeded: "✓", failed: "✕", cancelled: "⊘", expired: "⌛" };

export function badge(job) {
  return el("span", { class: `badge ${job.status}` }, el("span", { "aria-hidden": "true" }, `${SIGNS[job.status]} `), job.status);
}

/** How far a job is; of one that has ended, how long it took. */
export function progress(job) {
  const { done, total, unit, eta_s: eta } = job.progress;
  if (job.status === "queued") {
    return el("span", {}, job.queue.position ? `${job.queue.position} ahead in the queue` : "next in the queue");
  }
  if (job.cached) return el("span", {}, "from an earlier result");
  if (isDone(job.status) && job.started_at && job.finished_at) {
    return el("span", {}, `took ${duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}`);
  }
  const left = eta === null || eta === undefined || isDone(job.status) ? "" : `, ${duration(eta)} left`;
  return el("span", { class: "progress" },
    el("progress", { max: String(total || 1), value: String(done), "aria-label": `Progress of ${job.id}` }),
    el("span", {}, `${done} of ${total} ${unit}s${left}`));
}

/** The job after one of its events. */
export function advanced(job, event) {
  if (event.type === "progress") return { ...job, progress: { ...job.progress, ...event.data } };
  if (event.type === "status") return { ...job, status: event.data.status, done: isDone(event.data.status) };
  return job;
}
