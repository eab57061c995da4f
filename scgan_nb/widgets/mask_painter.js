// The browser's side of scgan_nb.widgets.mask_painter. This file is written by hand: nbdev exports only Python.
// Its protocol, and why it is so, is in nbs/widgets/01_mask_painter.ipynb.
//
// An Easel holds the mask of one widget and talks to the kernel. Each place where the widget is shown is a View.
// The kernel owns the mask and its history. The browser draws ahead of it and sends which pixels changed.

const WINDOW = 40; // milliseconds between two messages, at least
const SILENT = 4000; // milliseconds without an answer after which the user is told
const IGNORE = 255; // a pixel without a class
const UNSENT = 1, FINISHED = 2, FLYING = 3; // marks of pixels that the kernel does not have yet
const DEAD = "The kernel was restarted or has ended. You can go on painting here, but nothing is kept: " +
  "run the cell again.";
const QUIET = "The kernel does not answer: it is busy, or it has ended. What you paint is sent when it answers; " +
  "if it was restarted, run the cell again.";

// ---- runs: how a mask travels; the same as pack and unpack of scgan_nb.widgets.state

function putNumber(out, n) {
  while (n > 127) { out.push((n & 127) | 128); n >>>= 7; }
  out.push(n);
}

/** The marked pixels of a rectangle as runs: how many stay, how many follow, of which class. */
function pack(ids, width, box, marks, mark) {
  const out = [];
  let stay = 0, run = 0, id = -1;
  const close = () => {
    if (!run) return;
    putNumber(out, stay); putNumber(out, run); out.push(id);
    stay = run = 0;
  };
  for (let y = box.top; y < box.bottom; y++) {
    for (let i = y * width + box.left, end = y * width + box.right; i < end; i++) {
      if (marks[i] !== mark) { close(); stay++; } else if (run && ids[i] === id) run++;
      else { close(); id = ids[i]; run = 1; }
    }
  }
  close();
  return Uint8Array.from(out);
}

/** Calls put(place in the rectangle, class) for each pixel of some runs. */
function unpack(data, put) {
  let at = 0, place = 0;
  const number = () => {
    let n = 0, shift = 0, byte;
    do { byte = data[at++]; n += (byte & 127) * 2 ** shift; shift += 7; } while (byte > 127);
    return n;
  };
  while (at < data.length) {
    place += number();
    const end = place + number(), id = data[at++];
    while (place < end) put(place++, id);
  }
}

const bytesOf = (view) => view instanceof Uint8Array ? view
  : view instanceof ArrayBuffer ? new Uint8Array(view)
  : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// ---- the mask of one widget, and its conversation with the kernel

class Easel {
  constructor(model) {
    this.model = model;
    this.views = new Set();
    this.client = Math.random().toString(36).slice(2);
    [this.height, this.width] = model.get("size");
    const n = this.height * this.width;
    this.ids = new Uint8Array(n).fill(IGNORE);
    this.loaded = new Uint8Array(n).fill(IGNORE);
    this.marks = new Uint8Array(n);
    unpack(bytesOf(model.get("snapshot")), (i, id) => { this.ids[i] = id; });
    unpack(bytesOf(model.get("loaded")), (i, id) => { this.loaded[i] = id; });
    this.version = model.get("version");
    [this.undos, this.redos] = model.get("history");
    this.dirty = null; // the rectangle that the stroke has changed since it was sent last
    this.stroke = 0;
    this.pieces = []; // what waits to be sent, in order; see `flush`
    this.waiting = null; // the message that has no answer yet
    this.seq = 0;
    this.sentAt = 0;
    this.trouble = ""; // of the connection
    this.dead = false; // the channel is closed
    this.refused = null;
    this.listen();
  }

  listen() {
    this.model.on("msg:custom", (message, buffers) => this.receive(message, buffers ?? []));
    // whether the channel is closed is not told to a widget; its element carries a class of ipywidgets then
    this.model.on("comm_live_update", () => setTimeout(() => this.lookAlive(), 0));
    for (const name of ["tool", "brush", "chosen", "message"])
      this.model.on(`change:${name}`, () => this.tell("settings"));
  }

  close() { clearTimeout(this.timer); clearTimeout(this.patience); }

  tell(what, box) { for (const view of this.views) view.hear(what, box); }

  /** For measurements, and for tests that wait. */
  note(facts) { for (const view of this.views) Object.assign(view.root.dataset, facts); }

  set(name, value) {
    this.model.set(name, value);
    try { this.model.save_changes(); } catch { this.die(); }
    this.tell("settings");
  }

  // -- painting

  begin() { this.stroke++; this.touched = 0; }

  put(i, id) {
    if (this.ids[i] === id) return;
    this.ids[i] = id; this.marks[i] = UNSENT; this.touched++;
    const y = Math.floor(i / this.width), x = i % this.width, d = this.dirty;
    if (!d) { this.dirty = { top: y, left: x, bottom: y + 1, right: x + 1 }; return; }
    if (y < d.top) d.top = y; else if (y >= d.bottom) d.bottom = y + 1;
    if (x < d.left) d.left = x; else if (x >= d.right) d.right = x + 1;
  }

  /** A round brush on its way from a to b; the same pixels as `stamp` of scgan_nb.widgets.state. */
  line(a, b, radius, id) {
    const source = id === null ? this.loaded : null; // the eraser
    let [ay, ax, by, bx] = [a.y, a.x, b.y, b.x];
    if (radius < 0.75) { [ay, ax, by, bx] = [ay, ax, by, bx].map((v) => Math.floor(v + 0.5)); radius = 0.5; }
    const box = this.around(ay, ax, by, bx, radius), dy = by - ay, dx = bx - ax;
    const long = Math.max(dy * dy + dx * dx, 1e-12);
    for (let y = box.top; y < box.bottom; y++) for (let x = box.left; x < box.right; x++) {
      const t = Math.min(1, Math.max(0, ((y - ay) * dy + (x - ax) * dx) / long));
      if ((y - ay - t * dy) ** 2 + (x - ax - t * dx) ** 2 > radius * radius) continue;
      const i = y * this.width + x;
      this.put(i, source ? source[i] : id);
    }
    this.tell("pixels", box);
    this.flush();
  }

  around(ay, ax, by, bx, radius) {
    const clip = (v, n) => Math.min(n, Math.max(0, v));
    return {
      top: clip(Math.floor(Math.min(ay, by) - radius), this.height),
      left: clip(Math.floor(Math.min(ax, bx) - radius), this.width),
      bottom: clip(Math.ceil(Math.max(ay, by) + radius) + 1, this.height),
      right: clip(Math.ceil(Math.max(ax, bx) + radius) + 1, this.width),
    };
  }

  /** The region of one class that is connected with a pixel gets another class. */
  fill(y, x, id) {
    const { width, height, ids } = this, old = ids[y * width + x];
    if (old === id) return;
    const todo = [y * width + x];
    while (todo.length) {
      const i = todo.pop();
      if (ids[i] !== old) continue;
      this.put(i, id);
      const column = i % width;
      if (column > 0) todo.push(i - 1);
      if (column < width - 1) todo.push(i + 1);
      if (i >= width) todo.push(i - width);
      if (i < width * (height - 1)) todo.push(i + width);
    }
    this.tell("pixels", this.dirty);
  }

  /** A stroke is over: what it changed is packed now, since a later stroke may paint over it. */
  end() {
    if (this.dirty) this.pieces.push(this.piece(FINISHED));
    this.flush();
    if (this.trouble && !this.dead) { this.probed = false; this.probe(); }
    return this.touched;
  }

  piece(mark) {
    const { dirty: d, marks, width } = this, buffer = pack(this.ids, width, d, marks, UNSENT);
    for (let y = d.top; y < d.bottom; y++) for (let i = y * width + d.left; i < y * width + d.right; i++)
      if (marks[i] === UNSENT) marks[i] = mark;
    this.dirty = null;
    const size = { height: d.bottom - d.top, width: d.right - d.left };
    return { do: "patch", stroke: this.stroke, top: d.top, left: d.left, ...size, buffer };
  }

  ask(piece) {
    if (this.dead) { this.tell("trouble"); return false; }
    this.pieces.push(piece);
    this.flush();
    return true;
  }

  // -- sending: one message at a time; while it is unanswered the next one grows

  flush() {
    if (this.dead) { this.forget(); return; }
    if (this.waiting || !(this.pieces.length || this.dirty)) return;
    const wait = this.sentAt + WINDOW - performance.now();
    clearTimeout(this.timer);
    if (wait > 0) this.timer = setTimeout(() => this.flush(), wait); else this.send();
  }

  send() {
    const pieces = this.pieces.splice(0);
    if (this.dirty) pieces.push(this.piece(FLYING));
    for (let i = 0; i < this.marks.length; i++) if (this.marks[i] === FINISHED) this.marks[i] = FLYING;
    const buffers = pieces.filter((p) => p.buffer).map((p) => p.buffer);
    const ops = pieces.map(({ buffer, ...rest }) => rest);
    this.waiting = { seq: ++this.seq };
    this.sentAt = performance.now();
    this.note({ count: this.seq, sent: this.sentAt });
    this.post({ kind: "ops", client: this.client, seq: this.seq, ops }, buffers);
  }

  post(message, buffers = []) {
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.impatient(), SILENT);
    try { this.model.send(message, undefined, buffers.map((b) => b.buffer)); } catch { this.die(); }
  }

  // -- what the kernel says

  receive(message, buffers) {
    const handle = { got: this.got, news: this.news, done: this.done, whole: this.whole }[message?.kind];
    handle?.call(this, message, buffers.map(bytesOf));
  }

  answered() {
    clearTimeout(this.patience);
    this.probed = false;
    if (this.trouble && !this.dead) { this.trouble = ""; this.tell("trouble"); }
  }

  mine(message) { return message.client === this.client && message.seq === this.waiting?.seq; }

  /** The message has arrived, and listeners are at work: they may take their time. */
  got(message) {
    if (!this.mine(message)) return;
    this.answered();
    this.patience = setTimeout(() => this.impatient(), 2 * SILENT);
  }

  /** Rectangles that changed in the kernel. Pixels that were painted here since keep what they show. */
  news(message, buffers) {
    if (this.mine(message)) this.settle();
    if (message.version <= this.version) return;
    if (message.from > this.version) { this.post({ kind: "ask", client: this.client }); return; }
    message.rectangles.forEach(([top, left, height, width], k) => {
      unpack(buffers[k], (i, id) => this.show((top + Math.floor(i / width)) * this.width + left + i % width, id));
      this.tell("pixels", { top, left, bottom: top + height, right: left + width });
    });
    if (message.loaded) unpack(buffers[buffers.length - 1], (i, id) => { this.loaded[i] = id; });
    this.now(message);
  }

  show(i, id) { if (!this.marks[i]) this.ids[i] = id; }

  now(message) {
    this.version = message.version;
    [this.undos, this.redos] = message.history;
    this.tell("history");
  }

  done(message) {
    if (!this.mine(message)) return;
    this.answered();
    this.settle();
    this.waiting = null;
    this.note({ answers: message.seq });
    this.refused = message.refused; // what: "size" of a file, or "ops"
    if (this.refused) this.forget();
    this.tell("trouble");
    this.flush();
  }

  whole(message, buffers) {
    this.answered();
    if (message.asked && message.client === this.client) { this.settle(); this.waiting = null; }
    unpack(buffers[0], (i, id) => this.show(i, id));
    unpack(buffers[1], (i, id) => { this.loaded[i] = id; });
    this.now(message);
    this.tell("pixels", { top: 0, left: 0, bottom: this.height, right: this.width });
    this.flush();
  }

  /** The kernel has what was sent. */
  settle() { for (let i = 0; i < this.marks.length; i++) if (this.marks[i] === FLYING) this.marks[i] = 0; }

  /** Nothing of what was painted will be sent. */
  forget() { this.pieces = []; this.dirty = null; this.marks.fill(0); }

  // -- when it says nothing

  impatient() {
    if (this.dead) return;
    this.trouble = QUIET;
    this.tell("trouble");
    this.probe();
  }

  /** Ask for the mask: a busy kernel answers later, a closed channel fails now. */
  probe() {
    if (this.probed) return;
    this.probed = true;
    this.post({ kind: "ask", client: this.client });
  }

  lookAlive() {
    const lost = [...this.views].some((v) => v.el.closest(".jupyter-widgets-disconnected"));
    if (lost) this.die(); else if (this.dead) this.revive();
  }

  die() {
    if (this.dead) return;
    this.dead = true; this.waiting = null; this.trouble = DEAD;
    clearTimeout(this.patience);
    this.forget();
    this.tell("trouble");
  }

  revive() {
    this.dead = false; this.trouble = "";
    this.tell("trouble");
    this.post({ kind: "ask", client: this.client });
  }
}

// ---- what one sees of it

const ICONS = {
  brush: "M14.5 3.5l2 2-7.6 7.6-2.6.6.6-2.6zM6 14" +
    "c-1.8 0-2.2 1-2.3 2-.1.7-.5 1-1.2 1 2.2.8 5 .4 5-1.6 0-.8-.7-1.4-1.5-1.4z",
  eraser: "M3 12.5l7.5-8a1.4 1.4 0 012 0l3.5 3.4a1.4 1.4 0 010 2L9.5 16.5H6.5z" +
    "M6.8 8.5l5.4 5.2M9.5 16.5H17",
  fill: "M9 3l6.5 6.5-5.6 5.6a1.6 1.6 0 01-2.3 0L3.9 11.4a1.6 1.6 0 010-2.3zM3.6 10.2h11.2" +
    "M16.8 12.6c.9 1.3 1.4 2 1.4 2.7a1.4 1.4 0 01-2.8 0c0-.7.5-1.4 1.4-2.7z",
  pick: "M11 6l3 3M12.2 4.4a1.9 1.9 0 012.7 0l.7.7a1.9 1.9 0 010 2.7l-1.8 1.8-3.4-3.4z" +
    "M11 7.4l-6.4 6.4-.9 2.5 2.5-.9L12.6 9",
  undo: "M7.5 4L4 7.5 7.5 11M4.3 7.5H12a4 4 0 010 8H8",
  redo: "M12.5 4L16 7.5 12.5 11M15.7 7.5H8a4 4 0 000 8h4",
  open: "M10 13V4M6.5 7.5L10 4l3.5 3.5M4 12.5V16h12v-3.5",
  reset: "M4.5 10a5.5 5.5 0 105.5-5.5c-1.9 0-3.4.8-4.5 2.1M5 3.5v3.3h3.3",
  overlay: "M3.5 6.5h9v9h-9zM7.5 6.5v-3h9v9h-4",
};
const TOOLS = { brush: ["brush: paint the class", "B"], eraser: ["eraser: bring back what was loaded", "E"],
  fill: ["fill: turn a region into the class", "F"], pick: ["pick: take the class from the mask", "I"] };

function make(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(properties)) if (k in e) e[k] = v; else e.setAttribute(k, v);
  e.append(...children);
  return e;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20"); svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(name, label, key, click) {
  const text = key ? `${label} (${key})` : label;
  const e = make("button", { type: "button", className: `mp-button mp-${name}`, title: text }, icon(name));
  e.setAttribute("aria-label", text);
  e.addEventListener("click", click);
  return e;
}

class View {
  constructor(easel, el) {
    this.easel = easel; this.model = easel.model; this.el = el;
    this.classes = this.model.get("classes");
    this.colors = this.model.get("palette");
    this.cursor = { y: Math.floor(easel.height / 2), x: Math.floor(easel.width / 2) };
    this.pointer = null; // the pointer that paints
    this.last = null; // where the last stroke ended: shift draws a line from there
    this.build();
    this.listen();
    easel.views.add(this);
    this.hear("pixels", { top: 0, left: 0, bottom: easel.height, right: easel.width });
    for (const what of ["settings", "history", "trouble"]) this.hear(what);
  }

  close() {
    this.easel.views.delete(this);
    this.watch.disconnect();
    if (this.photo) URL.revokeObjectURL(this.photo.src);
  }

  // -- its parts

  build() {
    this.root = make("div", { className: "scgan-painter" });
    this.problem = make("div", { className: "mp-problem", role: "alert", hidden: true });
    this.live = make("div", { className: "mp-live", role: "status" });
    this.live.setAttribute("aria-live", "polite");
    this.where = make("div", { className: "mp-where" });
    this.where.setAttribute("aria-hidden", "true");
    const foot = make("div", { className: "mp-foot" }, this.live, this.where);
    const desk = make("div", { className: "mp-desk" }, make("div", { className: "mp-board" }, this.buildStage(), foot),
      this.buildPalette());
    this.root.append(this.buildBar(), this.problem, desk);
    this.el.append(this.root);
  }

  buildBar() {
    const bar = make("div", { className: "mp-bar", role: "toolbar" });
    bar.setAttribute("aria-label", "Painting tools");
    this.tools = {};
    const group = (label, ...all) => {
      const g = make("div", { className: "mp-group", role: "group" }, ...all);
      g.setAttribute("aria-label", label);
      return g;
    };
    for (const [name, [label, key]] of Object.entries(TOOLS))
      this.tools[name] = button(name, label, key, () => this.easel.set("tool", name));
    this.undo = button("undo", "undo", "Ctrl+Z", () => this.go("undo"));
    this.redo = button("redo", "redo", "Ctrl+Shift+Z", () => this.go("redo"));
    this.file = make("input", { type: "file", accept: ".png,image/png", hidden: true });
    this.file.setAttribute("aria-label", "PNG of a mask");
    this.open = button("open", "load a mask from a PNG", "", () => this.file.click());
    this.reset = button("reset", "back to the mask that was loaded", "", () => this.go("reset"));
    const more = [this.open, this.reset, this.file];
    if (this.model.get("overlay").byteLength) more.unshift(this.buildOverlay());
    bar.append(group("Tools", ...Object.values(this.tools)), this.buildSize(), group("History", this.undo, this.redo),
      group("Mask", ...more));
    return bar;
  }

  buildSize() {
    const most = Math.max(8, Math.min(64, Math.round(Math.max(this.easel.height, this.easel.width) / 3)));
    this.size = make("input", { type: "range", min: 1, max: most, step: 1, title: "Brush size ([ and ])" });
    this.size.setAttribute("aria-label", "Brush size in pixels");
    this.sizeText = make("output", { className: "mp-size-text" });
    this.size.addEventListener("input", () => this.easel.set("brush", Number(this.size.value)));
    return make("label", { className: "mp-size" }, this.size, this.sizeText);
  }

  buildOverlay() {
    const url = URL.createObjectURL(new Blob([bytesOf(this.model.get("overlay"))]));
    this.photo = make("img", { className: "mp-photo", src: url, alt: "" });
    this.stage.append(this.photo);
    this.overlayButton = button("overlay", "show the image over the mask", "O", () => this.toggleOverlay());
    this.overlayButton.setAttribute("aria-pressed", "true");
    return this.overlayButton;
  }

  buildStage() {
    const { height, width } = this.easel;
    this.canvas = make("canvas", { width, height, tabIndex: 0, className: "mp-canvas" });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", `Mask of ${width} by ${height} pixels. Arrow keys move, space paints, ` +
      "B, E, F and I choose the tool, N and P the class, [ and ] the brush size, control Z undoes.");
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    const little = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
    this.table = new Uint32Array(256).fill(little ? 0xff000000 : 0xff);
    this.colors.forEach(([r, g, b], i) => {
      this.table[i] = (little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255) >>> 0;
    });
    this.ring = make("div", { className: "mp-ring", hidden: true });
    this.stage = make("div", { className: "mp-stage" }, this.canvas, this.ring);
    const side = this.model.get("side"), scale = side / Math.max(height, width);
    this.root.style.setProperty("--mp-side", `${Math.round(width * scale)}px`);
    this.stage.style.aspectRatio = `${width} / ${height}`;
    return this.stage;
  }

  buildPalette() {
    const list = make("div", { className: "mp-palette", role: "radiogroup" });
    list.setAttribute("aria-label", "Class to paint");
    this.swatches = this.classes.map((name, id) => {
      const chip = make("span", { className: "mp-chip" });
      chip.style.background = `rgb(${this.colors[id].join(",")})`;
      const e = make("button", { type: "button", className: "mp-class", role: "radio", title: name }, chip,
        make("span", { className: "mp-name", textContent: name.replaceAll("_", " ") }));
      e.setAttribute("role", "radio"); e.setAttribute("aria-label", `class ${name.replaceAll("_", " ")}`);
      if (id < 10) e.append(make("span", { className: "mp-key", textContent: id, ariaHidden: "true" }));
      e.addEventListener("click", () => this.choose(id));
      list.append(e);
      return e;
    });
    return list;
  }

  listen() {
    const c = this.canvas, on = (name, f) => c.addEventListener(name, f.bind(this));
    on("pointerdown", this.down); on("pointermove", this.move);
    on("pointerup", this.up); on("pointercancel", this.up); on("lostpointercapture", this.up);
    on("pointerleave", () => { if (!this.pointer) { this.ring.hidden = true; this.where.textContent = ""; } });
    on("contextmenu", (e) => e.preventDefault());
    on("focus", () => { if (c.matches(":focus-visible")) this.showCursor(); });
    on("blur", () => { this.finish(); this.ring.hidden = true; });
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.root.addEventListener("keyup", (e) => this.keyUp(e));
    this.file.addEventListener("change", () => this.load());
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.root);
  }

  /** Narrow outputs get the classes below the mask; a query of the window would not see sidebars. */
  fit() {
    const side = parseFloat(getComputedStyle(this.root).getPropertyValue("--mp-side"));
    this.root.classList.toggle("mp-narrow", this.root.clientWidth < side + 170);
  }

  // -- what the easel tells

  hear(what, box) {
    if (what === "pixels") this.draw(box);
    if (what === "settings") this.showSettings();
    if (what === "history") this.showHistory();
    if (what === "trouble" || what === "settings") this.showProblem();
  }

  draw(box) {
    if (!box || box.right <= box.left || box.bottom <= box.top) return;
    const { width, ids } = this.easel;
    for (let y = box.top; y < box.bottom; y++) for (let i = y * width + box.left; i < y * width + box.right; i++)
      this.pixels[i] = this.table[ids[i]];
    this.context.putImageData(this.image, 0, 0, box.left, box.top, box.right - box.left, box.bottom - box.top);
  }

  showSettings() {
    const tool = this.model.get("tool"), brush = this.model.get("brush"), chosen = this.model.get("chosen");
    for (const [name, e] of Object.entries(this.tools)) e.setAttribute("aria-pressed", String(name === tool));
    this.size.value = brush;
    this.sizeText.textContent = `${brush} px`;
    this.swatches.forEach((e, id) => {
      e.setAttribute("aria-checked", String(id === chosen));
      e.tabIndex = id === chosen ? 0 : -1;
    });
    this.stage.dataset.tool = tool;
    this.showRing();
  }

  showHistory() {
    const { undos, redos, dead } = this.easel;
    this.undo.disabled = dead || !undos;
    this.redo.disabled = dead || !redos;
    this.open.disabled = this.reset.disabled = dead;
  }

  showProblem() {
    const text = this.easel.trouble || this.model.get("message");
    this.problem.replaceChildren(make("span", { textContent: text }));
    this.problem.hidden = !text;
    this.showHistory();
    if (this.easel.refused !== "size" || !this.upload || !text) return;
    const { height, width } = this.easel;
    const label = `Resize to ${width} x ${height}`;
    const resize = make("button", { type: "button", className: "mp-text", textContent: label });
    resize.addEventListener("click", () => this.send(this.upload, true));
    this.problem.append(resize);
  }

  say(text) { this.live.textContent = text; }

  name(id) { return id === IGNORE ? "no class" : this.classes[id].replaceAll("_", " "); }

  // -- the pointer

  at(e) {
    const r = this.canvas.getBoundingClientRect(), { height, width } = this.easel;
    return { y: (e.clientY - r.top) / r.height * height - 0.5, x: (e.clientX - r.left) / r.width * width - 0.5 };
  }

  pixel(p) {
    const { height, width } = this.easel, clip = (v, n) => Math.min(n - 1, Math.max(0, Math.round(v)));
    return { y: clip(p.y, height), x: clip(p.x, width) };
  }

  down(e) {
    if (this.pointer || e.button > 0 && e.button !== 5) return; // 5 is the other end of a pen
    e.preventDefault();
    this.canvas.focus({ preventScroll: true });
    try { this.canvas.setPointerCapture(e.pointerId); } catch { /* the pointer is gone already */ }
    const p = this.at(e), tool = e.altKey ? "pick" : e.button === 5 ? "eraser" : this.model.get("tool");
    this.pointer = { id: e.pointerId, tool };
    this.start(tool, e.shiftKey && this.last ? this.last : p, p);
    this.moveRing(p, e.pointerType);
  }

  move(e) {
    const p = this.at(e);
    this.moveRing(p, e.pointerType);
    if (!this.pointer || this.pointer.id !== e.pointerId) return;
    e.preventDefault();
    const events = e.getCoalescedEvents?.() ?? [];
    for (const q of events.length ? events : [e]) this.extend(this.at(q));
  }

  up(e) {
    if (!this.pointer || this.pointer.id !== e.pointerId) return;
    this.finish();
    if (e.pointerType === "touch") this.ring.hidden = true;
  }

  // -- a stroke, by pointer or by keys

  start(tool, from, to) {
    this.drawing = tool;
    if (tool === "pick") { this.pickAt(to); return; }
    this.easel.begin();
    const id = this.model.get("chosen");
    if (tool === "fill") { const { y, x } = this.pixel(to); this.easel.fill(y, x, id); this.easel.flush(); return; }
    this.last = from;
    this.easel.line(from, to, this.model.get("brush") / 2, tool === "eraser" ? null : id);
    this.last = to;
  }

  extend(p) {
    if (this.drawing === "pick") { this.pickAt(p); return; }
    if (this.drawing !== "brush" && this.drawing !== "eraser") return;
    const id = this.drawing === "eraser" ? null : this.model.get("chosen");
    this.easel.line(this.last, p, this.model.get("brush") / 2, id);
    this.last = p;
  }

  finish() {
    const tool = this.drawing;
    this.pointer = null; this.drawing = null;
    if (!tool || tool === "pick") return;
    const changed = this.easel.end(), name = this.name(this.model.get("chosen"));
    const did = { brush: `${name} painted`, fill: `filled with ${name}`, eraser: "erased" }[tool];
    this.say(!changed ? "nothing changed" : this.easel.dead ? `${did}, on this page only` : `${did}, undo possible`);
    if (changed && !this.easel.dead) this.undo.disabled = false; // the kernel confirms it with the next news
  }

  pickAt(p) {
    const { y, x } = this.pixel(p), id = this.easel.ids[y * this.easel.width + x];
    if (id === IGNORE) { this.say("this pixel has no class"); return; }
    this.choose(id); this.say(`picked ${this.name(id)}`);
  }

  choose(id) {
    this.easel.set("chosen", id);
    this.say(`${this.name(id)} chosen`);
  }

  go(what) {
    this.finish();
    const { undos, redos, pieces, waiting } = this.easel, busy = pieces.length || waiting;
    if (!busy && (what === "undo" && !undos || what === "redo" && !redos)) { this.say(`nothing to ${what}`); return; }
    const did = { undo: "undone", redo: "done again", reset: "back to the mask as loaded" };
    if (this.easel.ask({ do: what })) this.say(did[what]);
  }

  // -- the outline of the brush

  showRing() { if (!this.ring.hidden && this.ringAt) this.moveRing(this.ringAt); }

  moveRing(p, kind = "mouse") {
    const { height, width } = this.easel, { y, x } = this.pixel(p), r = this.canvas.getBoundingClientRect();
    this.ringAt = p;
    const inside = p.x >= -0.5 && p.y >= -0.5 && p.x < width - 0.5 && p.y < height - 0.5;
    this.where.textContent = inside ? `${x}, ${y}  ${this.name(this.easel.ids[y * width + x])}` : "";
    const tool = this.pointer?.tool ?? this.model.get("tool"), scale = r.width / width;
    this.ring.hidden = !(tool === "brush" || tool === "eraser") || kind === "touch" && !this.pointer;
    const side = Math.max(5, this.model.get("brush") * scale);
    const c = this.model.get("brush") === 1 ? { y, x } : p;
    Object.assign(this.ring.style, { width: `${side}px`, height: `${side}px`,
      transform: `translate(${(c.x + 0.5) * scale - side / 2}px, ${(c.y + 0.5) * scale - side / 2}px)` });
    this.ring.dataset.square = String(this.model.get("brush") === 1);
    this.stage.dataset.small = String(side < 10); // too small a ring to be found: the arrow's place gets a cross
  }

  showCursor() {
    this.moveRing(this.cursor);
    this.ring.hidden = false;
  }

  // -- the keys

  key(e) {
    if (e.isComposing) return;
    const command = e.ctrlKey || e.metaKey, name = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (command && !e.altKey && (name === "z" || name === "y")) {
      this.taken(e);
      if (!e.repeat || !this.easel.waiting) this.go(name === "y" || e.shiftKey ? "redo" : "undo");
      return;
    }
    if (command || e.altKey) return; // the page's own: save, find...
    if (name === "Escape") { this.finish(); return; }
    if (e.target === this.canvas && this.steer(e, name)) { this.taken(e); return; }
    if (this.walk(e, name) || this.letter(e, name)) { this.taken(e); return; }
    // a plain letter must not reach the notebook, where d d removes a cell
    if (e.key.length === 1 || e.key === "Enter" && !e.shiftKey || e.key.startsWith("Arrow")) e.stopPropagation();
  }

  taken(e) { e.preventDefault(); e.stopPropagation(); }

  letter(e, name) {
    const tool = Object.keys(TOOLS).find((t) => TOOLS[t][1].toLowerCase() === name);
    if (tool) { this.easel.set("tool", tool); this.say(`${tool} chosen`); return true; }
    const brush = this.model.get("brush"), step = Math.max(1, Math.round(brush / 6));
    if (name === "[" || name === "]") { this.resize(brush + (name === "[" ? -step : step)); return true; }
    const n = this.classes.length, chosen = this.model.get("chosen");
    if (name === "n" || name === "p") { this.choose((chosen + (name === "n" ? 1 : n - 1)) % n); return true; }
    if (/^[0-9]$/.test(name) && Number(name) < n) { this.choose(Number(name)); return true; }
    if (name === "o" && this.photo) { this.toggleOverlay(); return true; }
    return false;
  }

  resize(size) {
    this.easel.set("brush", Math.min(Number(this.size.max), Math.max(1, size)));
    this.say(`brush size ${this.model.get("brush")}`);
  }

  toggleOverlay() {
    this.photo.hidden = !this.photo.hidden;
    this.overlayButton.setAttribute("aria-pressed", String(!this.photo.hidden));
  }

  /** Arrow keys walk through the classes, as they do through radio buttons everywhere. */
  walk(e, name) {
    if (!e.target.classList.contains("mp-class")) return false;
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[name];
    if (!step) return false;
    const n = this.classes.length, id = (this.model.get("chosen") + step + n) % n;
    this.choose(id); this.swatches[id].focus();
    return true;
  }

  /** The keys of the focused mask: arrows move, and draw while the space bar is held. */
  steer(e, name) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[name];
    if (step) {
      const far = e.shiftKey ? 8 : 1, { y, x } = this.cursor;
      this.cursor = this.pixel({ y: y + far * step[0], x: x + far * step[1] });
      this.showCursor();
      if (this.drawing) this.extend(this.cursor);
      else this.say(`column ${this.cursor.x}, row ${this.cursor.y}: ${this.name(this.under())}`);
      return true;
    }
    if (name !== " " && (name !== "Enter" || e.shiftKey)) return false;
    if (e.repeat || this.drawing) return true;
    this.start(this.model.get("tool"), this.cursor, this.cursor);
    if (name === "Enter" || this.drawing === "fill") this.finish();
    return true;
  }

  keyUp(e) {
    if (e.key !== " " || e.target !== this.canvas) return;
    this.taken(e);
    if (!this.pointer) this.finish();
  }

  under() { return this.easel.ids[this.cursor.y * this.easel.width + this.cursor.x]; }

  // -- a file

  async load() {
    const file = this.file.files[0];
    this.file.value = ""; // the same file may be chosen again
    if (!file) return;
    this.send({ name: file.name, data: new Uint8Array(await file.arrayBuffer()) }, false);
  }

  send(upload, resize) {
    this.upload = upload;
    this.finish();
    const piece = { do: "load", name: upload.name, resize, buffer: upload.data.slice() };
    if (this.easel.ask(piece)) this.say(`${upload.name} sent to the kernel`);
  }
}

export default () => {
  let easel;
  return {
    initialize({ model }) { easel = new Easel(model); return () => easel.close(); },
    render({ el }) { const view = new View(easel, el); return () => view.close(); },
  };
};
