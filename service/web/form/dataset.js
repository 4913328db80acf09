// The prompts: drawn by the service, or one's own, as text or from a file.
import { choice, el, field, setFault } from "../dom.js";
import { Unreadable, answerOf, evenAnswers, positionOrToken, readNamed, writtenAnswer, writtenNamed, writtenPlace } from "./lists.js";
import { promptsOf } from "./prompt_files.js";

const NAMES = { ioi: "IOI, drawn", prompts: "your own", templates: "drawn from templates", tokens: "token ids", greater_than: "greater-than, drawn", induction: "induction, drawn" };
const COUNTERPARTS = [["abc", "unrelated names"], ["swapped", "IO and S exchanged"]];
const orDelete = (record, name, value, isDefault) => { isDefault ? delete record[name] : (record[name] = value); };
const lines = (text) => text.split("\n").map((line) => line.trimEnd()).filter(Boolean);
const area = (rows) => el("textarea", { rows: String(rows), spellcheck: "false", autocapitalize: "off" });
const count = (min) => el("input", { type: "number", min, step: "1", inputmode: "numeric" });

/** Whether two text areas of lines can say these values. */
const areLists = (named) => Object.values(named ?? {}).every((values) => Array.isArray(values) && values.length && values.every((one) => [one].flat().every((part) => ["string", "number"].includes(typeof part))));

/** Roles by text and occurrence as the form's lines can say them, where they can. */
function isSayable({ orig, new: others, roles, answers }) {
  return [orig, others].every((prompts) => Array.isArray(prompts) && prompts.every((one) => typeof one === "string" && one === one.trimEnd() && !one.includes("\n"))) && areLists(roles) && areLists(answers);
}

/** @param kinds kind of dataset -> the fields that it takes; `starts`: kind -> a dataset to start from. */
export function makeDataset(kinds, starts) {
  const controls = {
    kind: choice(Object.keys(kinds).map((kind) => [kind, NAMES[kind] ?? kind.replaceAll("_", " ")]), "ioi"),
    examples: count("1"), seed: count("0"), counterpart: choice(COUNTERPARTS, "abc"), swap: el("input", { type: "checkbox" }),
    orig: area(4), new: area(4), answers: area(2), roles: area(2), file: el("input", { type: "file", accept: ".txt,.csv,.tsv,.json,.jsonl" }),
  };
  const note = el("p", { class: "hint" });
  const fields = {
    examples: field("Examples", controls.examples), seed: field("Seed", controls.seed), new_: field("New prompts", controls.counterpart, null, { class: "field wide" }),
    file: field("From a file", controls.file, "csv, tsv, jsonl or json with orig, new, correct, incorrect (or clean, corrupted, correct_idx, incorrect_idx); txt: a prompt on each line", { class: "field wide" }),
    orig: field("Prompts of orig, one a line", controls.orig, null, { class: "field wide" }),
    new: field("Prompts of new, one a line", controls.new, "each with as many tokens as its orig", { class: "field wide" }),
    answers: field("Answers", controls.answers, "such as IO: Mary, Tom; a word means the token with its leading space, quotes mean the text as it is; Mary | Anna is a set of tokens", { class: "field wide" }),
    roles: field("Roles", controls.roles, "positions with a name: end: -1, or S1: 3, 3 for each prompt, or the text of a token", { class: "field wide" }),
    swap: field("Exchange the runs (denoising)", controls.swap, null, { class: "field wide" }),
  };
  let isShown = true;
  let saidInJson = {};

  function arrange(kind) {
    const has = (name) => isShown && (kinds[kind] || []).includes(name);
    for (const name of ["examples", "seed", "swap"]) controls[name].disabled = fields[name].hidden = !has(name);
    controls.counterpart.disabled = fields.new_.hidden = kind !== "ioi";
    for (const name of ["file", "orig", "new", "answers", "roles"]) controls[name].disabled = fields[name].hidden = kind !== "prompts" || !isShown;
  }

  function fill(dataset = {}) {
    const { kind } = dataset;
    isShown = kind !== "prompts" || isSayable(dataset);
    saidInJson = dataset;
    const isOther = !isShown || ["tokens", "templates", "induction"].includes(kind) || !kinds[kind];
    note.textContent = isOther ? `A dataset of kind “${kind}” is edited in the JSON${isShown && kinds[kind]?.includes("examples") ? ", but for these fields" : ""}.` : "";
    controls.kind.value = kind;
    controls.examples.value = dataset.examples ?? "";
    controls.seed.value = dataset.seed ?? 0;
    controls.swap.checked = Boolean(dataset.swap);
    controls.counterpart.value = typeof dataset.new === "string" ? dataset.new : "abc";
    if (kind === "prompts" && isShown) {
      controls.orig.value = dataset.orig.join("\n");
      controls.new.value = dataset.new.join("\n");
      controls.answers.value = writtenNamed(dataset.answers, writtenAnswer);
      controls.roles.value = writtenNamed(dataset.roles, writtenPlace);
    }
    arrange(kind);
  }

  /** Reads one control into the dataset, or marks it as unreadable and leaves what it would have said. */
  function read(dataset, name, value, faults) {
    try { orDelete(dataset, name, value(), false); } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      faults.push([controls[name], error.message]);
    }
  }

  function collectPrompts(dataset, faults) {
    dataset.orig = lines(controls.orig.value);
    dataset.new = lines(controls.new.value);
    read(dataset, "answers", () => evenAnswers(readNamed(controls.answers.value, dataset.orig.length, answerOf)), faults);
    read(dataset, "roles", () => readNamed(controls.roles.value, dataset.orig.length, positionOrToken), faults);
  }

  /** The spec's dataset as these fields say it; what cannot be read is told as [control, message]. */
  function write(spec, changed) {
    const faults = [];
    if (changed === controls.kind) {
      spec.dataset = structuredClone(starts(controls.kind.value));
      fill(spec.dataset);
    }
    const { dataset } = spec;
    if (!dataset) return faults;
    const has = (name) => !controls[name].disabled;
    if (has("examples")) dataset.examples = controls.examples.value === "" ? null : Number(controls.examples.value);
    if (has("seed")) dataset.seed = Number(controls.seed.value);
    if (has("swap")) orDelete(dataset, "swap", true, !controls.swap.checked);
    if (has("counterpart")) orDelete(dataset, "new", controls.counterpart.value, controls.counterpart.value === "abc");
    if (dataset.kind === "prompts" && isShown) collectPrompts(dataset, faults);
    return faults;
  }

  /** Prompts of the chosen file, in the fields; whether there are any. */
  async function readFile() {
    const [file] = controls.file.files;
    if (!file) return false;
    try {
      const found = promptsOf(file.name, await file.text());
      const named = Object.fromEntries(Object.entries({ correct: found.correct, incorrect: found.incorrect }).filter(([, values]) => values));
      controls.orig.value = found.orig.join("\n");
      controls.new.value = (found.new ?? found.orig).join("\n");
      controls.answers.value = writtenNamed(named, writtenAnswer);
      controls.roles.value = "end: -1";
      setFault(controls.file, "");
      return true;
    } catch (error) {
      setFault(controls.file, error.message);
      return false;
    }
  }

  return {
    controls, fill, write, readFile, title: "Prompts", elements: [field("Kind of prompts", controls.kind, null, { class: "field wide" }), note, ...Object.values(fields)],
    places: () => ({
      "/dataset/kind": controls.kind, "/dataset/examples": controls.examples, "/dataset/seed": controls.seed, "/dataset/orig": controls.orig, "/dataset/new": saidInJson.kind === "ioi" ? controls.counterpart : controls.new,
      "/dataset/answers": controls.answers, "/dataset/roles": controls.roles,
    }),
  };
}
