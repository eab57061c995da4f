// The browser's side of scgan_nb.widgets.mask_painter, after live.js. This file is written by hand: nbdev exports only
// Python. Its messages are in nbs/widgets/01_mask_painter.ipynb.
//
// An Easel holds the mask of one widget. Each place where the widget is shown is a View.

const IGNORE = 255; // a pixel without a class

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

// ---- the mask of one widget

class Easel extends Link {
  settings = ["tool", "brush", "chosen", "message"];

  constructor(model) {
    const [height, width] = model.get("size"), n = height * width;
    super(model, n, "paint");
    this.height = height; this.width = width;
    this.ids = new Uint8Array(n).fill(IGNORE);
    this.loaded = new Uint8Array(n).fill(IGNORE);
    unpack(bytesOf(model.get("snapshot")), (i, id) => { this.ids[i] = id; });
    unpack(bytesOf(model.get("loaded")), (i, id) => { this.loaded[i] = id; });
    this.listen();
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

  piece(mark) {
    const { dirty: d, marks, width } = this, buffer = pack(this.ids, width, d, marks, UNSENT);
    for (let y = d.top; y < d.bottom; y++) for (let i = y * width + d.left; i < y * width + d.right; i++)
      if (marks[i] === UNSENT) marks[i] = mark;
    this.dirty = null;
    const size = { height: d.bottom - d.top, width: d.right - d.left };
    return { do: "patch", stroke: this.stroke, top: d.top, left: d.left, ...size, buffer };
  }

  // -- what the kernel says

  take(message, buffers) {
    message.rectangles.forEach(([top, left, height, width], k) => {
      unpack(buffers[k], (i, id) => this.show((top + Math.floor(i / width)) * this.width + left + i % width, id));
      this.tell("pixels", { top, left, bottom: top + height, right: left + width });
    });
    if (message.loaded) unpack(buffers[buffers.length - 1], (i, id) => { this.loaded[i] = id; });
  }

  takeWhole(buffers) {
    unpack(buffers[0], (i, id) => this.show(i, id));
    unpack(buffers[1], (i, id) => { this.loaded[i] = id; });
    this.tell("pixels", this.everything());
  }

  show(i, id) { if (!this.marks[i]) this.ids[i] = id; }

  everything() { return { top: 0, left: 0, bottom: this.height, right: this.width }; }
}

// ---- what one sees of it

const TOOLS = { brush: ["brush: paint the class", "B"], eraser: ["eraser: bring back what was loaded", "E"],
  fill: ["fill: turn a region into the class", "F"], pick: ["pick: take the class from the mask", "I"] };

class View extends Page {
  did = { undo: "undone", redo: "done again", reset: "back to the mask as loaded" };

  constructor(easel, el) {
    super(easel, el);
    this.easel = easel;
    this.classes = this.model.get("classes");
    this.colors = this.model.get("palette");
    this.cursor = { y: Math.floor(easel.height / 2), x: Math.floor(easel.width / 2) };
    this.pointer = null; // the pointer that paints
    this.last = null; // where the last stroke ended: shift draws a line from there
    this.build();
    this.listen();
    this.open();
    this.draw(easel.everything());
  }

  close() {
    super.close();
    if (this.photo) URL.revokeObjectURL(this.photo.src);
  }

  // -- its parts

  build() {
    const { height, width } = this.easel, side = Math.round(width * this.model.get("side") / Math.max(height, width));
    const stage = this.buildStage();
    this.frame("scgan-painter", this.buildTools(), stage, side);
    this.desk.append(this.buildPalette());
  }

  buildTools() {
    this.tools = {};
    for (const [name, [label, key]] of Object.entries(TOOLS))
      this.tools[name] = button(name, label, key, () => this.easel.set("tool", name));
    this.file = make("input", { type: "file", accept: ".png,image/png", hidden: true });
    this.file.setAttribute("aria-label", "PNG of a mask");
    const load = button("open", "load a mask from a PNG", "", () => this.file.click());
    const reset = button("reset", "back to the mask that was loaded", "", () => this.go("reset"));
    const more = [load, reset, this.file];
    if (this.model.get("overlay").byteLength) more.unshift(this.buildOverlay());
    return [this.group("Tools", ...Object.values(this.tools)), this.buildSize(), this.history(load, reset),
      this.group("Mask", ...more)];
  }

  buildSize() {
    const most = Math.max(8, Math.min(64, Math.round(Math.max(this.easel.height, this.easel.width) / 3)));
    this.size = make("input", { type: "range", min: 1, max: most, step: 1, title: "Brush size ([ and ])" });
    this.size.setAttribute("aria-label", "Brush size in pixels");
    this.sizeText = make("output", { className: "sg-size-text" });
    this.size.addEventListener("input", () => this.easel.set("brush", Number(this.size.value)));
    return make("label", { className: "sg-size" }, this.size, this.sizeText);
  }

  buildOverlay() {
    const url = URL.createObjectURL(new Blob([bytesOf(this.model.get("overlay"))]));
    this.photo = make("img", { className: "sg-photo", src: url, alt: "" });
    this.stage.append(this.photo);
    this.overlayButton = button("overlay", "show the image over the mask", "O", () => this.toggleOverlay());
    this.overlayButton.setAttribute("aria-pressed", "true");
    return this.overlayButton;
  }

  buildStage() {
    const { height, width } = this.easel;
    this.canvas = make("canvas", { width, height, tabIndex: 0, className: "sg-canvas" });
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
    this.ring = make("div", { className: "sg-ring", hidden: true });
    this.stage = make("div", { className: "sg-stage" }, this.canvas, this.ring);
    this.stage.style.aspectRatio = `${width} / ${height}`;
    return this.stage;
  }

  buildPalette() {
    const list = make("div", { className: "sg-palette", role: "radiogroup" });
    list.setAttribute("aria-label", "Class to paint");
    this.swatches = this.classes.map((name, id) => {
      const chip = make("span", { className: "sg-chip" });
      chip.style.background = `rgb(${this.colors[id].join(",")})`;
      const e = make("button", { type: "button", className: "sg-class", role: "radio", title: name }, chip,
        make("span", { className: "sg-name", textContent: name.replaceAll("_", " ") }));
      e.setAttribute("role", "radio"); e.setAttribute("aria-label", `class ${name.replaceAll("_", " ")}`);
      if (id < 10) e.append(make("span", { className: "sg-key", textContent: id, ariaHidden: "true" }));
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
    this.root.addEventListener("keyup", (e) => this.keyUp(e));
    this.file.addEventListener("change", () => this.load());
  }

  // -- what the easel tells

  change(what, box) { this.draw(box); }

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

  showProblem() {
    const text = super.showProblem();
    if (this.easel.refused !== "size" || !this.upload || !text) return;
    const { height, width } = this.easel;
    const label = `Resize to ${width} x ${height}`;
    const resize = make("button", { type: "button", className: "sg-text", textContent: label });
    resize.addEventListener("click", () => this.send(this.upload, true));
    this.problem.append(resize);
  }

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
    this.easel.end();
    if (!this.easel.touched) { this.say("nothing changed"); return; }
    const name = this.name(this.model.get("chosen"));
    this.sayDone({ brush: `${name} painted`, fill: `filled with ${name}`, eraser: "erased" }[tool]);
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
    const name = keyName(e);
    if (this.command(e, name)) return;
    if (e.target === this.canvas && this.steer(e, name)) { this.taken(e); return; }
    if (this.walk(e, name) || this.letter(e, name)) this.taken(e); else this.shield(e);
  }

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
    if (!e.target.classList.contains("sg-class")) return false;
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

export default widget((model) => new Easel(model), (easel, el) => new View(easel, el));
