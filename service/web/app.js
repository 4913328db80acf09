// The page: which view is shown, the API key, and the theme.
import { key } from "./api.js";
import { el } from "./dom.js";
import { showCompare } from "./compare.js";
import { showExperiment } from "./experiment.js";
import { repaint } from "./figure.js";
import { showJob } from "./job.js";
import { showJobs } from "./jobs.js";
import { problemBox } from "./problem.js";

const main = document.getElementById("main");
let leaving = new AbortController();

function route() {
  const [path, query] = (location.hash.slice(1) || "/jobs").split("?");
  const [view, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { view: view || "jobs", rest, query: new URLSearchParams(query) };
}

let shownView = "";

async function show(isFirst = false) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { view, rest, query } = route();
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  const address = [view, ...rest].join("/");
  if (address !== shownView && !isFirst) scrollTo(0, 0);
  shownView = address;
  try {
    if (view === "jobs" && rest[0]) await showJob(main, { id: rest[0], signal });
    else if (view === "new") await showExperiment(main, { signal, query });
    else if (view === "compare") await showCompare(main, { ids: rest, signal });
    else await showJobs(main, { signal, query });
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(el("h1", { tabindex: "-1" }, "This could not be shown"), problemBox(error),
      el("p", {}, el("button", { type: "button", onclick: () => show() }, "Try again")));
  }
  if (signal.aborted) return;
  main.removeAttribute("aria-busy");
  const title = main.querySelector("h1");
  document.title = `${title?.textContent || "pathpatch"} · pathpatch`;
  if (!isFirst) title?.focus();
}

const keyField = document.getElementById("key");
const keyState = document.getElementById("key-state");
const keyPanel = document.getElementById("key-panel");

const KEY_STATES = {
  none: ["API key", "No key in use."], unknown: ["API key", "The key was not tried yet."],
  accepted: ["API key ✓", "The service takes this key."], refused: ["API key ✕", "The service refused this key."],
};

function describeKey(state, said = "") {
  const [title, words] = KEY_STATES[state];
  keyPanel.querySelector("summary").textContent = title;
  keyState.textContent = said || words;
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(keyField.value.trim());
  keyField.value = "";
  describeKey(key.get() ? "unknown" : "none");
  keyPanel.open = false;
  show();
});
document.addEventListener("key-needed", (event) => {
  keyPanel.open = true;
  describeKey(...(key.get() ? ["refused", event.detail] : ["none", "This service asks for an API key."]));
});
document.addEventListener("key-accepted", () => describeKey("accepted"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && keyPanel.open) { keyPanel.open = false; keyPanel.querySelector("summary").focus(); }
});

const theme = document.getElementById("theme");
function applyTheme() {
  document.documentElement.dataset.theme = theme.value;
  repaint();
}
theme.value = localStorage.getItem("pathpatch-theme") || "auto";
theme.addEventListener("change", () => { localStorage.setItem("pathpatch-theme", theme.value); applyTheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  main.focus();
});

applyTheme();
describeKey(key.get() ? "unknown" : "none");
addEventListener("hashchange", () => show());
show(true);
