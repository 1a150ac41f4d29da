"use strict";
// Points and boxes in 3D, by k3d, and the views on them.

// ---------------------------------------------------------------- points

async function cloudOf(frame, cloud) {
  const key = `points-${frame}-${cloud}`;
  if (!clouds.has(key)) {
    const buffer = await unpack(key);
    const count = buffer.byteLength / 7;
    const steps = new Int16Array(buffer.slice(0, 6 * count));
    const positions = new Float32Array(3 * count);
    for (let axis = 0; axis < 3; axis++) {
      for (let k = 0; k < count; k++) positions[3 * k + axis] = page.step * steps[axis * count + k];
    }
    clouds.set(key, { positions, intensity: new Uint8Array(buffer, 6 * count), count });
    if (clouds.size > 12) clouds.delete(clouds.keys().next().value);
  }
  return clouds.get(key);
}

const RAMP = [[44, 62, 92], [92, 124, 160], [164, 186, 204], [232, 236, 240], [255, 255, 255]];
const MEASURES = {
  height: { range: [-2.5, 1.5], of: (cloud, k) => cloud.positions[3 * k + 2] },
  intensity: { range: [0, 160], of: (cloud, k) => cloud.intensity[k] },
  range: { range: [70, 0], of: (cloud, k) => Math.hypot(...cloud.positions.subarray(3 * k, 3 * k + 2)) },
};

function pointColours(cloud) {
  const { range: [low, high], of } = MEASURES[state.pointColour];
  const table = Array.from({ length: 256 }, (_, k) => {
    const at = (k / 255) * (RAMP.length - 1), first = Math.min(Math.floor(at), RAMP.length - 2);
    const mix = RAMP[first].map((v, c) => Math.round(v + (at - first) * (RAMP[first + 1][c] - v)));
    return (mix[0] << 16) | (mix[1] << 8) | mix[2];
  });
  return Uint32Array.from({ length: cloud.count }, (_, k) => {
    const share = (of(cloud, k) - low) / (high - low);
    return table[Math.round(255 * Math.min(1, Math.max(0, share)))];
  });
}

const typed = (data) => ({ data, shape: [data.length] });
const IDENTITY = typed(new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]));
const NO_POINTS = typed(new Float32Array());
const POINTS = 1, BOXES = 2, SELECTION = 3;

function pointsObject(cloud) {
  return {
    id: POINTS, type: "Points", shader: "dot", positions: typed(cloud.positions),
    colors: typed(pointColours(cloud)), color: 0xffffff, point_size: Number(byId("point-size").value),
    opacity: 1, opacities: NO_POINTS, point_sizes: NO_POINTS, attribute: NO_POINTS,
    color_map: NO_POINTS, color_range: [], opacity_function: NO_POINTS, model_matrix: IDENTITY,
  };
}

/** Edges of boxes, and a line from the middle of the bottom face that shows the front. */
function linesObject(id, shown, colour) {
  const vertices = [], colors = [], indices = [];
  for (const one of shown) {
    const start = vertices.length / 3, corners = one.box.corners;
    const value = hexToNumber(colour ?? colourOf(one));
    vertices.push(...corners);
    page.edges.forEach(([a, b]) => indices.push(start + a, start + b));
    for (let axis = 0; axis < 3; axis++) {
      vertices.push((corners[axis] + corners[6 + axis]) / 2);
    }
    const [a, b] = page.front;
    for (let axis = 0; axis < 3; axis++) {
      const middle = vertices[3 * (start + 8) + axis];
      vertices.push(middle + 0.8 * (corners[3 * a + axis] + corners[3 * b + axis] - 2 * middle));
    }
    indices.push(start + 8, start + 9);
    for (let k = 0; k < 10; k++) colors.push(value);
  }
  return {
    id, type: "Lines", shader: "thick", vertices: typed(new Float32Array(vertices)),
    indices: typed(new Uint32Array(indices)), indices_type: "segment", color: 0xffffff,
    colors: typed(new Uint32Array(colors)), width: 0.05, opacity: 1, attribute: NO_POINTS,
    color_map: NO_POINTS, color_range: [], model_matrix: IDENTITY, visible: indices.length > 0,
  };
}

// ---------------------------------------------------------------- panes

function makePane(index) {
  const element = document.createElement("div");
  element.className = "pane";
  element.innerHTML = '<div class="title"></div><div class="scene"></div>';
  byId("panes").append(element);
  const k3d = new library.K3D(library.ThreeJsProvider, element.querySelector(".scene"), {
    cameraMode: "orbit", cameraUpAxis: "z", cameraAutoFit: false, menuVisibility: false,
    gridVisible: false, gridAutoFit: false, grid: [-10, -40, -3, 80, 40, 3], axesHelper: 0,
    clearColor: 0x0d1117, colorbarObjectId: 0, antialias: 1, logarithmicDepthBuffer: false, renderOnChange: false,
  });
  const pane = { index, element, k3d, drawn: new Set(), following: false };
  k3d.on(k3d.events.CAMERA_CHANGE, (camera) => cameraMoved(pane, camera));
  element.addEventListener("pointermove", (event) => hover(pane, event));
  element.addEventListener("pointerleave", () => { byId("tooltip").hidden = true; });
  element.addEventListener("click", (event) => pickInPane(pane, event));
  return pane;
}

/** Keep lines about two pixels wide, and all panes in the same view. */
function cameraMoved(pane, camera) {
  setLineWidth(pane);
  if (pane.following) return;
  for (const other of panes) {
    if (other === pane) continue;
    other.following = true;
    other.k3d.setCamera(camera);
    other.following = false;
  }
}

function setLineWidth(pane) {
  const world = pane.k3d.getWorld();
  // k3d's width is in metres at the depth of the line, whatever the field of view.
  const pixel = world.camera.position.distanceTo(world.controls.target) / (world.height || 1);
  for (const [id, pixels] of [[BOXES, 2], [SELECTION, 4]]) {
    const lines = pane.drawn.has(id) && pane.k3d.getObjectById(id);
    if (lines && lines.material.uniforms) lines.material.uniforms.lineWidth.value = pixels * pixel;
  }
}

async function draw(pane, object) {
  if (object.visible === false) {
    if (pane.drawn.delete(object.id)) pane.k3d.removeObject(object.id);
    return;
  }
  if (pane.drawn.has(object.id)) await pane.k3d.reload(object, null, true);
  else await pane.k3d.load({ objects: [object] });
  pane.drawn.add(object.id);
}

async function drawPane(pane, withPoints) {
  const content = scene().panes[pane.index];
  pane.element.hidden = !content;
  if (!content) return;
  if (withPoints) await draw(pane, pointsObject(await cloudOf(state.frame, content.cloud)));
  const shown = shownBoxes(content);
  const selected = state.selected && shown.filter(({ k }) => isSelected(pane.index, k));
  await draw(pane, linesObject(BOXES, shown));
  await draw(pane, linesObject(SELECTION, selected ?? [], "#ffffff"));
  setLineWidth(pane);
  pane.k3d.render();
  const count = (outcome) => shown.filter((one) => one.outcome === outcome).length;
  const words = judged(content)
    ? `${count("found")} found, ${count("missed")} missed, ${count("false positive")} false positives`
    : `${count(content.labels ? "found" : "detection")} objects`;
  const title = document.createElement("b");
  title.textContent = content.title;
  pane.element.querySelector(".title").replaceChildren(title, words);
}

const isSelected = (pane, k) => state.selected && state.selected.pane === pane && state.selected.k === k;

// ---------------------------------------------------------------- the three views

function middleOf(box) {
  const sum = [0, 0, 0];
  box.corners.forEach((value, k) => { sum[k % 3] += value / 8; });
  return sum;
}

function lookFrom(fov, camera) {
  for (const pane of panes) {
    pane.following = true;
    pane.k3d.setCameraFOV(fov);
    pane.k3d.setCamera(camera);
    pane.following = false;
    setLineWidth(pane);
  }
}

function paneAspect() {
  const { clientWidth, clientHeight } = panes[0].element;
  return (clientWidth || 1) / (clientHeight || 1);
}

async function applyView() {
  if (state.view === "camera" && !scene().camera) state.view = "orbit";
  document.querySelectorAll("[data-view]").forEach((button) => {
    button.classList.toggle("on", button.dataset.view === state.view);
    if (button.dataset.view === "camera") button.hidden = !scene().camera;
  });
  if (state.view === "camera") {
    const { position, target, up, slope } = scene().camera;
    const half = Math.max(slope[1], slope[0] / paneAspect());
    lookFrom((360 / Math.PI) * Math.atan(half), [...position, ...target, ...up]);
    return;
  }
  const { positions, count } = await cloudOf(state.frame, scene().panes[0].cloud);
  let [x0, x1, y0, y1] = count ? [Infinity, -Infinity, Infinity, -Infinity] : [0, 50, -20, 20];
  for (let k = 0; k < count; k++) {
    x0 = Math.min(x0, positions[3 * k]); x1 = Math.max(x1, positions[3 * k]);
    y0 = Math.min(y0, positions[3 * k + 1]); y1 = Math.max(y1, positions[3 * k + 1]);
  }
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  if (state.view === "top") {
    const half = 0.56 * Math.max(x1 - x0, (y1 - y0) / paneAspect());
    const height = half / Math.tan((5 * Math.PI) / 180);
    lookFrom(10, [x - 0.01, y, height, x, y, 0, 0, 0, 1]);
  } else {
    lookFrom(50, [x0 - 10, y, 14, x0 + 0.28 * (x1 - x0), y, -1, 0, 0, 1]);
  }
}

function focusOn(box) {
  const target = middleOf(box);
  const { camera, controls } = panes[0].k3d.getWorld();
  if (state.view === "top") {
    lookFrom(10, [target[0] - 0.01, target[1], Math.min(camera.position.z, 250), ...target, 0, 0, 1]);
    return;
  }
  const back = camera.position.clone().sub(controls.target).setLength(16);
  back.z = Math.max(back.z, 6);
  lookFrom(50, [target[0] + back.x, target[1] + back.y, target[2] + back.z, ...target, 0, 0, 1]);
}
