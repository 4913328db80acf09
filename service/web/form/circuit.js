// How circuits are asked for: how edges are scored, and which circuits are chosen by the scores.
import { choice, el, field } from "../dom.js";
import { Unreadable, readCircuits, readSizes, writtenCircuits, writtenSizes } from "./lists.js";

const SCORES = [["exact", "exact: each edge alone"], ["attribution", "EAP: one gradient"], ["integrated", "EAP-IG: gradients between the runs"]];
const CHOICES = [["top", "largest scores"], ["greedy", "greedily, back from the logits"], ["iterated", "in rounds, the least dropped"], ["acdc", "ACDC: by a threshold"], ["own", "edges of your own"]];
const OWN = "mine";

/** Whether these fields can say the patch: graphs are written as JSON. */
export const isSaid = (patch) => patch?.kind === "circuit" && (!patch.edges || writtenCircuits(patch.edges, OWN) !== undefined);

export function makeCircuit() {
  const controls = {
    score: choice(SCORES, "exact"), by: choice(CHOICES, "top"),
    sizes: el("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder: "0.001 to 1" }),
    edges: el("textarea", { rows: "6", spellcheck: "false", autocapitalize: "off", placeholder: "movers:\na9.h9->logits\ninput->a9.h9<v>" }),
    threshold: el("input", { type: "number", min: "0", step: "any", inputmode: "decimal", placeholder: "0.01" }),
  };
  const fields = {
    by: field("Circuits chosen", controls.by, null, { class: "field wide" }),
    score: field("Edges scored", controls.score, null, { class: "field wide" }),
    sizes: field("Sizes", controls.sizes, "edges such as 30, 100, 300, or fractions such as 0.01, 0.1; empty: MIB's grid", { class: "field wide" }),
    edges: field("Edges", controls.edges, "one on each line, such as a5.h1->a9.h9<q>; a name with a colon, such as movers:, begins another circuit", { class: "field wide" }),
    threshold: field("Threshold", controls.threshold, "the change of the metric that keeps an edge"),
  };

  function arrange(isUsed) {
    const isAcdc = controls.by.value === "acdc", isOwn = controls.by.value === "own";
    const isScored = isUsed && !isAcdc && !isOwn;
    const hidden = { by: !isUsed, score: !isScored, sizes: !isScored, edges: !isUsed || !isOwn, threshold: !isUsed || !isAcdc };
    for (const [part, control] of Object.entries(controls)) fields[part].hidden = control.disabled = hidden[part];
  }

  function fill({ score, choose, edges }) {
    controls.edges.value = edges ? writtenCircuits(edges, OWN) : "";
    controls.score.value = score?.method ?? "exact";
    controls.by.value = edges ? "own" : choose?.by ?? "top";
    controls.sizes.value = writtenSizes(choose);
    controls.threshold.value = choose?.threshold ?? "";
  }

  /** What the fields say goes into the patch; what they do not show stays, if it still fits. */
  function write(patch) {
    const by = controls.by.value;
    if (by === "own") {
      for (const other of ["score", "choose", "resamples", "verify"]) delete patch[other];
      return attempt(controls.edges, () => { patch.edges = readCircuits(controls.edges.value, OWN); });
    }
    delete patch.edges;
    const { edges, fractions, threshold, rounds, ...others } = patch.choose ?? {};
    const isAcdc = by === "acdc";
    if (isAcdc) delete patch.score;
    else if ((patch.score?.method ?? "exact") !== controls.score.value) patch.score = { method: controls.score.value };
    if (isAcdc || controls.score.value === "exact") delete patch.verify;
    if (isAcdc || by === "iterated") delete patch.resamples;
    const kept = { ...others, by, ...(by === "iterated" && rounds ? { rounds } : {}) };
    return attempt(controls.sizes, () => { patch.choose = { ...kept, ...(isAcdc ? readThreshold() : readSizes(controls.sizes.value)) }; });
  }

  /** The fault of a control that cannot be read, if it cannot. */
  function attempt(control, read) {
    try { read(); } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      return [[control, error.message]];
    }
    return [];
  }

  const readThreshold = () => (controls.threshold.value === "" ? {} : { threshold: Number(controls.threshold.value) });

  return {
    controls, arrange, fill, write, elements: Object.values(fields),
    places: () => ({
      "/patch/choose/by": controls.by, "/patch/choose/threshold": controls.threshold, "/patch/choose": controls.sizes, "/patch/edges": controls.edges, "/patch/score": controls.score,
    }),
  };
}
