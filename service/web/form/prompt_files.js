// Prompts from a file: plain lines, a table with named columns, or a line of JSON for each pair.

const COLUMNS = {
  orig: ["orig", "clean", "prompt"], new: ["new", "corrupted", "corrupt", "counterfactual"],
  correct: ["correct", "answer", "correct_idx", "answers"], incorrect: ["incorrect", "wrong", "incorrect_idx", "wrong_answers"],
};

/** The cells of a table whose fields may be in quotes. */
export function readTable(text, separator) {
  const rows = [[""]];
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const [sign, row] = [text[at], rows.at(-1)];
    if (isQuoted && sign === '"' && text[at + 1] === '"') { row[row.length - 1] += sign; at += 1; }
    else if (sign === '"') isQuoted = !isQuoted;
    else if (!isQuoted && sign === separator) row.push("");
    else if (!isQuoted && sign === "\n") rows.push([""]);
    else row[row.length - 1] += sign;
  }
  return rows.filter((row) => row.some((cell) => cell.trim()));
}

/** A file's rows as objects, by its ending. */
function rowsOf(name, text) {
  const ending = name.split(".").pop().toLowerCase();
  if (ending === "csv" || ending === "tsv") {
    const [head, ...rows] = readTable(text, ending === "csv" ? "," : "\t");
    return rows.map((row) => Object.fromEntries(head.map((column, place) => [column.trim(), row[place] ?? ""])));
  }
  if (ending === "jsonl") return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
  if (ending === "json") {
    const read = JSON.parse(text);
    return Array.isArray(read) ? read : read.prompts ?? [read];
  }
  return text.split("\n").filter((line) => line.trim()).map((line) => ({ orig: line }));
}

/** A cell's values: a list, as such or as a table writes it, `[3, 4]` or `['Mary', 'Anna']`; else the one value. */
function listOf(cell) {
  if (typeof cell !== "string" || !/^\s*\[.*\]\s*$/.test(cell)) return [cell].flat();
  try { return [JSON.parse(cell.replaceAll("'", '"'))].flat(); } catch { return [cell]; }
}

/** { orig, new, correct, incorrect }: a list each, of the columns that the file has. */
export function promptsOf(name, content) {
  const rows = rowsOf(name, content.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n"));
  if (!rows.length) throw new Error(`${name} holds no prompts.`);
  const found = {};
  for (const [part, names] of Object.entries(COLUMNS)) {
    const column = names.find((one) => one in rows[0]);
    if (column === undefined) continue;
    const missing = rows.findIndex((row) => row[column] === undefined || row[column] === "" || row[column].length === 0);
    if (missing !== -1) throw new Error(`${name}: prompt ${missing + 1} has no ${column}.`);
    found[part] = rows.map((row, place) => {
      const values = listOf(row[column]).map((one) => (column.endsWith("_idx") ? Number(one) : one));
      if (values.some(Number.isNaN)) throw new Error(`${name}: prompt ${place + 1} has no token ids in ${column}: “${row[column]}”.`);
      if (values.length > 1 && ["orig", "new"].includes(part)) throw new Error(`${name}: prompt ${place + 1} has ${values.length} ${column}, and takes one.`);
      return values.length > 1 ? values : values[0];
    });
  }
  if (!found.orig) throw new Error(`${name} has no column of prompts: name it ${COLUMNS.orig.join(", or ")}; here are ${Object.keys(rows[0]).join(", ")}.`);
  return found;
}
