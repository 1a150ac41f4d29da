"use strict";
// The pointer, the camera's image, the controls, and the start of it all.

// ---------------------------------------------------------------- the pointer

/** Of shown boxes whose outline on the screen holds the pointer, the smallest. */
function pick(shown, project, x, y) {
  let best = null, smallest = Infinity;
  for (const one of shown) {
    const corners = [];
    for (let k = 0; k < 24; k += 3) corners.push(project(one.box.corners.slice(k, k + 3)));
    if (corners.some((corner) => !corner)) continue;
    const xs = corners.map((c) => c[0]), ys = corners.map((c) => c[1]);
    const [left, right, top, bottom] =
      [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const area = (right - left) * (bottom - top);
    const inside = x > left - 3 && x < right + 3 && y > top - 3 && y < bottom + 3;
    if (inside && area < smallest) [best, smallest] = [one, area];
  }
  return best;
}

function paneProjection(pane) {
  const { camera } = pane.k3d.getWorld();
  const { clientWidth, clientHeight } = pane.element;
  return (corner) => {
    const point = camera.position.clone().set(...corner).project(camera);
    if (point.z > 1 || point.z < -1) return null;
    return [((point.x + 1) / 2) * clientWidth, ((1 - point.y) / 2) * clientHeight];
  };
}

function imageProjection(scale) {
  const p = scene().camera.projection;
  return ([x, y, z]) => {
    const [u, v, depth] = [0, 4, 8].map((k) => p[k] * x + p[k + 1] * y + p[k + 2] * z + p[k + 3]);
    return depth > 0.1 ? [(scale * u) / depth, (scale * v) / depth] : null;
  };
}

function underPointer(element, paneIndex, project, event) {
  const area = element.getBoundingClientRect();
  const content = scene().panes[paneIndex];
  return pick(shownBoxes(content), project, event.clientX - area.left, event.clientY - area.top);
}

function showTooltip(paneIndex, one, event) {
  const tooltip = byId("tooltip");
  tooltip.hidden = !one;
  if (!one) return;
  tooltip.textContent = describe(scene().panes[paneIndex], one);
  const { clientX: x, clientY: y } = event;
  tooltip.style.left = `${Math.min(x + 16, innerWidth - tooltip.offsetWidth - 8)}px`;
  tooltip.style.top = `${Math.min(y + 16, innerHeight - tooltip.offsetHeight - 8)}px`;
}

function hover(pane, event) {
  if (event.buttons) return;
  showTooltip(pane.index, underPointer(pane.element, pane.index, paneProjection(pane), event), event);
}

function pickInPane(pane, event) {
  const one = underPointer(pane.element, pane.index, paneProjection(pane), event);
  if (one) select({ frame: state.frame, pane: pane.index, k: one.k }, false);
}

// ---------------------------------------------------------------- the camera's image

let picture = null;

async function loadImage() {
  const { camera } = scene();
  byId("camera").hidden = !camera;
  picture = null;
  if (!camera) return;
  const image = new Image();
  image.src = byId(`image-${state.frame}`).textContent;
  await image.decode();
  picture = image;
}

const imageScale = () => byId("image").width / scene().camera.shape[1];

function drawImage() {
  if (!picture) return;
  const canvas = byId("image"), context = canvas.getContext("2d");
  const [height, width] = scene().camera.shape;
  const scale = Math.min(byId("camera").clientWidth / width, (0.34 * innerHeight) / height);
  [canvas.width, canvas.height] = [Math.round(scale * width), Math.round(scale * height)];
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const project = imageProjection(imageScale());
  for (const one of shownBoxes(scene().panes[scene().panes.length - 1])) {
    const corners = [];
    for (let k = 0; k < 24; k += 3) corners.push(project(one.box.corners.slice(k, k + 3)));
    const selected = isSelected(scene().panes.length - 1, one.k);
    context.strokeStyle = selected ? "#ffffff" : colourOf(one);
    context.lineWidth = selected ? 3 : 1.5;
    context.beginPath();
    for (const [a, b] of page.edges) {
      if (!corners[a] || !corners[b]) continue;
      context.moveTo(...corners[a]);
      context.lineTo(...corners[b]);
    }
    context.stroke();
  }
}

// ---------------------------------------------------------------- the rest of the page

const others = [];  // the chip of other classes, where there are some

function updateLegend() {
  const pane = scene().panes[scene().panes.length - 1];
  const now = outcomes(pane).filter((_, k) => aboveScore(pane.boxes[k]));
  const kinds = !pane.labels ? ["detection"] : pane.detections
    ? ["found", "hit", "missed", "false positive", "ignored"] : ["found", "ignored"];
  const names = { found: pane.detections ? "label, found" : "label", hit: "detection, hit",
    missed: "label, missed", ignored: "not counted" };
  byId("legend").replaceChildren(...kinds.map((kind) => {
    const count = now.filter((outcome) => outcome === kind).length;
    const colour = state.boxColour === "outcome" ? page.colours[kind] : "#666";
    return chip(kind, `${names[kind] ?? kind} ${count}`, colour, false);
  }));
  byId("classes").replaceChildren(...[...page.classes, ...others].map((name, k) => {
    const ofClass = k < page.classes.length ? classColour(k) : page.colours.ignored;
    return chip(keyOfClass(name), name, state.boxColour === "class" ? ofClass : "#666", true);
  }));
}

function chip(key, text, colour, filled) {
  const button = document.createElement("button");
  button.className = `chip${filled ? " filled" : ""}${state.hidden.has(key) ? " off" : ""}`;
  button.dataset.key = key;
  button.style.setProperty("--colour", colour);
  button.append(document.createElement("i"), text);
  button.title = "show or hide";
  button.addEventListener("click", () => {
    if (!state.hidden.delete(key)) state.hidden.add(key);
    update(false);
    updateList();
  });
  return button;
}

let queue = Promise.resolve();
let wantedFrame = 0;
const tickets = {};

/** Do works one after the other, whatever becomes of one; of one kind only the last asked for. */
function inTurn(kind, work) {
  const ticket = (tickets[kind] = (tickets[kind] ?? 0) + 1);
  const done = queue.then(() => (ticket === tickets[kind] ? work() : undefined));
  queue = done.catch((error) => {
    byId("frame-name").textContent = `${scene().name} cannot be drawn: ${error.message}`;
  });
  return done;
}

const update = (withPoints) => inTurn(withPoints ? "all" : "boxes", () => drawAll(withPoints));

function goTo(frame) {
  wantedFrame = Math.min(Math.max(frame, 0), page.scenes.length - 1);
  return inTurn("frame", () => showFrame(wantedFrame));
}

async function drawAll(withPoints) {
  byId("score-value").textContent = state.score.toFixed(2);
  updateLegend();
  for (const pane of panes) await drawPane(pane, withPoints);
  drawImage();
}

async function showFrame(frame) {
  state.frame = frame;
  byId("frame").value = state.frame;
  byId("frame-name").textContent = `${scene().name} (${state.frame + 1} of ${page.scenes.length})`;
  await loadImage();
  await drawAll(true);
  await applyView();
  markSelected();
  document.body.dataset.shown = scene().name;
}

function setScore(score) {
  state.score = Math.min(1, Math.max(0, Math.round(100 * score) / 100));
  byId("score").value = state.score;
  update(false);
  updateList();
}

function setView(view) {
  state.view = view;
  return inTurn("view", applyView);
}

function stepInList(step) {
  const now = state.list.findIndex(
    ({ frame, pane, k }) => frame === state.frame && isSelected(pane, k));
  const next = state.list[now < 0 ? 0 : Math.min(Math.max(now + step, 0), state.list.length - 1)];
  if (next) select(next, true);
}

const KEYS = {
  ArrowLeft: () => changeFrame(wantedFrame - 1),
  ArrowRight: () => changeFrame(wantedFrame + 1),
  ArrowUp: () => stepInList(-1),
  ArrowDown: () => stepInList(1),
  1: () => setView("orbit"),
  2: () => setView("top"),
  3: () => setView("camera"),
  "+": () => setScore(state.score + 0.05),
  "-": () => setScore(state.score - 0.05),
};

function changeFrame(frame) {
  state.selected = null;
  return goTo(frame);
}

function listen() {
  const on = (id, event, work) => byId(id).addEventListener(event, (e) => work(e.target.value));
  on("frame", "input", (value) => changeFrame(Number(value)));
  on("previous", "click", KEYS.ArrowLeft);
  on("next", "click", KEYS.ArrowRight);
  on("score", "input", (value) => setScore(Number(value)));
  on("overlap", "change", (value) => { state.overlap = value; update(false); updateList(); });
  on("point-colour", "change", (value) => { state.pointColour = value; update(true); });
  on("point-size", "input", () => update(true));
  on("box-colour", "change", (value) => { state.boxColour = value; update(false); });
  on("list-kind", "change", updateList);
  document.querySelectorAll("[data-view]").forEach((button) => {
    button.addEventListener("click", () => setView(button.dataset.view));
  });
  addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  addEventListener("resize", () => { panes.forEach((pane) => pane.k3d.resizeHelper()); drawImage(); });
  addEventListener("hashchange", followLink);
  const image = byId("image"), last = () => scene().panes.length - 1;
  const under = (event) => underPointer(image, last(), imageProjection(imageScale()), event);
  image.addEventListener("pointermove", (event) => showTooltip(last(), under(event), event));
  image.addEventListener("pointerleave", () => { byId("tooltip").hidden = true; });
  image.addEventListener("click", (event) => {
    const one = under(event);
    if (one) select({ frame: state.frame, pane: last(), k: one.k }, true);
  });
}

/** Such as #frame=000012&view=top&score=0.5, which a report links to. */
async function followLink() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("score")) state.score = Number(asked.get("score")) || 0;
  if (asked.has("view")) state.view = asked.get("view");
  const frame = page.scenes.findIndex(({ name }) => name === asked.get("frame"));
  byId("score").value = state.score;
  updateList();
  await changeFrame(Math.max(frame, 0));
}

/** What is shown, for tests and the curious: `viewer.state()` in the console. */
window.viewer = {
  panes,
  entries: () => state.list.map(({ frame, pane, k }) => ({ frame, pane, k })),
  state: () => ({
    frame: scene().name, score: state.score, view: state.view, listed: state.list.length,
    selected: state.selected, tooltip: byId("tooltip").hidden ? null : byId("tooltip").textContent,
    panes: scene().panes.map((pane) => {
      const counts = {};
      for (const { outcome } of shownBoxes(pane)) counts[outcome] = (counts[outcome] ?? 0) + 1;
      return { title: pane.title, boxes: shownBoxes(pane).length, ...counts };
    }),
    points: [...clouds.values()].map((cloud) => cloud.count), openedAfter: window.viewer.openedAfter,
  }),
};

async function open() {
  page = JSON.parse(await unpackText("index"));
  library = await loadLibrary();
  state.score = page.score;
  byId("frame").max = page.scenes.length - 1;
  const detections = page.scenes.some((one) => one.panes.some((pane) => pane.detections));
  byId("detection-controls").hidden = byId("score-keys").hidden = !detections;
  const boxes = page.scenes.flatMap((one) => one.panes.flatMap((pane) => pane.boxes));
  if (boxes.some((box) => !page.classes.includes(box.name))) others.push(OTHERS);
  const anyJudged = page.scenes.some((one) => one.panes.some(judged));
  byId("overlap").parentElement.hidden = !anyJudged;
  byId("box-colour").value = state.boxColour = anyJudged ? "outcome" : "class";
  addListKinds();
  const count = Math.max(...page.scenes.map((one) => one.panes.length));
  for (let k = 0; k < count; k++) panes.push(makePane(k));
  listen();
  await followLink();
  window.viewer.openedAfter = performance.now();
  document.body.dataset.ready = "yes";
}

open().catch((error) => {
  const told = document.createElement("p");
  told.className = "failure";
  told.textContent = `The scene cannot be drawn: ${error.message}. WebGL must be switched on in the browser.`;
  byId("panes").replaceChildren(told);
  document.body.dataset.ready = "failed";
  throw error;
});
