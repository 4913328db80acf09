// Elements without innerHTML: text stays text, whoever wrote it.

/** An element. Attributes: `class`, `on…` listeners, anything else; null and false leave one out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A table from rows of text or nodes; the first row is the head, the first column names its row. */
export function table(caption, head, rows, attributes = {}) {
  const body = rows.map((row) =>
    el("tr", {}, row.map((cell, column) => (column === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell)))));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, el("table", attributes,
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, body)));
}

/** A list of names and what they stand for. */
export function facts(pairs) {
  return el("dl", { class: "facts" },
    pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value))]));
}

/** A part of a view, with its heading, on a card of its own. */
export function section(title, ...content) {
  return el("section", { class: "card", "aria-label": title }, el("h2", {}, title), content);
}

/** A labelled control; the note below it is read out with it. */
export function field(label, control, note = null, attributes = {}) {
  const id = control.id || (control.id = `f${(field.count = (field.count || 0) + 1)}`);
  const hint = note ? el("small", { id: `${id}-note` }, note) : null;
  if (hint) control.setAttribute("aria-describedby", hint.id);
  return el("div", { class: "field", ...attributes }, el("label", { for: id }, label), control, hint);
}

/** Say what is wrong with a control, beside it; with an empty message that nothing is. */
export function setFault(control, message) {
  const place = control.closest(".field");
  let fault = place?.querySelector(".fault");
  if (!place || (!message && !fault)) return;
  if (!fault) place.append(fault = el("small", { class: "fault", id: `${control.id}-fault` }));
  fault.textContent = message;
  fault.hidden = !message;
  message ? control.setAttribute("aria-invalid", "true") : control.removeAttribute("aria-invalid");
  message ? control.setAttribute("aria-errormessage", fault.id) : control.removeAttribute("aria-errormessage");
}

/** A drop-down list of [value, text] pairs or plain values. */
export function choice(options, value, attributes = {}) {
  const select = el("select", attributes, options.map((option) => {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    return el("option", { value: key }, text);
  }));
  select.value = value;
  return select;
}

/** Code with a button that copies it, or selects it where the browser keeps its clipboard (a plain http address). */
export function code(title, text) {
  const shown = el("code", {}, text);
  const button = el("button", { type: "button", class: "small", "aria-label": `Copy ${title}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } }, "Copy");
  return el("figure", { class: "code" }, el("figcaption", {}, title, button), el("pre", { tabindex: "0" }, shown));
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const isSmall = value !== 0 && Math.abs(value) < 1e-4;
  const text = isSmall ? value.toExponential(digits - 2) : String(Number.isInteger(value) ? value : Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time).getTime()) / 1000);
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

export function duration(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 1.5 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${number(seconds, 2)} s`;
}

export function bytes(count) {
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= size) return `${number(count / size, 3)} ${unit}`;
  }
  return `${count} bytes`;
}
