// The metrics that this service knows, from its own schema.
import { getJson } from "./api.js";

/** Each kind's fields that have no default, such as `attention: ["query", "key"]`. */
export async function metricKinds(options) {
  const { schemas } = (await getJson("openapi.json", options)).components;
  const [{ oneOf }] = schemas.JobSpec.properties.metric.anyOf;
  const classes = oneOf.map(({ $ref }) => schemas[$ref.split("/").at(-1)]);
  return Object.fromEntries(classes.map(({ properties, required }) =>
    [properties.kind.const, required.filter((name) => name !== "kind")]));
}
