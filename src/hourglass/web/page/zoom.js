// The large picture: fitted into its place, zoomed and moved there.

const $ = (id) => document.getElementById(id);
const MOST = 12;
const view = { width: 1, height: 1, scale: 1, zoom: 1, x: 0, y: 0, changed: () => {} };

// Show a picture of so many pixels, whole; `changed` is called whenever it is laid out anew.
export function fit(width, height) {
  Object.assign(view, { width, height, zoom: 1, x: 0, y: 0 });
  $("viewport").style.setProperty("--ratio", `${width} / ${height}`);
  lay();
}

function lay() {
  const { clientWidth: w, clientHeight: h } = $("viewport");
  if (!w || !h) return;
  view.scale = Math.min(w / view.width, h / view.height);
  const [sw, sh] = [view.width * view.scale, view.height * view.scale];
  const [overX, overY] = [Math.max(0, sw * view.zoom - w) / 2, Math.max(0, sh * view.zoom - h) / 2];
  view.x = Math.min(Math.max(view.x, -overX), overX);
  view.y = Math.min(Math.max(view.y, -overY), overY);
  const { style } = $("sheet");
  style.width = `${sw}px`;
  style.height = `${sh}px`;
  style.left = `${(w - sw) / 2}px`;
  style.top = `${(h - sh) / 2}px`;
  style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  $("viewport").classList.toggle("zoomed", view.zoom > 1);
  $("zoom-out").disabled = view.zoom <= 1;
  $("zoom-in").disabled = view.zoom >= MOST;
  view.changed();
}

// Zoom by a factor; what lies at that place of the screen stays there.
function zoomBy(factor, at) {
  const { left, top, width, height } = $("viewport").getBoundingClientRect();
  const [px, py] = at ? [at.x - left - width / 2, at.y - top - height / 2] : [0, 0];
  const zoom = Math.min(Math.max(view.zoom * factor, 1), MOST);
  const grown = zoom / view.zoom;
  Object.assign(view, { zoom, x: px - (px - view.x) * grown, y: py - (py - view.y) * grown });
  lay();
}

function moveBy(dx, dy) {
  view.x += dx;
  view.y += dy;
  lay();
}

// Bring a place of the screen into the middle if it lies outside the view.
export function reveal(rect) {
  const seen = $("viewport").getBoundingClientRect();
  if (rect.left >= seen.left && rect.right <= seen.right && rect.top >= seen.top && rect.bottom <= seen.bottom) return;
  moveBy((seen.left + seen.right - rect.left - rect.right) / 2, (seen.top + seen.bottom - rect.top - rect.bottom) / 2);
}

// Where an event happened, in the picture's pixels from its edge, inside it.
export function placeOf(event) {
  const { left, top, width, height } = $("sheet").getBoundingClientRect();
  const inside = (value, end) => Math.min(Math.max(value, 0), end);
  return [inside(((event.clientX - left) / width) * view.width, view.width), inside(((event.clientY - top) / height) * view.height, view.height)];
}

export function pixelsOfScreen() {
  return 1 / (view.scale * view.zoom);
}

const KEYS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };
const MOVES = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

export function listenToZoom(changed) {
  view.changed = changed;
  const viewport = $("viewport");
  const fingers = new Map();
  new ResizeObserver(lay).observe(viewport);
  $("zoom-in").addEventListener("click", () => zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  $("zoom-fit").addEventListener("click", () => fit(view.width, view.height));
  // Without Ctrl the wheel scrolls the page; a trackpad's pinch comes as a wheel with Ctrl.
  viewport.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 200), { x: event.clientX, y: event.clientY });
  }, { passive: false });
  viewport.addEventListener("dblclick", (event) => {
    if (event.target.closest(".zoom")) return;
    zoomBy(view.zoom > 1 ? 0 : 2.5, { x: event.clientX, y: event.clientY });
  });
  viewport.addEventListener("keydown", (event) => {
    const move = event.shiftKey && !event.target.closest("#boxes") ? MOVES[event.key] : null;
    if (move) moveBy(...move);
    else if (KEYS[event.key]) zoomBy(KEYS[event.key]);
    else if (event.key === "0") fit(view.width, view.height);
    else return;
    event.preventDefault();
  });
  viewport.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".zoom, .marking")) return;
    fingers.set(event.pointerId, event);
    if (view.zoom > 1 && !event.target.closest("[data-joint]")) viewport.setPointerCapture(event.pointerId);
  });
  viewport.addEventListener("pointermove", (event) => {
    const old = fingers.get(event.pointerId);
    if (!old) return;
    fingers.set(event.pointerId, event);
    const other = [...fingers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    if (other) {
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      zoomBy(apart(event) / Math.max(1, apart(old)), { x: (event.clientX + other.clientX) / 2, y: (event.clientY + other.clientY) / 2 });
    } else if (view.zoom > 1) moveBy(event.clientX - old.clientX, event.clientY - old.clientY);
  });
  for (const name of ["pointerup", "pointercancel"]) viewport.addEventListener(name, (event) => fingers.delete(event.pointerId));
}
