// A figure's layout for the page: its colours, and sizes that fit the card. Title and caption are text of the page.

const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (getComputedStyle(document.documentElement).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

const NARROW_PX = 560;
const TOOLBAR_PX = 34;
const LEGEND_PX = { wide: 32, narrow: 54 }; // one line, or two
const NUMBER_PX = 62; // of a bar
const CHARACTER_PX = 6.2; // of a cell's number
const TITLE_CHARACTER_PX = 8;
const SMALLEST_NUMBER_PX = 8;
const INK = "#333333";
const SMALL_PRINT = /<br><span style="font-size:11px">.*$/s; // the caption: the page shows it as text below the figure

/** Data and layout in the page's colours, for a card of this width. */
export function themed(figure, width) {
  const layout = structuredClone(figure.layout);
  const data = structuredClone(figure.data);
  const heatmap = data.find((trace) => trace.type === "heatmap");
  const isNarrow = width < NARROW_PX;
  colour(layout, data, Boolean(heatmap));
  delete layout.title;
  delete layout.width;
  const legendPx = layout.legend ? LEGEND_PX[isNarrow ? "narrow" : "wide"] : 0;
  layout.margin = { l: isNarrow ? 50 : 80, r: isNarrow ? 14 : 30, b: 50, t: TOOLBAR_PX + legendPx };
  layout.modebar = { orientation: "h", bgcolor: "rgba(0,0,0,0)", color: isDark() ? "#a7aeb8" : "#767e89", activecolor: isDark() ? "#e6e6e6" : "#222222" };
  if (isNarrow) layout.font = { ...layout.font, size: 11 };
  breakTitle(layout.xaxis, width - layout.margin.l);
  breakTitle(layout.yaxis, layout.height ?? 450);
  if (layout.annotations) fitNotes(layout, data, width - layout.margin.l - layout.margin.r, isNarrow);
  if (heatmap) fitHeatmap(heatmap, layout, width, isNarrow);
  else thin(layout.xaxis, width - layout.margin.l - layout.margin.r);
  return { data, layout, isNarrow };
}

function colour(layout, data, isHeatmap) {
  const ink = isDark() ? "#e6e6e6" : "#222222";
  const grid = isDark() ? "#44484f" : "#e4e4e4";
  layout.paper_bgcolor = "rgba(0,0,0,0)";
  layout.plot_bgcolor = isHeatmap ? (isDark() ? "#4a4e55" : "#dcdcdc") : "rgba(0,0,0,0)";
  layout.font = { ...layout.font, color: ink };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    layout[name] = { ...layout[name], gridcolor: grid, tickcolor: ink };
    if (layout[name].zerolinecolor === INK) layout[name].zerolinecolor = ink;
    if (layout[name].title?.text) layout[name].title = { ...layout[name].title, text: layout[name].title.text.replace(SMALL_PRINT, "") };
  }
  for (const shape of layout.shapes || []) if (shape.line?.color === INK) shape.line.color = ink;
  if (layout.legend) layout.legend.bgcolor = "rgba(0,0,0,0)";
  for (const trace of data) {
    for (const axis of ["error_x", "error_y"]) if (trace[axis]) trace[axis].color = ink;
    if (trace.marker?.symbol === "diamond-open") trace.marker.color = ink;
    if (isDark() && ON_DARK[trace.line?.color]) trace.line.color = ON_DARK[trace.line.color];
  }
}

const ON_DARK = { "#0072B2": "#56b4e9", "#D55E00": "#ff9f70" };

/** Texts in the figure: nodes and labels of a graph, numbers of bars. Where they would lie on one another they are left out. */
function fitNotes(layout, data, px, isNarrow) {
  const isGraph = layout.annotations.some((note) => note.bordercolor);
  const [card, ink] = isDark() ? ["#1b1e23", "#e6e6e6"] : ["#ffffff", "#222222"];
  if (isGraph && isNarrow) layout.annotations = layout.annotations.filter((note) => note.bordercolor);
  for (const note of layout.annotations) {
    if (note.bordercolor) Object.assign(note, { bgcolor: card, bordercolor: ink, font: { ...note.font, color: ink } });
    else if (note.bgcolor) Object.assign(note, { bgcolor: `${card}cc`, font: { ...note.font, color: (isDark() && ON_DARK[note.font.color]) || note.font.color } });
  }
  if (data.some((trace) => trace.orientation === "h")) layout.xaxis.range = withRoom(layout.xaxis.range, NUMBER_PX / px);
}

/** A range with at least this part of it free beyond the bars; a sixth is free already. */
function withRoom([low, high], part) {
  const more = Math.max(0, part - 1 / 7) * (high - low) * 1.6;
  return [low < 0 ? low - more : low, high > 0 ? high + more : high];
}

/** Numbers where they can be read, else signs; the colour bar below where it would take the cells' room. */
function fitHeatmap(trace, layout, width, isNarrow) {
  const cells = width - layout.margin.l - (isNarrow ? layout.margin.r : 120);
  const columnPx = cells / (layout.xaxis.range[1] + 0.5);
  if (trace.text) {
    const longest = Math.max(...trace.text.flat().map((one) => (one ?? "").length));
    if (columnPx < longest * CHARACTER_PX * SMALLEST_NUMBER_PX / 10 + 10) trace.text = trace.text.map((row) => row.map((one) => (one ? one[0] : "")));
    trace.textfont = { size: Math.min(10.5, Math.max(SMALLEST_NUMBER_PX, columnPx / 4)) };
  }
  if (isNarrow) {
    trace.colorbar = {
      ...trace.colorbar, orientation: "h", thickness: 12, len: 1, x: 0.5, xanchor: "center", y: 0, yref: "container", yanchor: "bottom",
      title: { text: `${trace.colorbar.title.text}<br> `, side: "top" }, nticks: 5, // the second line keeps plotly from laying it on the bar
    };
    layout.margin.b = 120;
    layout.height = Math.min(layout.height, Math.round(width * 1.25) + 160);
  }
  thin(layout.xaxis, cells);
}

/** An axis title in lines that fit: plotly cuts what is longer. */
function breakTitle(axis, px) {
  if (!axis?.title?.text) return;
  const lines = [""];
  for (const word of axis.title.text.split(" ")) {
    if (lines.at(-1) && (lines.at(-1).length + word.length) * TITLE_CHARACTER_PX > px) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  axis.title = { ...axis.title, text: lines.join("<br>") };
}

/** Fewer ticks where their labels would lie on one another. */
function thin(axis, px) {
  if (!axis?.tickvals) return;
  const isTurned = axis.tickangle === -90;
  const longest = Math.max(...axis.ticktext.map((text) => text.length));
  const step = Math.ceil((axis.tickvals.length * (isTurned ? 14 : longest * 7 + 8)) / px);
  if (step <= 1) return;
  if (!isTurned && longest > 4) { axis.tickangle = -90; return thin(axis, px); }
  axis.tickvals = axis.tickvals.filter((_, place) => place % step === 0);
  axis.ticktext = axis.ticktext.filter((_, place) => place % step === 0);
}
