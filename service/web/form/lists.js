// What people type in one line, read and written: numbers, positions, values by name, tags.

const isIndex = (text) => /^\d+$/.test(text);
export const words = (text) => text.split(/[\s,;]+/).filter(Boolean);

/** Something that was typed and cannot be read; the message says what can. */
export class Unreadable extends Error {}

/** `7-9, 11` as numbers; null for `all` or nothing. */
export function readNumbers(text, what) {
  const parts = words(text.trim() === "all" ? "" : text);
  const numbers = parts.flatMap((part) => {
    const [, first, last] = part.match(/^(\d+)(?:-(\d+))?$/) || [];
    if (first === undefined) throw new Unreadable(`“${part}” is not a ${what}: write all, or numbers such as 7-9, 11.`);
    return Array.from({ length: Math.max(1, Number(last ?? first) - Number(first) + 1) }, (_, i) => Number(first) + i);
  });
  return numbers.length ? numbers : null;
}

/** `30, 100` as sizes in edges, `0.01, 0.1` as fractions of all edges; nothing where nothing is said. */
export function readSizes(text) {
  const sizes = words(text).map((part) => {
    const size = Number(part);
    if (!(size >= 0)) throw new Unreadable(`“${part}” is not a size: write edges such as 30, 100, or fractions such as 0.01, 0.1.`);
    return size;
  });
  if (!sizes.length) return {};
  return sizes.every(Number.isInteger) ? { edges: sizes } : { fractions: sizes };
}

export const writtenSizes = (choose) => (choose?.edges ?? choose?.fractions ?? []).join(", ");

export const writtenNumbers = (value) => (Array.isArray(value) ? value.join(", ") : value && value !== "all" ? String(value) : "");

/** Edges one on each line as a circuit; a line that ends with a colon names those below it. */
export function readCircuits(text, unnamed) {
  const circuits = new Map();
  let name = unnamed;
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const heading = line.match(/^(.*?)\s*:$/)?.[1];
    if (heading === "") throw new Unreadable("A circuit has no name: write one before the colon, such as movers:.");
    if (circuits.has(heading)) throw new Unreadable(`Two circuits are named “${heading}”: give each a name of its own.`);
    name = heading ?? name;
    circuits.set(name, heading ? [] : [...(circuits.get(name) ?? []), ...words(line)]);
  }
  return circuits.size ? Object.fromEntries(circuits) : { [unnamed]: [] };
}

/** Circuits as lines; undefined where lines cannot say them. */
export function writtenCircuits(edges, unnamed) {
  const parts = Object.entries(edges).map(([name, own], index) => [...(index || name !== unnamed ? [`${name}:`] : []), ...[own].flat()]);
  const written = parts.map((lines) => lines.join("\n")).join("\n\n");
  return JSON.stringify(readIfReadable(written, unnamed)) === JSON.stringify(edges) ? written : undefined;
}

function readIfReadable(text, unnamed) {
  try { return readCircuits(text, unnamed); } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return {};
  }
}

/** `end`, `3` or `IO, S1` as the API takes positions; null where nothing is said. */
export function readPositions(text) {
  const found = words(text).map((part) => (/^-?\d+$/.test(part) ? Number(part) : part));
  return found.length > 1 ? found : found[0] ?? null;
}

/** Positions as text; undefined where one line cannot say them. */
export function writtenPositions(positions) {
  if (positions === null || positions === undefined) return "";
  const listed = Array.isArray(positions) ? positions : [positions];
  return listed.some((one) => Array.isArray(one)) ? undefined : listed.join(", ");
}

/** `topic:names, night:3` as an object. */
export function readTags(text) {
  return Object.fromEntries(text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => {
    const [, name, value] = part.match(/^([^:]+):(.*)$/) || [];
    if (name === undefined) throw new Unreadable(`“${part}” is not a tag: write name:value, such as topic:names.`);
    return [name.trim(), value.trim()];
  }));
}

/** Tags as text; undefined where one line cannot say them. */
export function writtenTags(tags) {
  const pairs = Object.entries(tags ?? {});
  if (pairs.some(([name, value]) => /[,:]/.test(name) || value.includes(",") || name.trim() !== name || value.trim() !== value)) return undefined;
  return pairs.map(([name, value]) => `${name}:${value}`).join(", ");
}

/** Lines such as `IO: Mary, Tom` as { IO: ["Mary", "Tom"] }; one value stands for every prompt. */
export function readNamed(text, count, valueOf) {
  const named = {};
  for (const line of text.split("\n").filter((one) => one.trim())) {
    const [, name, values] = line.match(/^\s*([^:]+?)\s*:\s*(.*)$/) || [];
    if (!name || !values.trim()) throw new Unreadable(`“${line.trim()}” names nothing: write a name, a colon and values, such as end: -1.`);
    const found = split(values).map(valueOf);
    if (found.length !== 1 && found.length !== count) {
      throw new Unreadable(`${name} has ${found.length} values and there are ${count} prompts: give one for all, or one for each.`);
    }
    named[name] = found.length === count ? found : Array.from({ length: count }, () => found[0]);
  }
  return named;
}

/** Values between commas; in double quotes a comma is text. */
const split = (values) => (values.match(/"(?:[^"\\]|\\.)*"|[^,]+/g) || []).map((one) => one.trim()).filter(Boolean);

/** A token as it is typed: a word stands for the word after a space, quotes for exactly what is between them. */
export function tokenOf(text) {
  if (/^#\d+$/.test(text)) return Number(text.slice(1));
  if (!text.startsWith('"')) return ` ${text}`;
  try { return JSON.parse(text); } catch { throw new Unreadable(`${text} is not a text in quotes.`); }
}

export function writtenToken(token) {
  if (typeof token === "number") return `#${token}`;
  const word = token.startsWith(" ") ? token.slice(1) : null;
  return word && /^[^\s,"#|][^,"|]*$/.test(word) && word.trim() === word ? word : JSON.stringify(token);
}

/** `Mary | Anna` as a set of tokens; one token stays one. */
export function answerOf(text) {
  const parts = (text.match(/"(?:[^"\\]|\\.)*"|[^|]+/g) || []).map((one) => one.trim()).filter(Boolean);
  return parts.length > 1 ? parts.map(tokenOf) : tokenOf(parts[0] ?? text);
}

export const writtenAnswer = (answer) => [answer].flat().map(writtenToken).join(" | ");

/** Answers of which each is a token for every prompt, or a set for every prompt. */
export const evenAnswers = (named) => Object.fromEntries(Object.entries(named).map(([name, values]) =>
  [name, values.some(Array.isArray) ? values.map((one) => [one].flat()) : values]));

export const positionOrToken = (text) => (/^-?\d+$/.test(text) ? Number(text) : tokenOf(text));
export const writtenPlace = (place) => (typeof place === "number" ? String(place) : /^-?\d+$/.test(place.trim()) ? JSON.stringify(place) : writtenToken(place));

/** { IO: [...] } as lines; a value that all share is written once. */
export function writtenNamed(named, written) {
  return Object.entries(named ?? {}).map(([name, values]) => {
    const shown = values.map(written);
    return `${name}: ${shown.every((one) => one === shown[0]) ? shown[0] : shown.join(", ")}`;
  }).join("\n");
}

/** A node of a layer as it is typed: `9.6`, or `9` for the whole layer. */
export function readPlace(text, hook, unit) {
  const [, layer, index] = text.match(unit ? /^(\d+)(?:\.(\d+))?$/ : /^(\d+)$/) || [];
  if (layer === undefined) {
    const counted = unit?.replace("_", " ");
    const allowed = unit ? `write layer.${counted}, such as 9.6, or a layer alone for all of it` : "write a layer, such as 9";
    throw new Unreadable(`“${text}” is not ${unit ? `a ${counted}` : "a layer"}: ${allowed}.`);
  }
  return { hook, layer: Number(layer), ...(index === undefined ? {} : { [unit]: Number(index) }) };
}
