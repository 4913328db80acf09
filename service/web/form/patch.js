// What is patched: paths from senders to receivers, whole activations, or the edges outside circuits.
import { choice, el, field } from "../dom.js";
import { isSaid, makeCircuit } from "./circuit.js";
import { makeEnd } from "./ends.js";
import { Unreadable, readPositions, writtenPositions } from "./lists.js";

const NAMES = { path: "paths from senders to receivers", activation: "whole activations", circuit: "circuits: which edges suffice" };
const SOURCES = [["new", "values of new"], ["zero", "zero"], ["mean", "means over new"]];
const START = { path: { senders: [{ hook: "z", layer: 0, head: 0 }], receivers: [{ hook: "resid_post", layer: 0 }] }, activation: { kind: "activation", nodes: [{ hook: "z", layer: 0, head: 0 }] }, circuit: { kind: "circuit", score: { method: "integrated", steps: 5 } } };
const ENDS_OF = { path: ["senders", "receivers"], activation: ["nodes"], circuit: [] };
const orDelete = (record, name, value, isDefault) => { isDefault ? delete record[name] : (record[name] = value); };

/** @param kinds the patch kinds of the service; `hooks`: the hooks of its nodes. */
export function makePatch(kinds, hooks) {
  const ends = Object.fromEntries(["senders", "receivers", "nodes"].map((name) => [name, makeEnd(name, hooks)]));
  const circuit = makeCircuit();
  const controls = {
    kind: choice([...kinds.map((kind) => [kind, NAMES[kind] ?? kind.replaceAll("_", " ")]), ["custom", "as in the JSON"]], "path"),
    positions: el("input", { type: "text", spellcheck: "false", autocomplete: "off", list: "roles", placeholder: "everywhere" }),
    source: choice(SOURCES, "new"), mlps: el("input", { type: "checkbox" }),
  };
  const note = el("p", { class: "hint" });
  const fields = {
    positions: field("Only at positions", controls.positions, "such as end, or IO, S1; empty: everywhere"),
    source: field("Patched with", controls.source), mlps: field("Through MLPs (the IOI paper's algorithm)", controls.mlps, null, { class: "field wide" }),
  };
  let hasPositions = true;

  const isOneHop = (patch) => !patch.paths;
  const kindOf = (patch) => (isSaid(patch) ? "circuit" : patch && patch.kind !== "circuit" && ENDS_OF[patch.kind ?? "path"] && isOneHop(patch) ? patch.kind ?? "path" : "custom");

  function arrange() {
    const kind = controls.kind.value;
    for (const end of Object.values(ends)) {
      const isUsed = (ENDS_OF[kind] || []).includes(end.name);
      end.arrange();
      for (const [part, control] of Object.entries(end.controls)) {
        if (!isUsed) end.fields[part].hidden = true;
        else if (part === "kind") end.fields.kind.hidden = false;
        control.disabled = end.fields[part].hidden;
      }
    }
    circuit.arrange(kind === "circuit");
    fields.mlps.hidden = controls.mlps.disabled = kind !== "path";
    fields.source.hidden = kind === "custom";
    fields.positions.hidden = kind === "custom" || kind === "circuit";
    controls.positions.disabled = !hasPositions;
    note.textContent = kind === "custom" ? "This patch is edited in the JSON." : "";
  }

  function fill(patch) {
    controls.kind.value = kindOf(patch);
    if (controls.kind.value === "circuit") circuit.fill(patch);
    for (const name of ENDS_OF[controls.kind.value] || []) ends[name].fill(patch[name]);
    const positions = writtenPositions(patch?.positions);
    hasPositions = positions !== undefined;
    controls.positions.value = hasPositions ? positions : "as in the JSON";
    controls.source.value = patch?.source ?? "new";
    controls.mlps.checked = Boolean(patch?.direct_includes_mlps);
    arrange();
  }

  function write(spec, changed) {
    const faults = [];
    const kind = controls.kind.value;
    if (changed === controls.kind) {
      const { positions, source } = spec.patch ?? {};
      spec.patch = { ...structuredClone(START[kind] ?? { kind }), ...(positions && kind !== "circuit" ? { positions } : {}), ...(source ? { source } : {}) };
      fill(spec.patch);
    }
    arrange();
    if (!ENDS_OF[kind] || !spec.patch) return faults;
    for (const name of ENDS_OF[kind]) collectEnd(spec.patch, ends[name], faults);
    if (kind === "circuit") faults.push(...circuit.write(spec.patch));
    else if (hasPositions) {
      const positions = readPositions(controls.positions.value);
      orDelete(spec.patch, "positions", positions, positions === null);
    }
    orDelete(spec.patch, "source", controls.source.value, controls.source.value === "new");
    if (kind === "path") orDelete(spec.patch, "direct_includes_mlps", true, !controls.mlps.checked);
    return faults;
  }

  function collectEnd(patch, end, faults) {
    try {
      const said = end.read();
      if (said !== undefined) patch[end.name] = said;
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      faults.push([end.place(), error.message]);
    }
  }

  return {
    controls: { ...circuit.controls, patchKind: controls.kind, positions: controls.positions, source: controls.source, mlps: controls.mlps,
      ...Object.fromEntries(Object.values(ends).flatMap((end) => Object.entries(end.controls).map(([part, control]) => [`${end.name}-${part}`, control]))) },
    fill, write, title: "Patch",
    /** Offer the nodes that a model has. */
    fit: (architecture) => Object.values(ends).forEach((end) => end.fit(architecture)),
    elements: [field("Kind of patch", controls.kind, null, { class: "field wide" }), note, circuit.elements, Object.values(ends).flatMap((end) => end.elements), Object.values(fields)].flat(),
    places: () => ({
      ...Object.fromEntries(Object.values(ends).map((end) => [`/patch/${end.name}`, end.place()])),
      ...circuit.places(), "/patch/positions": controls.positions, "/patch/source": controls.source, "/patch/kind": controls.kind,
    }),
  };
}
