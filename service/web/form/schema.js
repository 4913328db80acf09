// What this service can do, read from its own schema.
import { getJson } from "../api.js";

/** The members of a union by their kind: { kind: schema }. */
function branches(schemas, property) {
  const union = property.oneOf ?? property.anyOf?.flatMap((one) => one.oneOf ?? [one]) ?? [property];
  const classes = union.filter(({ $ref }) => $ref).map(({ $ref }) => schemas[$ref.split("/").at(-1)]);
  return Object.fromEntries(classes.map((one) => [one.properties.kind.const, one]));
}

const names = (classes) => Object.fromEntries(Object.entries(classes).map(([kind, { properties }]) => [kind, Object.keys(properties).filter((name) => name !== "kind")]));

/** Kinds of metric, dataset and patch with their fields, the hooks of nodes, and whether specs have a name. */
export async function abilities(options) {
  const { schemas } = (await getJson("openapi.json", options)).components;
  const { metric, dataset, patch, name } = schemas.JobSpec.properties;
  return {
    metrics: names(branches(schemas, metric)), datasets: names(branches(schemas, dataset)), patches: Object.keys(branches(schemas, patch)),
    hooks: schemas.Node.properties.hook.enum, hasName: name !== undefined,
  };
}
