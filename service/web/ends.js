// The two ends of a patch as form fields: a kind and a list of names. What they cannot say stays in the JSON.

const NAMED = { z: "these heads", mlp_out: "these MLPs" };
export const SENDER_KINDS = [["z", NAMED.z], ["mlp_out", NAMED.mlp_out], ["sweep:z", "every head, one by one"], ["sweep:mlp_out", "every MLP, one by one"], ["custom", "as in the JSON"]];
export const RECEIVER_KINDS = [
  ["q", "queries of"], ["k", "keys of"], ["v", "values of"], ["pattern", "patterns of"], ["resid_post", "residual stream after layer"],
  ["sweep:q", "every head's query"], ["sweep:k", "every head's key"], ["sweep:v", "every head's value"], ["custom", "as in the JSON"],
];
const LAYER_HOOKS = ["mlp_out", "resid_post"];

/** An end of a spec as [kind, names]; ["custom", ""] where these fields cannot say it. */
export function fieldsOf(end, kinds) {
  const known = kinds.map(([kind]) => kind);
  if (end && end.sweep) {
    const kind = `sweep:${end.sweep.hook}`;
    return Object.keys(end.sweep).length === 1 && known.includes(kind) ? [kind, ""] : ["custom", ""];
  }
  if (!Array.isArray(end) || !end.length) return ["custom", ""];
  const { hook } = end[0];
  const isLayer = LAYER_HOOKS.includes(hook);
  const fits = known.includes(hook) && end.every((node) =>
    node.hook === hook && Object.keys(node).length === (isLayer ? 2 : 3) && Number.isInteger(node.layer) && (isLayer || Number.isInteger(node.head)));
  return fits ? [hook, end.map((node) => (isLayer ? `${node.layer}` : `${node.layer}.${node.head}`)).join(", ")] : ["custom", ""];
}

/** The end that two fields say. Names that are none are passed on, so that the service can say what is wrong with them. */
export function endOf(kind, names) {
  if (kind.startsWith("sweep:")) return { sweep: { hook: kind.slice(6) } };
  return names.split(/[\s,;]+/).filter(Boolean).map((name) => {
    const [layer, head] = name.split(".");
    const asNumber = (text) => (/^\d+$/.test(text) ? Number(text) : text);
    const node = { hook: kind, layer: asNumber(layer) };
    if (head !== undefined) node.head = asNumber(head);
    return node;
  });
}
