// The HTTP API: one place that knows the key, the errors, and how events are read.

const KEY = "pathpatch-key";
const BASE = new URL(".", document.baseURI);
const TERMINAL = ["succeeded", "failed", "cancelled", "expired"];

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export const isDone = (status) => TERMINAL.includes(status);
export const origin = () => BASE.href.replace(/\/$/, "");

/** What the service said when it refused; `errors` name the fields at fault. */
export class Refused extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail || problem.title || `HTTP ${problem.status}`);
    this.problem = problem;
    this.errors = problem.errors || [];
    this.retryAfter = retryAfter;
  }
}

/** A request; the answer, if it is a success. */
export async function ask(path, { method = "GET", headers = {}, body, signal } = {}) {
  const secret = key.get();
  const sent = { Accept: "application/json", ...headers };
  if (secret) sent.Authorization = `Bearer ${secret}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(new URL(path.replace(/^\//, ""), BASE), { method, headers: sent, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ title: "No answer", detail: "The service does not answer. Is it still running?", status: 0, code: "unreachable" });
  }
  if (secret && answer.status !== 401) document.dispatchEvent(new CustomEvent("key-accepted"));
  if (answer.ok || answer.status === 304) return answer;
  const said = await answer.json().catch(() => ({ title: answer.statusText, status: answer.status, code: `http_${answer.status}` }));
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("key-needed", { detail: said.detail }));
  throw new Refused(said, Number(answer.headers.get("Retry-After")) || null);
}

export const getJson = async (path, options) => (await ask(path, options)).json();
export const postJson = (path, data, headers = {}, signal) =>
  getJson(path, { method: "POST", body: data === undefined ? undefined : JSON.stringify(data), headers, signal });

export const submit = (spec, idempotencyKey) => postJson("v1/jobs", spec, { "Idempotency-Key": idempotencyKey });
export const validate = (spec, signal) => postJson("v1/jobs:validate", spec, {}, signal);
export const getJob = (id) => getJson(`v1/jobs/${encodeURIComponent(id)}`);
export const cancel = (id) => postJson(`v1/jobs/${encodeURIComponent(id)}/cancel`);
export const erase = (id) => ask(`v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
/** The job's experiment again, with a JSON merge patch of its spec. */
export const rerun = (id, changes, idempotencyKey) => postJson(`v1/jobs/${encodeURIComponent(id)}/rerun`, changes, { "Idempotency-Key": idempotencyKey });
export const getResult = (id) => getJson(`v1/jobs/${encodeURIComponent(id)}/result`);

/** Every event of a job as it happens, to its end; a broken stream is resumed where it broke. */
export async function follow(id, onEvent, signal) {
  let last = null;
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10000)) {
    try {
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const answer = await ask(`v1/jobs/${encodeURIComponent(id)}/events`, { headers, signal });
      if (answer.status === 204) return; // nothing follows
      for await (const event of eventsOf(answer.body)) {
        last = event.id;
        pause = 500;
        onEvent(event);
        if (event.type === "status" && isDone(event.data.status)) return;
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && error.problem.status >= 400 && error.problem.status < 500)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Server-sent events from the bytes of an answer. */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

/** Save an answer as a file; a plain link could not carry the key. */
export async function download(path, accept, filename) {
  const blob = await (await ask(path, { headers: { Accept: accept } })).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = filename;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
