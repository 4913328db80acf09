// How circuits are asked for: how edges are scored, and which circuits are chosen by the scores.
import { choice, el, field } from "../dom.js";
import { Unreadable, readSizes, writtenSizes } from "./lists.js";

const SCORES = [["exact", "exact: each edge alone"], ["attribution", "EAP: one gradient"], ["integrated", "EAP-IG: gradients between the runs"]];
const CHOICES = [["top", "largest scores"], ["greedy", "greedily, back from the logits"], ["iterated", "in rounds, the least dropped"], ["acdc", "ACDC: by a threshold"]];

/** Whether these fields can say the patch: circuits of one's own are written as JSON. */
export const isFound = (patch) => patch?.kind === "circuit" && !patch.edges;

export function makeCircuit() {
  const controls = {
    score: choice(SCORES, "exact"), by: choice(CHOICES, "top"),
    sizes: el("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder: "0.001 to 1" }),
    threshold: el("input", { type: "number", min: "0", step: "any", inputmode: "decimal", placeholder: "0.01" }),
  };
  const fields = {
    by: field("Circuits chosen", controls.by, null, { class: "field wide" }),
    score: field("Edges scored", controls.score, null, { class: "field wide" }),
    sizes: field("Sizes", controls.sizes, "edges such as 30, 100, 300, or fractions such as 0.01, 0.1; empty: MIB's grid", { class: "field wide" }),
    threshold: field("Threshold", controls.threshold, "the change of the metric that keeps an edge"),
  };

  function arrange(isUsed) {
    const isAcdc = controls.by.value === "acdc";
    const hidden = { by: !isUsed, score: !isUsed || isAcdc, sizes: !isUsed || isAcdc, threshold: !isUsed || !isAcdc };
    for (const [name, control] of Object.entries(controls)) fields[name].hidden = control.disabled = hidden[name];
  }

  function fill({ score, choose }) {
    controls.score.value = score?.method ?? "exact";
    controls.by.value = choose?.by ?? "top";
    controls.sizes.value = writtenSizes(choose);
    controls.threshold.value = choose?.threshold ?? "";
  }

  /** What the fields say goes into the patch; what they do not show stays, if it still fits. */
  function write(patch) {
    const by = controls.by.value;
    const { edges, fractions, threshold, rounds, ...others } = patch.choose ?? {};
    const isAcdc = by === "acdc";
    if (isAcdc) delete patch.score;
    else if ((patch.score?.method ?? "exact") !== controls.score.value) patch.score = { method: controls.score.value };
    if (isAcdc || controls.score.value === "exact") delete patch.verify;
    if (isAcdc || by === "iterated") delete patch.resamples;
    const kept = { ...others, by, ...(by === "iterated" && rounds ? { rounds } : {}) };
    try {
      patch.choose = { ...kept, ...(isAcdc ? readThreshold() : readSizes(controls.sizes.value)) };
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      return [[controls.sizes, error.message]];
    }
    return [];
  }

  const readThreshold = () => (controls.threshold.value === "" ? {} : { threshold: Number(controls.threshold.value) });

  return {
    controls, arrange, fill, write, elements: Object.values(fields),
    places: () => ({
      "/patch/choose/by": controls.by, "/patch/choose/threshold": controls.threshold, "/patch/choose": controls.sizes, "/patch/score": controls.score,
    }),
  };
}
