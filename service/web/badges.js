// A job's state and progress: a word and a shape beside every colour.
import { isDone } from "./api.js";
import { duration, el } from "./dom.js";

/** Drawn, not written: no font has all of them. */
const SHAPES = {
  queued: "M8 2.5a5.5 5.5 0 1 0 .01 0", running: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 2.5v11A5.5 5.5 0 0 0 8 2.5", cancelling: "M8 2.5a5.5 5.5 0 0 1 5.5 5.5M8 13.5A5.5 5.5 0 0 1 2.5 8",
  succeeded: "M3 8.5l3.5 3.5L13 4.5", failed: "M4 4l8 8M12 4l-8 8", cancelled: "M8 2.5a5.5 5.5 0 1 0 .01 0M4.2 11.8l7.6-7.6", expired: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.2l2.2 1.8",
};

function shapeOf(status) {
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[status] ?? SHAPES.queued);
  shape.setAttribute("viewBox", "0 0 16 16");
  shape.setAttribute("aria-hidden", "true");
  shape.append(path);
  return shape;
}

export function badge(job) {
  return el("span", { class: `badge ${job.status}` }, shapeOf(job.status), job.status);
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
  const counted = `${done} of ${total} ${unit}s`;
  if (isDone(job.status)) return el("span", {}, counted);
  const left = eta === null || eta === undefined ? "" : `, ${duration(eta)} left`;
  return el("span", { class: "progress" },
    el("progress", { max: String(total || 1), value: String(done), "aria-label": `Progress of ${job.id}` }),
    el("span", {}, `${counted}${left}`));
}

/** The job after one of its events. */
export function advanced(job, event) {
  if (event.type === "progress") return { ...job, progress: { ...job.progress, ...event.data } };
  if (event.type === "status") return { ...job, status: event.data.status, done: isDone(event.data.status) };
  return job;
}
