// What would happen to a spec: prompts with their roles, cells, cost, warnings.
import { bytes, duration, el } from "./dom.js";

const COLOURS = 6;
const MOST_PROMPTS = 3;
const MOST_TOKENS = 6;

function prompt(name, tokens, roles, other) {
  return el("p", { class: "prompt" }, el("span", { class: "run" }, name), el("span", {}, tokens.map((token, position) => {
    const named = Object.entries(roles).filter(([, at]) => at === position).map(([role]) => role);
    const colour = named.length ? Object.keys(roles).indexOf(named[0]) % COLOURS : null;
    const classes = ["token", colour === null ? "" : `role role-${colour}`, other && other[position] !== token ? "differs" : ""];
    return el("span", { class: classes.join(" ").trim(), title: `position ${position}` },
      token.replaceAll("\n", "↵"), named.length ? el("sub", {}, named.join(" ")) : null);
  })));
}

export function preview(report) {
  const seconds = report.estimated_seconds;
  const shape = report.axes.map((axis, index) => [report.shape[index], axis]).filter(([size]) => size > 1).map(([size, axis]) => `${size} ${axis.replaceAll("_", " ")}s`).join(" × ");
  return el("div", {},
    ...report.warnings.map((warning) => el("p", { class: "notice" }, `Warning: ${warning}`)),
    el("dl", { class: "tiles" }, [
      ["Cells", report.cells], ["Result", shape || "one number"],
      ["Estimated time", seconds === null || seconds === undefined ? "not known" : duration(seconds)],
      ["Result size, about", bytes(report.estimated_result_bytes)],
    ].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    el("h3", {}, "First prompts"),
    el("p", { class: "hint" }, "Coloured tokens carry their role below; underlined tokens differ between orig and new."),
    report.examples.slice(0, MOST_PROMPTS).map((example) => el("div", { class: "example" },
      prompt("orig", example.orig, example.roles, example.new), prompt("new", example.new, example.roles, example.orig),
      el("p", { class: "hint" }, Object.entries(example.answers).map(([name, tokens]) => `${name} = ${tokenWords([tokens].flat())}`).join(", ")))));
}

/** A token, or a set of them; of a long set its beginning and its end. */
function tokenWords(tokens) {
  const named = tokens.map((token) => `“${token.replace(/^ /, "␣")}”`);
  if (named.length <= MOST_TOKENS) return named.join(" or ");
  return `${named.slice(0, 3).join(" or ")} or … or ${named.at(-1)} (${named.length} tokens)`;
}
