// Figures: drawn by the service, shown by plotly.js, which comes from the service too and only when it is needed.
import { ask, Refused } from "./api.js";
import { el } from "./dom.js";
import { themed } from "./figure_layout.js";

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

const CONFIG = {
  responsive: false, displaylogo: false, showSendToCloud: false,
  modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"], // files: see Downloads
};
const shown = new Set();
const widths = new ResizeObserver((changes) => {
  for (const { target, contentRect } of changes) {
    const entry = [...shown].find(({ place }) => place === target);
    if (entry && Math.abs(contentRect.width - entry.width) > 8) paint(entry);
  }
});

async function paint(entry) {
  const Plotly = await plotly();
  entry.width = entry.place.clientWidth;
  if (!entry.place.isConnected || !entry.width) return;
  const { data, layout, isNarrow } = themed(entry.figure, entry.width);
  if (entry.isNarrow !== isNarrow) Plotly.purge(entry.place); // a colour bar that turns keeps the margins it had
  entry.isNarrow = isNarrow;
  await Plotly.react(entry.place, data, layout, CONFIG);
}

function forget(entry) {
  shown.delete(entry);
  widths.unobserve(entry.place);
}

/** Repaint every figure that is on the page: the theme has changed. */
export function repaint() {
  for (const entry of [...shown]) entry.place.isConnected ? paint(entry) : forget(entry);
}

/** Two heatmaps of one unit on one colour scale, so that they can be compared; whether they are now. */
export function shareScale(entries) {
  const maps = entries.map((entry) => entry?.figure.data.find((trace) => trace.type === "heatmap"));
  const units = new Set(maps.map((map) => map?.colorbar.title.text));
  if (maps.includes(undefined) || units.size !== 1) return false;
  const limit = Math.max(...maps.map((map) => map.zmax));
  for (const map of maps) Object.assign(map, { zmin: -limit, zmax: limit });
  entries.forEach(paint);
  return true;
}

const latest = new WeakMap();

/** A job's figure, in an element of its own, or null; kind and block as the API takes them. Of several calls the last one is shown. */
export async function showFigure(place, jobId, { kind = "", block = "0" } = {}) {
  latest.get(place)?.abort();
  const asking = new AbortController();
  latest.set(place, asking);
  place.setAttribute("aria-busy", "true");
  const query = new URLSearchParams({ block, ...(kind ? { kind } : {}) });
  try {
    const figure = await (await ask(`v1/jobs/${encodeURIComponent(jobId)}/figure?${query}`, { signal: asking.signal })).json();
    await plotly();
    if (asking.signal.aborted) return null;
    return await put(place, figure);
  } catch (error) {
    if (asking.signal.aborted) return null;
    place.replaceChildren(el("p", { class: "notice", role: "alert" },
      error instanceof Refused ? `No figure: ${error.message}` : String(error.message || error)));
    return null;
  } finally {
    if (latest.get(place) === asking) place.removeAttribute("aria-busy");
  }
}

async function put(place, figure) {
  const canvas = el("div", { class: "canvas", role: "img", "aria-label": figure.layout.meta?.alt || "Figure of the result" });
  const title = el("p", { class: "gtitle" });
  title.textContent = plain(figure.layout.title?.text ?? "");
  place.replaceChildren(el("figure", {}, title, canvas, el("figcaption", {}, figure.layout.meta?.caption || "")));
  const entry = { place: canvas, figure, kinds: figure.layout.meta?.kinds ?? [] };
  shown.add(entry);
  await paint(entry);
  widths.observe(canvas);
  return entry;
}

/** A title as the text that it is: plotly's has tags and entities. */
const plain = (text) => new DOMParser().parseFromString(text.replaceAll("<br>", " "), "text/html").body.textContent;
