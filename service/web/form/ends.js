// One end of a patch as fields: a kind, and the nodes of that kind. What they cannot say stays in the JSON.
import { choice, el, field } from "../dom.js";
import { Unreadable, readNumbers, readPlace, readPositions, words, writtenNumbers, writtenPositions } from "./lists.js";

/** Hook -> what its nodes are counted by, what they are called, and all of them one by one. */
const HOOKS = {
  z: ["head", "heads", "every head, one by one"],
  q: ["head", "queries of heads", "every head's query"], k: ["head", "keys of heads", "every head's key"],
  v: ["head", "values of heads", "every head's value"], pattern: ["head", "patterns of heads", "every head's pattern"],
  query_k: ["query_head", "keys as one query head reads them", null], query_v: ["query_head", "values as one query head reads them", null],
  attn_out: ["", "attention outputs of layers", "every attention output"], mlp_out: ["", "MLPs of layers", "every MLP, one by one"],
  post: ["neuron", "MLP neurons (post)", null], pre: ["neuron", "MLP neurons (pre)", null], mlp_in: ["neuron", "MLP inputs (mlp_in)", null],
  resid_pre: ["", "residual stream before layers", "residual stream before every layer"],
  resid_mid: ["", "residual stream between attention and MLP", "every residual stream between attention and MLP"],
  resid_post: ["", "residual stream after layers", "residual stream after every layer"],
  embed: [null, "token embedding", null], pos_embed: [null, "position embedding", null],
};
const SENDERS = ["z", "mlp_out", "attn_out", "post", "resid_pre", "resid_mid", "resid_post", "embed", "pos_embed"];
const RECEIVERS = ["q", "k", "v", "query_k", "query_v", "pattern", "pre", "mlp_in", "resid_pre", "resid_mid", "resid_post"];
const TOGETHER = [["sweep:q,k", "every head's query and key"], ["sweep:q,k,v", "every head's query, key and value"]];
export const ENDS = {
  senders: { label: "From", names: "Sender names", hooks: SENDERS, more: [] },
  receivers: { label: "Into", names: "Receiver names", hooks: RECEIVERS, more: TOGETHER },
  nodes: { label: "What is patched", names: "Node names", hooks: [...new Set([...SENDERS, ...RECEIVERS])], more: [] },
};
/** The hook of a kind: `query_k` is `k`, counted by the heads that read it. */
const hookOf = (kind) => kind.replace(/^query_/, "");
const kindOf = ({ hook, query_head }) => ((query_head ?? null) === null ? hook : `query_${hook}`);
const hooksOf = (kind) => kind.replace("sweep:", "").split(",").map(hookOf);
const unitOf = (kind) => HOOKS[kind.replace("sweep:", "").split(",")[0]]?.[0];
const isSweep = (kind) => kind.startsWith("sweep:");

/** The kinds of node that this model's service takes at an end, as [value, text]. */
function kindsOf({ hooks, more }, known) {
  const there = hooks.filter((hook) => known.includes(hookOf(hook)));
  return [...there.map((hook) => [hook, HOOKS[hook][1]]),
    ...there.filter((hook) => HOOKS[hook][2]).map((hook) => [`sweep:${hook}`, HOOKS[hook][2]]), ...more,
    ["mixed", "nodes of several kinds"], ["custom", "as in the JSON"]];
}

/** Whether a model can have nodes of this kind: it has their hooks, and query heads that share keys count apart from them. */
function fits(kind, name, { hooks, n_heads, n_kv_heads }) {
  if (["mixed", "custom"].includes(kind)) return true;
  const isGrouped = n_kv_heads < n_heads;
  const there = name === "nodes" ? [...hooks.senders, ...hooks.receivers] : hooks[name];
  return hooksOf(kind).every((hook) => there.includes(hook)) && (isGrouped ? !kind.includes(",") : !kind.startsWith("query_"));
}

/** An end of a spec as { kind, names, layers, heads, at }; kind `custom` where fields cannot say it. */
export function fieldsOf(end, kinds) {
  const known = kinds.map(([kind]) => kind);
  if (end?.sweep) {
    const { hook, layers, heads, positions, ...rest } = end.sweep;
    const said = { kind: `sweep:${[hook].flat().join(",")}`, names: "", layers: writtenNumbers(layers), heads: writtenNumbers(heads), at: writtenPositions(positions) };
    return Object.values(rest).every((value) => value === null) && known.includes(said.kind) && said.at !== undefined ? said : { kind: "custom" };
  }
  if (!Array.isArray(end) || !end.length || end.some((node) => !isPlain(node))) return { kind: "custom" };
  const isOne = end.every((node) => kindOf(node) === kindOf(end[0])) && known.includes(kindOf(end[0]));
  const names = end.map((node) => (isOne ? placeOf(node) : `${kindOf(node)} ${placeOf(node)}`.trim()));
  return { kind: isOne ? kindOf(end[0]) : "mixed", names: names.join(", "), layers: "", heads: "", at: "" };
}

const isPlain = ({ hook, layer, head, neuron, positions, query_head, ...rest }) =>
  HOOKS[hook] && (positions ?? null) === null && !Object.keys(rest).length && [layer, head, neuron, query_head].every((one) => one === undefined || one === null || Number.isInteger(one));

const placeOf = ({ layer, head, neuron, query_head }) => [layer, head ?? neuron ?? query_head].filter((one) => one !== null && one !== undefined).join(".");

/** The end that fields say. */
export function endOf({ kind, names, layers, heads, at }) {
  if (isSweep(kind)) {
    const hooks = kind.slice(6).split(",");
    const chosen = { layers: readNumbers(layers, "layer"), heads: unitOf(kind) === "head" && heads.trim() !== "joint" ? readNumbers(heads, "head") : null, positions: readPositions(at) };
    if (heads.trim() === "joint") chosen.heads = "joint";
    if (chosen.positions !== null && chosen.positions !== "each") chosen.positions = [chosen.positions].flat();
    return { sweep: { hook: hooks.length > 1 ? hooks : hooks[0], ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== null)) } };
  }
  if (unitOf(kind) === null) return [{ hook: kind }];
  if (kind === "mixed") return someOf(names.split(/[,;]+/).map((name) => name.trim()).filter(Boolean), "nodes, such as z 9.6, mlp_out 3").map(mixedNode);
  return someOf(words(names), unitOf(kind) ? `${unitOf(kind).replace("_", " ")}s, such as 9.6, 9.9` : "layers, such as 9, 10").map((name) => readPlace(name, hookOf(kind), unitOf(kind)));
}

function someOf(names, what) {
  if (!names.length) throw new Unreadable(`Name ${what}.`);
  return names;
}

function mixedNode(text) {
  const [hook, place] = text.split(/\s+/);
  if (!HOOKS[hook]) throw new Unreadable(`“${text}” is not a node: write a hook and its place, such as z 9.6 or mlp_out 3.`);
  return HOOKS[hook][0] === null ? { hook } : readPlace(place ?? "", hookOf(hook), HOOKS[hook][0]);
}

/** The fields of one end: shown, filled, read. */
export function makeEnd(name, known) {
  const { label, names: title } = ENDS[name];
  const kinds = kindsOf(ENDS[name], known);
  const text = (placeholder) => el("input", { type: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", placeholder });
  const controls = { kind: choice(kinds, kinds[0][0]), names: text("9.6, 9.9"), layers: text("all"), heads: text("all"), at: text("all together") };
  const hint = el("span", {});
  const fields = {
    kind: field(label, controls.kind, null, { class: "field wide" }), names: field(title, controls.names, hint, { class: "field wide" }),
    layers: field("Layers", controls.layers, "all, or such as 7-9, 11"), heads: field("Heads", controls.heads, "all, joint, or such as 0, 3"),
    at: field("Position by position", controls.at, "each, or such as S1, end"),
  };
  let model = null;

  /** The kinds that fit the model, and the chosen one whether it does or not: the service says why it does not. */
  function offer(chosen) {
    const offered = kinds.filter(([kind]) => kind === chosen || !model || fits(kind, name, model));
    controls.kind.replaceChildren(...offered.map(([value, title]) => el("option", { value }, title)));
    controls.kind.value = chosen;
  }

  function arrange() {
    const kind = controls.kind.value;
    fields.names.hidden = isSweep(kind) || kind === "custom" || unitOf(kind) === null;
    controls.names.disabled = fields.names.hidden;
    fields.layers.hidden = fields.at.hidden = !isSweep(kind);
    fields.heads.hidden = !isSweep(kind) || unitOf(kind) !== "head";
    hint.textContent = kind === "mixed" ? "such as z 9.6, mlp_out 3, embed" : unitOf(kind) ? `layer.${unitOf(kind).replace("_", " ")} from 0, or a layer for all of it` : "layers, from 0";
  }
  return {
    name, controls, elements: Object.values(fields), fields, arrange,
    fill(end) {
      const said = { names: "", layers: "", heads: "", at: "", ...fieldsOf(end, kinds) };
      offer(said.kind);
      for (const [part, control] of Object.entries(controls)) control.value = said[part];
      arrange();
    },
    /** Let the kinds be those of a model, if its architecture is known. */
    fit(architecture) {
      model = architecture?.hooks ? architecture : null;
      offer(controls.kind.value);
    },
    /** The end, `undefined` for as it is in the JSON. */
    read: () => (controls.kind.value === "custom" ? undefined
      : endOf(Object.fromEntries(Object.entries(controls).map(([part, control]) => [part, control.value])))),
    /** The control that an error of this end belongs to. */
    place: () => (isSweep(controls.kind.value) ? controls.layers : fields.names.hidden ? controls.kind : controls.names),
  };
}
