"use strict";
// The page's own part: what is shown of which frame. Drawing in 3D is k3d's (three.js inside).

const byId = (id) => document.getElementById(id);
const hexToNumber = (hex) => parseInt(hex.slice(1), 16);

async function unpack(id) {
  const packed = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const unpackText = async (id) => new TextDecoder().decode(await unpack(id));

async function loadLibrary() {
  let library;
  const define = (name, dependencies, make) => { library = make(); };
  new Function("define", await unpackText("library"))(define);
  return library;
}

let page, library;
const clouds = new Map();
const panes = [];
const state = {
  frame: 0, score: 0, overlap: "strict", view: "orbit", pointColour: "height",
  boxColour: "outcome", hidden: new Set(), selected: null, list: [],
};

const scene = () => page.scenes[state.frame];

// ---------------------------------------------------------------- what became of each box

const sameClass = (box, other) => box.name.toLowerCase() === other.name.toLowerCase();

/** By index of an object, the best score of a detection that found it. */
function foundScores(boxes) {
  const best = new Map();
  for (const box of boxes) {
    if (box.truth) continue;
    const partner = box.partner[state.overlap];
    if (partner < 0 || !sameClass(boxes[partner], box)) continue;
    best.set(partner, Math.max(best.get(partner) ?? 0, box.score));
  }
  return best;
}

/** Of each box of a pane: found, missed, hit, false positive, ignored, or detection (no labels). */
function outcomes(pane) {
  const scores = foundScores(pane.boxes);
  return pane.boxes.map((box, k) => {
    if (box.truth) {
      if (!box.known) return "ignored";
      return !pane.detections || (scores.get(k) ?? -1) >= state.score ? "found" : "missed";
    }
    if (!pane.labels) return "detection";
    const partner = pane.boxes[box.partner[state.overlap]];
    if (!partner) return "false positive";
    return sameClass(partner, box) ? "hit" : "ignored";
  });
}

// What a class is hidden by: it may be called as an outcome is.
const keyOfClass = (name) => `class ${name}`;
const OTHERS = "other classes";
const groupOf = (box) => keyOfClass(page.classes.includes(box.name) ? box.name : OTHERS);
const aboveScore = (box) => box.truth || box.score >= state.score;

function shownBoxes(pane) {
  return outcomes(pane).map((outcome, k) => ({ outcome, k, box: pane.boxes[k] })).filter(
    ({ outcome, box }) =>
      aboveScore(box) && !state.hidden.has(outcome) && !state.hidden.has(groupOf(box)));
}

const classColour = (index) => page.colours.classes[index % page.colours.classes.length];

function colourOf({ outcome, box }) {
  const index = page.classes.indexOf(box.name);
  if (state.boxColour === "outcome" || index < 0) return page.colours[outcome];
  return classColour(index);
}

function describe(pane, { outcome, box }) {
  const kind = box.truth ? (pane.detections ? `labelled, ${outcome}` : "labelled") : outcome;
  const size = box.size.map((side) => side.toFixed(2)).join(" × ");
  const lines = [
    `${box.name}${box.truth ? "" : "  score " + box.score.toFixed(2)}  (${kind})`,
    `${box.points} points, ${box.distance.toFixed(1)} m away`,
    `${size} m (length × width × height)`,
  ];
  if (pane.detections && pane.labels) {
    lines.push(`best 3D IoU with a ${box.truth ? "detection" : "label"}: ${box.iou.toFixed(2)}`);
  }
  return lines.join("\n");
}

// ---------------------------------------------------------------- the list

const LONGEST_LIST = 500;
const judged = (pane) => pane.labels && pane.detections;
const LISTS = {
  "misses, most points first": {
    outcome: "missed", of: judged, key: (box) => -box.points, told: (box) => `${box.points} points`,
  },
  "false positives, best score first": {
    outcome: "false positive", of: judged, key: (box) => -box.score, told: (box) => box.score.toFixed(2),
  },
  "hits, least overlap first": {
    outcome: "hit", of: judged, key: (box) => box.iou, told: (box) => `IoU ${box.iou.toFixed(2)}`,
  },
  "labelled objects, nearest first": {
    outcome: "found", of: (pane) => !pane.detections, key: (box) => box.distance,
    told: (box) => `${box.distance.toFixed(1)} m`,
  },
  "detections, best score first": {
    outcome: "detection", of: (pane) => !pane.labels, key: (box) => -box.score,
    told: (box) => box.score.toFixed(2),
  },
};

/** Of two results also what one found and the other missed. */
function addListKinds() {
  const all = page.scenes.flatMap((one) => one.panes);
  for (const [kind, { of }] of Object.entries(LISTS)) {
    if (all.some(of)) byId("list-kind").append(new Option(kind));
  }
  const titles = page.scenes[0].panes.filter(judged).map((pane) => pane.title);
  if (titles.length < 2) return;
  for (const [found, missed] of [[0, 1], [1, 0]]) {
    const option = new Option(`found by ${titles[found]}, missed by ${titles[missed]}`);
    option.dataset.found = found;
    byId("list-kind").append(option);
  }
}

/** All entries of the chosen list: which box of which pane of which frame, best first. */
function listEntries() {
  const chosen = byId("list-kind").selectedOptions[0];
  const finder = chosen.dataset.found; // the pane that found what the other missed
  const { outcome, key, told } = LISTS[chosen.value] ?? LISTS["misses, most points first"];
  const entries = [];
  page.scenes.forEach((one, frame) => {
    const outcomesOf = one.panes.map(outcomes);
    one.panes.forEach((pane, index) => {
      if (finder === String(index)) return;
      pane.boxes.forEach((box, k) => {
        if (outcomesOf[index][k] !== outcome || !aboveScore(box)) return;
        if (finder !== undefined && outcomesOf[finder][k] !== "found") return;
        if (state.hidden.has(groupOf(box))) return;
        entries.push({ frame, pane: index, k, box, order: key(box), told: told(box) });
      });
    });
  });
  return entries.sort((a, b) => a.order - b.order);
}

function updateList() {
  const entries = listEntries();
  state.list = entries.slice(0, LONGEST_LIST);
  const comparing = byId("list-kind").selectedOptions[0].dataset.found !== undefined;
  byId("list").replaceChildren(...state.list.map((entry) => {
    const item = document.createElement("li");
    const { name, panes: of } = page.scenes[entry.frame];
    const where = of.length > 1 && !comparing ? `, ${["left", "right"][entry.pane]}` : "";
    for (const text of [`${entry.box.name}, ${name}${where}`, entry.told]) {
      const part = document.createElement("span");
      part.textContent = text;
      item.append(part);
    }
    item.addEventListener("click", () => select(entry, true));
    return item;
  }));
  if (entries.length > LONGEST_LIST) {
    byId("list").append(`the first ${LONGEST_LIST} of ${entries.length}`);
  }
  markSelected();
}

function markSelected() {
  [...byId("list").children].forEach((item, k) => {
    const on = state.list[k].frame === state.frame && isSelected(state.list[k].pane, state.list[k].k);
    item.classList.toggle("on", Boolean(on));
    if (on) item.scrollIntoView({ block: "nearest" });
  });
}

async function select({ frame, pane, k }, focus) {
  state.selected = { pane, k };
  if (frame === state.frame) await update(false);
  else await goTo(frame);
  const box = scene().panes[pane]?.boxes[k];
  if (focus && box) focusOn(box);
  markSelected();
}
