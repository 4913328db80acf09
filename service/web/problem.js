// What went wrong, in the service's own words.
import { el } from "./dom.js";

export function problemBox(error) {
  const problem = error.problem || { title: "Something went wrong", detail: String(error.message || error) };
  const fields = problem.errors || [];
  return el("div", { class: "problem", role: "alert" },
    el("strong", {}, problem.title || "Refused"),
    fields.length
      ? el("ul", {}, fields.map((one) => el("li", {}, el("code", {}, one.pointer), ` ${one.message}`)))
      : el("p", {}, problem.detail || ""),
    error.retryAfter ? el("p", {}, `Try again in ${error.retryAfter} s.`) : null,
    problem.request_id ? el("small", {}, `Request ${problem.request_id}`) : null);
}
