"use strict";
// The page of `birnn serve`. What comes from the server is put in as text, never as HTML. Places in
// texts are counted in Unicode characters, as Python does.

const $ = (id) => document.getElementById(id);
const number = (value) => value.toFixed(2);

let pipeline = null;
// What is shown: `base` is the analysis of the whole text, `shown` the one with hidden words if
// there are any. `threshold` is null where the entities are those that the pipeline itself has set.
// `chosen` is the place of a word or an entity in the whole text, `focus` the word that the Tab key
// comes to, and `ents` has the entity of each word
const page = { base: null, shown: null, threshold: null, chosen: null, focus: 0, ents: [] };
let request = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function ask(path, body, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  }).catch((error) => (signal.aborted ? Promise.reject(error) : null));
  if (!response) throw new Error("The service does not answer. Is it still running?");
  // A proxy before the service answers in HTML
  const other = () => ({ detail: `The service can't be reached (HTTP status ${response.status}).` });
  const answer = await response.json().catch(other);
  if (!response.ok) throw new Error(answer.detail);
  // Characters, where a JavaScript string has UTF-16 units
  if (answer.text !== undefined) answer.characters = Array.from(answer.text);
  return answer;
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
const slice = (doc, start, end) => doc.characters.slice(start, end).join("");

// --- What to show ---

// Whether it has come about
async function load(work) {
  request?.abort();
  const mine = (request = new AbortController());
  $("status").textContent = "Reading…";
  $("problem").hidden = true;
  try {
    await work(mine.signal);
    $("status").textContent = "";
  } catch (error) {
    // Another request has taken its place
    if (mine.signal.aborted) return true;
    $("status").textContent = "";
    tell(error.message);
    return false;
  }
  show();
  return true;
}

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = false;
}

function analyze() {
  const text = $("text").value;
  return load(async (signal) => {
    const [n, most] = [Array.from(text).length, pipeline.limits.max_chars];
    if (n > most) throw new Error(`The text has ${n} characters; the service takes ${most}.`);
    const found = await ask("api/inspect", { text }, signal);
    Object.assign(page, { base: found, shown: found, chosen: null, focus: 0 });
    for (const id of ["left", "right"]) $(id).ariaPressed = "false";
  });
}

const hides = (id) => $(id).ariaPressed === "true";

// The part of the whole text that the pipeline may see
function seen() {
  const { base, chosen } = page;
  return [hides("left") ? chosen.start : 0, hides("right") ? chosen.end : base.characters.length];
}

function hideContext() {
  return load(async (signal) => {
    if (!hides("left") && !hides("right")) {
      page.shown = page.base;
      return;
    }
    const visible = seen();
    page.shown = await ask("api/inspect", { text: page.base.text, visible }, signal);
    page.shown.from = visible[0];
  });
}

// The entities of a document under the threshold. As `birnn_ner` chooses: of the candidates, which
// are in order, those with enough confidence; of those that overlap the first. What another
// component has set stands
function entitiesOf(doc, threshold) {
  if (threshold === null || !doc.candidates) return doc.ents ?? [];
  const apart = (one) => (other) => one.end <= other.start || other.end <= one.start;
  const given = doc.candidates.filter((candidate) => candidate.given);
  const chosen = [];
  for (const candidate of doc.candidates) {
    const enough = !candidate.given && candidate.confidence >= threshold;
    if (enough && chosen.every(apart(candidate))) chosen.push(candidate);
  }
  const own = chosen.filter((candidate) => given.every(apart(candidate)));
  return [...given, ...own].sort((a, b) => a.start - b.start);
}

// Where a place of the whole text stands in a document with hidden words
function moved(doc, place) {
  if (!doc.visible) return place;
  const [start, end] = doc.visible;
  const first = page.base.tokens.find((token) => token.end > doc.from);
  const by = start - (first?.start ?? 0);
  const found = { ...place, start: place.start + by, end: place.end + by };
  return found.start >= start && found.end <= end ? found : null;
}

// --- How to show it ---

function show() {
  const { base, shown } = page;
  $("result").hidden = false;
  $("threshold-row").hidden = !base.candidates;
  showThreshold();
  showWords();
  showCategories();
  showStates();
}

function showThreshold() {
  const own = page.threshold === null;
  const value = own ? pipeline.threshold : page.threshold;
  const text = value === null ? "the pipeline’s" : number(value);
  if (own) $("threshold").value = value ?? 0.5;
  $("threshold-value").textContent = text;
  $("threshold").ariaValueText = text;
  $("own").disabled = own;
}

function showWords() {
  const { shown } = page;
  const hadFocus = $("words").contains(document.activeElement);
  const ents = entitiesOf(shown, page.threshold);
  const parts = [];
  let [at, next, mark] = [0, 0, null];
  page.focus = Math.max(0, Math.min(page.focus, shown.tokens.length - 1));
  page.ents = shown.tokens.map((token, i) => {
    while (next < ents.length && ents[next].end <= token.start) next++;
    const ent = next < ents.length && ents[next].start < token.end ? ents[next] : null;
    const space = slice(shown, at, token.start);
    at = token.end;
    const word = wordOf(token, i);
    if (ent && ent === mark?.ent) mark.element.lastChild.before(space, word);
    else {
      mark = ent && { ent, element: markOf(ent, word) };
      parts.push(space, mark ? mark.element : word);
    }
    return ent;
  });
  parts.push(slice(shown, at));
  $("words").replaceChildren(...parts);
  hideTip();
  if (hadFocus) focusWord(page.focus);
  showChosen();
}

function markOf(ent, word) {
  const name = ent.confidence === null ? ent.label : `${ent.label} ${number(ent.confidence)}`;
  const mark = element("mark", { className: "entity", role: "group", ariaLabel: name });
  mark.append(word, element("span", { className: "name" }, name));
  paint(mark, pipeline.colors[ent.label]);
  return mark;
}

function wordOf(token, i) {
  const { base, shown } = page;
  const [start, end] = shown.visible ?? [0, Infinity];
  const isHidden = token.start < start || token.end > end;
  const [doc, own] = isHidden && sameWords() ? [base, base.tokens[i]] : [shown, token];
  const text = slice(doc, own.start, own.end);
  const word = element("span", { className: "token", role: "option" }, text);
  word.tabIndex = i === page.focus ? 0 : -1;
  word.dataset.place = i;
  if (isHidden) {
    word.classList.add("unseen");
    word.ariaLabel = `${text}, hidden`;
  }
  const chosen = page.chosen && moved(shown, page.chosen);
  word.ariaSelected = String(Boolean(chosen && token.start >= chosen.start && token.end <= chosen.end));
  return word;
}

// Whether the words of what is shown are those of the whole text: components may merge some
const sameWords = () => page.base.tokens.length === page.shown.tokens.length;

function paint(mark, color) {
  if (!color) return;
  mark.style.background = color;
  // Black on what is light, white on what is dark
  const [r, g, b] = rgb(color);
  mark.classList.toggle("light-ink", 0.2126 * r + 0.7152 * g + 0.0722 * b < 110);
}

// A colour as three numbers from 0 to 255, whichever way it is written
function rgb(color) {
  const context = element("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return Array.from(context.getImageData(0, 0, 1, 1).data.slice(0, 3));
}

function focusWord(i) {
  const words = $("words").querySelectorAll(".token");
  words[Math.max(0, Math.min(i, words.length - 1))]?.focus();
}

function choose(i) {
  const { base, shown, chosen } = page;
  if (!sameWords()) return;
  const ent = page.ents[i];
  const own = ent ? base.tokens.filter((_, j) => page.ents[j] === ent) : [base.tokens[i]];
  const [start, end] = [own[0].start, own[own.length - 1].end];
  const isChosen = chosen && chosen.start === start && chosen.end === end;
  page.chosen = isChosen ? null : { start, end, label: ent?.label };
  page.focus = i;
  if (isChosen) for (const id of ["left", "right"]) $(id).ariaPressed = "false";
  if (shown === base) showWords();
  else hideContext();
}

function showChosen() {
  const { base, shown, chosen } = page;
  for (const id of ["left", "right"]) $(id).disabled = !chosen;
  const text = chosen && slice(base, chosen.start, chosen.end);
  $("chosen").textContent = chosen ? `of “${text}”` : "Choose a word or an entity first.";
  $("comparison").textContent = shown === base ? "" : comparison(text);
}

function comparison(text) {
  const { base, shown, chosen } = page;
  const there = moved(shown, chosen);
  if (chosen.label && base.candidates) {
    const value = (doc, place) => {
      const isIt = (c) => c.start === place?.start && c.end === place.end && c.label === place.label;
      const found = doc.candidates.find(isIt);
      return found ? (found.confidence ?? 1).toFixed(3) : "below 0.01";
    };
    return `“${text}” as ${chosen.label}: confidence ${value(base, chosen)} in the whole text, ${value(shown, there)} without the hidden words.`;
  }
  const read = (doc, place) => {
    const token = doc.tokens.find((t) => place && t.start === place.start && t.end === place.end);
    return token ? [token.tag, token.pos, token.morph, token.lemma].filter(Boolean).join(", ") : "";
  };
  const [before, after] = [read(base, chosen), read(shown, there)];
  if (!before && !after) return "";
  return before === after ? `“${text}” stays ${before}.` : `“${text}”: ${before} in the whole text, ${after} without the hidden words.`;
}

function showTip(word, token) {
  const facts = [
    ["Lemma", token.lemma],
    ["Tag", token.tag],
    ["Part of speech", token.pos],
    ...(token.morph ? token.morph.split("|").map((feature) => feature.split("=")) : []),
  ].filter(([, value]) => value);
  if (!facts.length) return;
  const list = element("dl");
  for (const [name, value] of facts) {
    const meaning = ["Tag", "Part of speech"].includes(name) ? pipeline.glossary[value] : null;
    list.append(element("dt", {}, name), element("dd", {}, meaning ? `${value} (${meaning})` : value));
  }
  const tip = $("tip");
  tip.replaceChildren(list);
  tip.hidden = false;
  const at = word.getClientRects()[0];
  const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(at.left, most)) + scrollX}px`;
  tip.style.top = `${word.getBoundingClientRect().bottom + scrollY + 8}px`;
  word.setAttribute("aria-describedby", "tip");
}

function hideTip() {
  $("tip").hidden = true;
}

function showCategories() {
  const { base, shown } = page;
  const cats = Object.entries(shown.cats ?? {});
  $("categories-part").hidden = !cats.length;
  const rows = cats.flatMap(([label, value]) => {
    const fill = element("div");
    fill.style.width = `${100 * value}%`;
    const before = shown === base ? "" : ` (was ${number(base.cats[label])})`;
    return [
      element("span", {}, label),
      element("div", { className: "bar", ariaHidden: "true" }, fill),
      element("span", { className: "number" }, `${number(value)}${before}`),
    ];
  });
  $("categories").replaceChildren(...rows);
  $("attention").replaceChildren(...shown.attention.flatMap(attentionOf));
}

function attentionOf({ component, words, weights }) {
  const most = largest(weights);
  const items = words.map((word, i) => {
    const bar = element("div", { ariaHidden: "true" });
    bar.style.height = `${weights[i] / most}rem`;
    // White space has a line, too
    const parts = [element("span", {}, word.trim() || "\u00a0"), element("small", {}, number(weights[i]))];
    return element("li", {}, element("div", { className: "above" }, bar), ...parts);
  });
  return [
    element("h3", {}, `Attention of ${component}: how much each word counted`),
    element("ul", { className: "weights" }, ...items),
  ];
}

// --- The states ---

let statesRequest = null;

async function showStates() {
  const { shown } = page;
  $("states-part").hidden = !pipeline.encoders.length;
  if (!$("states-part").open || !shown || !pipeline.encoders.length) return;
  statesRequest?.abort();
  const mine = (statesRequest = new AbortController());
  $("states-note").textContent = "Reading…";
  $("states").replaceChildren();
  const asked = { text: page.base.text, component: $("component").value };
  if (shown !== page.base) asked.visible = seen();
  try {
    drawStates(await ask("api/states", asked, mine.signal));
  } catch (error) {
    if (!mine.signal.aborted) $("states-note").textContent = error.message;
  }
}

const TITLES = {
  forward: "Forward: read from left to right",
  backward: "Backward: read from right to left",
};

function drawStates({ words, directions }) {
  const most = largest(directions.flatMap(({ states }) => states.flat()));
  $("states-note").replaceChildren(
    "A row is a word, and a column a unit of the state after it: from ",
    `${number(-most)} `,
    element("span", { className: "scale", ariaHidden: "true" }),
    ` ${number(most)}. The norm is the state’s length, the change its distance from the one before in reading.`,
  );
  const style = getComputedStyle(document.documentElement);
  const colors = ["--low", "--panel", "--high"].map((name) => rgb(style.getPropertyValue(name).trim()));
  $("states").replaceChildren(...directions.map((direction) => tableOf(words, direction, most, colors)));
}

function tableOf(words, { direction, states, norms, changes }, most, colors) {
  const head = element("tr", {}, ...["Word", "State", "Norm", "Change"].map((name, i) =>
    element("th", { scope: "col", className: i > 1 ? "number" : "" }, name)));
  const rows = words.map((word, i) => element("tr", {},
    element("th", { scope: "row", title: word }, word),
    element("td", { className: "heat" }, heatOf(states[i], most, colors)),
    element("td", { className: "number" }, number(norms[i])),
    element("td", { className: "number" }, number(changes[i])),
  ));
  return element("table", {}, element("caption", {}, TITLES[direction]),
    element("thead", {}, head), element("tbody", {}, ...rows));
}

function heatOf(state, most, [low, middle, high]) {
  const canvas = element("canvas", { width: state.length, height: 1, ariaHidden: "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(state.length, 1);
  state.forEach((value, i) => {
    const end = value < 0 ? low : high;
    const share = Math.abs(value) / most;
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = middle[c] + (end[c] - middle[c]) * share;
    pixels.data[4 * i + 3] = 255;
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// --- What the user does ---

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  analyze();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    analyze();
  }
});
$("threshold").addEventListener("input", () => {
  page.threshold = Number($("threshold").value);
  showThreshold();
  showWords();
});
$("own").addEventListener("click", () => {
  page.threshold = null;
  $("threshold").focus();
  showThreshold();
  showWords();
});
for (const id of ["left", "right"]) {
  $(id).addEventListener("click", async () => {
    const before = $(id).ariaPressed;
    $(id).ariaPressed = String(!hides(id));
    if (!(await hideContext())) $(id).ariaPressed = before;
  });
}
const placeOf = (event) => event.target.closest(".token")?.dataset.place;
for (const name of ["pointerover", "focusin"]) {
  $("words").addEventListener(name, (event) => {
    if (placeOf(event)) showTip(event.target.closest(".token"), page.shown.tokens[placeOf(event)]);
  });
}
for (const name of ["pointerout", "focusout"]) $("words").addEventListener(name, hideTip);
$("words").addEventListener("focusin", (event) => {
  if (!placeOf(event)) return;
  const words = $("words").querySelectorAll(".token");
  words[page.focus].tabIndex = -1;
  page.focus = Number(placeOf(event));
  words[page.focus].tabIndex = 0;
});
$("words").addEventListener("click", (event) => {
  if (placeOf(event)) choose(Number(placeOf(event)));
});
$("words").addEventListener("keydown", (event) => {
  const forward = pipeline.direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const backward = pipeline.direction === "rtl" ? "ArrowRight" : "ArrowLeft";
  const steps = { [forward]: 1, ArrowDown: 1, [backward]: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  if (event.key in steps) focusWord(page.focus + steps[event.key]);
  else if (event.key === "Enter" || event.key === " ") document.activeElement.click();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
$("states-part").addEventListener("toggle", showStates);
$("component").addEventListener("change", showStates);
// The colours of the states are drawn, so they have to be drawn again
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showStates);

async function start() {
  pipeline = await (await fetch("api/pipeline")).json();
  document.title = `${pipeline.name} – spacy-birnn`;
  $("name").textContent = pipeline.name;
  $("components").textContent = pipeline.components.map(({ name }) => name).join(" · ");
  $("words").dir = pipeline.direction;
  $("component").replaceChildren(...pipeline.encoders.map((name) => element("option", {}, name)));
  if ($("text").value) analyze();
}

start().catch((error) => tell(`The page could not be set up: ${error.message}`));
