// A result's numbers as tables: what the figure shows, for those who read numbers or do not see it.
import { el, facts, number, table } from "./dom.js";
import { cellName } from "./words.js";

const STATISTICS = ["mean", "sd", "sem", "median", "min", "max", "n"];
const MOST_CELLS = 10;

export const blocksOf = (result) => result.blocks || [result];

const NAMES = { n_kv_heads: "key-value heads" };
export const titleOf = (block) => block.metric.title || block.metric.kind.replaceAll("_", " ");
const unitOf = (block) => `${titleOf(block)} (${block.metric.unit})`;

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Nested lists with their last axis averaged away. */
const averaged = (nested) => (Array.isArray(nested[0]) ? nested.map(averaged) : mean(nested));

/** The block without its example axis: what is said of a cell is its mean. */
function perCell(block) {
  if (block.axes.at(-1) !== "example" || block.axes.length === 1) return block;
  const { patched, orig, axes } = block;
  return { ...block, axes: axes.slice(0, -1), patched: averaged(patched), orig: Array.isArray(orig) ? averaged(orig) : orig };
}

function strongest(block) {
  const found = [];
  const part = (values, i) => (Array.isArray(values) ? values[i] : values);
  const walk = (patched, orig, reachable, sem, index) => {
    if (Array.isArray(patched)) {
      patched.forEach((item, i) => walk(item, part(orig, i), part(reachable, i), part(sem, i), [...index, i]));
    } else if (patched !== null && typeof orig === "number" && reachable !== false) {
      found.push({ index, effect: patched - orig, sem, patched, orig });
    }
  };
  walk(block.patched, block.orig, block.reachable, block.effect_sem, []);
  return found.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect)).slice(0, MOST_CELLS);
}

const TESTS = "largest gap to the model without the same part (0: complete), least that a part matters (0: not minimal), mean faithfulness of random circuits, agreement of resamples (1: the same edges)";

/** What the tests say of each circuit: a heading, and a number by the circuit's index. */
function circuitTests({ tests, stability }) {
  const of = (found, i) => found.circuits.find((one) => one.circuit === i);
  return [
    tests?.completeness && ["completeness", (i) => of(tests.completeness, i)?.largest ?? null],
    tests?.minimality && ["minimality", (i) => { const own = of(tests.minimality, i); return own ? Math.min(...own.strongest) : null; }],
    tests?.random && ["random", (i) => { const own = tests.random.find((one) => one.circuit === i); return own ? mean(own.faithfulness) : null; }],
    stability && ["Jaccard", (i) => stability.jaccard[i]],
  ].filter(Boolean);
}

/** Circuits with their sizes and what they do, then the strongest edges. */
function circuitTables(result) {
  const edges = result.edges ? result.edges.names.map((name, i) => [name, result.edges.scores[i], result.edges.scores_sem[i]]) : [];
  const strong = edges.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, MOST_CELLS);
  const tests = circuitTests(result);
  return [
    table(`Circuits on ${unitOf(result)}`, ["circuit", "edges", "nodes", "metric", "faithfulness"],
      result.circuits.map((one) => [one.name, number(one.n_edges), number(one.n_nodes), number(one.metric.mean), number(one.faithfulness)]), { class: "numbers" }),
    ...(tests.length ? [table(`Tests: ${TESTS}`, ["circuit", ...tests.map(([name]) => name)],
      result.circuits.map((one, i) => [one.name, ...tests.map(([, of]) => number(of(i)))]), { class: "numbers" })] : []),
    ...(strong.length ? [table(`Strongest edges, patched minus orig, ${result.metric.unit}`, ["edge", "score", "± sem"],
      strong.map(([name, score, sem]) => [name, number(score), number(sem, 2)]), { class: "numbers" })] : []),
  ];
}

export function summaryTables(result) {
  if (result.circuits) return circuitTables(result);
  return blocksOf(result).map(perCell).flatMap((block) => {
    const runs = ["orig", "patched", "new"].filter((run) => block.summary?.[run]);
    const tables = [];
    if (runs.length) {
      tables.push(table(`${unitOf(block)}, over the examples`, ["run", ...STATISTICS],
        runs.map((run) => [run, ...STATISTICS.map((name) => number(block.summary[run][name]))]), { class: "numbers" }));
    }
    const isSweep = block.axes.length && block.axes[0] !== "example";
    if (isSweep) {
      tables.push(table(`Strongest effects on ${unitOf(block)}`, ["cell", "effect", "± sem", "patched", "orig"],
        strongest(block).map((cell) => [cellName(block, cell.index), number(cell.effect), number(cell.sem, 2), number(cell.patched), number(cell.orig)]), { class: "numbers" }));
    }
    return tables;
  });
}

export function checks(result) {
  const { checks: found } = result;
  if (result.circuits) {
    return facts([
      ["all edges miss orig by", number(found.all_edges_max_abs)],
      ["no edge misses new by", found.no_edge_max_abs === null ? null : number(found.no_edge_max_abs)],
      ["one edge removed misses its path patch by", found.one_edge_max_abs === null ? null : number(found.one_edge_max_abs)],
      ["numbers not finite", found.nonfinite],
    ]);
  }
  return facts([
    ["orig patched with itself changes", `${number(found.identity_max_abs)} (must be 0)`],
    ["all writers patched reproduce new within", found.completeness_max_abs === null ? null : number(found.completeness_max_abs)],
    ["deviation from float32", found.dtype_max_abs === null ? null : number(found.dtype_max_abs)],
    ["numbers not finite", found.nonfinite],
    ["senders without a path", (result.unreachable_senders || []).length || null],
  ]);
}

export function provenance(result) {
  const { versions = {}, ...rest } = result.provenance;
  return facts([
    ...Object.entries(rest).filter(([, value]) => String(value ?? "") !== "").map(([name, value]) => [NAMES[name] ?? name.replaceAll("_", " "), el("code", {}, String(value))]),
    ...Object.entries(versions),
    ["waited", `${number(result.timings.queued_s)} s`], ["ran", `${number(result.timings.run_s)} s`],
  ]);
}
