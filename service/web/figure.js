// Figures: drawn by the service, shown by plotly.js, which comes from the service too and only when it is needed.
import { ask, Refused } from "./api.js";
import { el } from "./dom.js";

let loading = null;

function plotly() {
  loading ||= new Promise((resolve, reject) => {
    const script = el("script", { src: new URL("./plotly.min.js", import.meta.url).href });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { loading = null; reject(new Error("plotly.js could not be loaded from the service")); };
    document.head.append(script);
  });
  return loading;
}

const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (getComputedStyle(document.documentElement).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

const NARROW_PX = 560;
const COLUMN_PX = 30; // a column of a heatmap, with its number
const MOST_PX = 1100;
const TITLE_PX = 10; // a character of a title
const INK = "#333333";
const SMALL_PRINT = /<br><span style="font-size:11px">.*$/s; // the caption: the page shows it as text below the figure

/** A text in lines of so many characters: plotly cuts a title that is too long. */
function broken(text, columns) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= columns) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines.join("<br>");
}

/** The layout in the page's colours; the figure's own colours are told apart on both grounds. */
function themed(figure, width) {
  const ink = isDark() ? "#e6e6e6" : "#222222";
  const grid = isDark() ? "#44484f" : "#e4e4e4";
  const layout = structuredClone(figure.layout);
  const isHeatmap = figure.data.some((trace) => trace.type === "heatmap");
  layout.paper_bgcolor = "rgba(0,0,0,0)";
  layout.plot_bgcolor = isHeatmap ? (isDark() ? "#4a4e55" : "#dcdcdc") : "rgba(0,0,0,0)";
  layout.font = { ...layout.font, color: ink };
  layout.title = { ...layout.title, text: broken(layout.title?.text ?? "", width / TITLE_PX) };
  if (width < NARROW_PX && layout.legend) {  // title and legend share what is above the axes
    layout.margin = { ...layout.margin, t: 130 };
    layout.title = { ...layout.title, yref: "container", y: 0.98, yanchor: "top" };
  }
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    layout[name] = { ...layout[name], gridcolor: grid, linecolor: ink, tickcolor: ink };
    if (layout[name].zerolinecolor === INK) layout[name].zerolinecolor = ink;
    if (layout[name].title?.text) layout[name].title = { ...layout[name].title, text: layout[name].title.text.replace(SMALL_PRINT, "") };
  }
  for (const shape of layout.shapes || []) if (shape.line?.color === INK) shape.line.color = ink;
  if (layout.legend) layout.legend.bgcolor = "rgba(0,0,0,0)";
  const data = structuredClone(figure.data);
  for (const trace of data) for (const axis of ["error_x", "error_y"]) if (trace[axis]) trace[axis].color = ink;
  return { data, layout };
}

const shown = new Set();

async function paint(place, figure) {
  const Plotly = await plotly();
  const { data, layout } = themed(figure, place.clientWidth);
  await Plotly.react(place, data, layout, { responsive: true, displaylogo: false, showSendToCloud: false });
}

/** Repaint every figure that is on the page: the theme has changed. */
export function repaint() {
  for (const entry of [...shown]) entry.place.isConnected ? paint(entry.place, entry.figure) : shown.delete(entry);
}

/** Two heatmaps of one unit on one colour scale, so that they can be compared; whether they are now. */
export function shareScale(entries) {
  const maps = entries.map((entry) => entry?.figure.data.find((trace) => trace.type === "heatmap"));
  const units = new Set(maps.map((map) => map?.colorbar.title.text));
  if (maps.includes(undefined) || units.size !== 1) return false;
  const limit = Math.max(...maps.map((map) => map.zmax));
  for (const map of maps) Object.assign(map, { zmin: -limit, zmax: limit });
  entries.forEach(({ place, figure }) => paint(place, figure));
  return true;
}

/** A job's figure, in an element of its own, or null; kind and block as the API takes them. */
export async function showFigure(place, jobId, { kind = "", block = "0" } = {}) {
  place.setAttribute("aria-busy", "true");
  const query = new URLSearchParams({ block, ...(kind ? { kind } : {}) });
  try {
    const figure = await (await ask(`v1/jobs/${encodeURIComponent(jobId)}/figure?${query}`)).json();
    const canvas = el("div", { class: "canvas" });
    const isHeatmap = figure.data.some((trace) => trace.type === "heatmap");
    const columns = isHeatmap ? figure.layout.xaxis.range[1] + 0.5 : 0;
    canvas.style.minWidth = `${Math.max(320, Math.min(150 + COLUMN_PX * columns, MOST_PX))}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", figure.layout.meta?.alt || "Figure of the result");
    place.replaceChildren(el("figure", {}, canvas, el("figcaption", {}, figure.layout.meta?.caption || "")));
    await paint(canvas, figure);
    const entry = { place: canvas, figure };
    shown.add(entry);
    return entry;
  } catch (error) {
    place.replaceChildren(el("p", { class: "notice", role: "alert" },
      error instanceof Refused ? `No figure: ${error.message}` : String(error.message || error)));
    return null;
  } finally {
    place.removeAttribute("aria-busy");
  }
}
