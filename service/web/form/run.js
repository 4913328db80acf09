// How it runs and is found again: method, name, tags.
import { choice, el, field } from "../dom.js";
import { Unreadable, readTags, writtenTags } from "./lists.js";

const METHODS = [["exact", "exact"], ["attribution", "attribution: an estimate of every edge"]];

/** @param hasName whether this service's specs have a name. */
export function makeRun(hasName) {
  const text = (placeholder) => el("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder });
  const controls = { method: choice(METHODS, "exact"), verify: el("input", { type: "number", min: "1", step: "1", inputmode: "numeric", placeholder: "none" }), name: text("what it asks"), tags: text("topic:names") };
  const fields = {
    method: field("Method", controls.method, null, { class: "field wide" }), verify: field("Computed exactly", controls.verify, "how many of the largest estimates"),
    name: field("Name", controls.name, null, { class: "field wide" }), tags: field("Tags", controls.tags, "name:value, with commas between", { class: "field wide" }),
  };
  let hasTags = true;

  /** Circuits have a method of their own, in their patch. */
  const isEstimated = (spec) => controls.method.value === "attribution" && spec.patch?.kind !== "circuit";

  function arrange(spec) {
    fields.method.hidden = spec.patch?.kind === "circuit";
    fields.verify.hidden = controls.verify.disabled = !isEstimated(spec);
    fields.name.hidden = !hasName;
  }

  function fill(spec) {
    const tags = writtenTags(spec.tags);
    hasTags = tags !== undefined;
    controls.tags.disabled = !hasTags;
    controls.tags.value = hasTags ? tags : "as in the JSON";
    controls.method.value = spec.method ?? "exact";
    controls.verify.value = spec.verify ?? "";
    controls.name.value = spec.name ?? "";
    arrange(spec);
  }

  function write(spec) {
    const faults = [];
    arrange(spec);
    const orDelete = (name, value, isDefault) => { isDefault ? delete spec[name] : (spec[name] = value); };
    orDelete("method", controls.method.value, !isEstimated(spec));
    orDelete("verify", Number(controls.verify.value), controls.verify.disabled || controls.verify.value === "");
    if (hasName) orDelete("name", controls.name.value, controls.name.value.trim() === "");
    try { if (hasTags) orDelete("tags", readTags(controls.tags.value), controls.tags.value.trim() === ""); } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      faults.push([controls.tags, error.message]);
    }
    return faults;
  }

  return { controls, fill, write, title: "Run", elements: Object.values(fields), places: () => ({ "/method": controls.method, "/verify": controls.verify, "/tags": controls.tags, "/name": controls.name }) };
}
