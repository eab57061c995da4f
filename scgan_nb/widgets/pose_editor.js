// The browser's side of scgan_nb.widgets.pose_editor, after live.js. This file is written by hand: nbdev exports only
// Python. Its messages are in nbs/widgets/31_pose_editor.ipynb.
//
// A Skeleton holds the joints of one widget. Each place where the widget is shown is a Figure.

/** 18 places as (y, x) in pixels; NaN: not visible. */
function placesOf(data) {
  const bytes = bytesOf(data), view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = (i) => view.getFloat32(4 * i, true);
  return Array.from({ length: 18 }, (_, j) => ({ y: at(2 * j), x: at(2 * j + 1) }));
}

function bytesOfPlaces(places) {
  const view = new DataView(new ArrayBuffer(8 * places.length));
  places.forEach(({ y, x }, i) => { view.setFloat32(8 * i, y, true); view.setFloat32(8 * i + 4, x, true); });
  return new Uint8Array(view.buffer);
}

// ---- the joints of one widget

class Skeleton extends Link {
  settings = ["rigid", "shown", "behind", "message"];

  constructor(model) {
    super(model, 18, "change");
    [this.height, this.width] = model.get("size");
    this.limbs = model.get("limbs"); // [inner, outer]
    this.parent = Array(18).fill(null);
    for (const [inner, outer] of this.limbs) this.parent[outer] = inner;
    this.pose = placesOf(model.get("snapshot"));
    this.listen();
  }

  seen(j) { return !Number.isNaN(this.pose[j].y); }

  /** Everything that hangs on a joint. */
  hanging(j) { return this.limbs.filter(([a]) => a === j).flatMap(([, b]) => [b, ...this.hanging(b)]); }

  begin() {
    if (this.dirty) this.end();
    this.stroke++; this.touched = 0; this.start = this.pose.map((p) => ({ ...p }));
  }

  put(j, y, x) {
    const p = this.pose[j];
    if (Object.is(p.y, y) && Object.is(p.x, x)) return;
    this.pose[j] = { y, x }; this.marks[j] = UNSENT; this.dirty = true; this.touched++;
  }

  /** A joint follows the pointer from where the stroke began; the same places as `drag` of PoseState. */
  drag(j, y, x, rigid) {
    y = Math.min(this.height - 1, Math.max(0, y)); x = Math.min(this.width - 1, Math.max(0, x));
    if (rigid) this.turn(j, y, x); else this.put(j, y, x);
    this.tell("pose");
    this.flush();
  }

  /** What hangs on the joint comes along, and limbs keep their lengths. */
  turn(j, y, x) {
    const { start } = this, moves = [j, ...this.hanging(j)], centre = start[this.parent[j]];
    if (!centre || Number.isNaN(centre.y)) {
      const dy = y - start[j].y, dx = x - start[j].x;
      for (const k of moves) this.put(k, start[k].y + dy, start[k].x + dx);
      return;
    }
    const p = { y: start[j].y - centre.y, x: start[j].x - centre.x }, q = { y: y - centre.y, x: x - centre.x };
    const n = Math.hypot(p.y, p.x) * Math.hypot(q.y, q.x);
    if (!n) return; // a limb without direction
    const cos = (q.x * p.x + q.y * p.y) / n, sin = (q.y * p.x - q.x * p.y) / n;
    for (const k of moves) {
      const v = { y: start[k].y - centre.y, x: start[k].x - centre.x };
      this.put(k, centre.y + sin * v.x + cos * v.y, centre.x + cos * v.x - sin * v.y);
    }
  }

  hide(j) { this.begin(); this.put(j, NaN, NaN); this.tell("pose"); this.end(); }

  piece(mark) {
    const joints = [...this.marks.keys()].filter((j) => this.marks[j] === UNSENT);
    for (const j of joints) this.marks[j] = mark;
    this.dirty = null;
    return { do: "joints", stroke: this.stroke, joints, buffer: bytesOfPlaces(joints.map((j) => this.pose[j])) };
  }

  // -- what the kernel says

  take(message, buffers) { this.takeWhole(buffers); }

  takeWhole(buffers) {
    placesOf(buffers[0]).forEach((p, j) => { if (!this.marks[j]) this.pose[j] = p; });
    this.tell("pose");
  }
}

// ---- what one sees of it

Object.assign(ICONS, {
  lock: "M5.5 9h9v7.5h-9zM7.3 9V6.6a2.7 2.7 0 015.4 0V9M10 12v2",
  mirror: "M10 3v14M7.5 6L3.5 14h4zM12.5 6l4 8h-4z",
  eye: "M2.5 10S5.3 5.2 10 5.2 17.5 10 17.5 10 14.7 14.8 10 14.8 2.5 10 2.5 10z" +
    "M10 12.1a2.1 2.1 0 100-4.2 2.1 2.1 0 000 4.2",
  blind: "M3.4 8.2C4.7 10 6.9 12 10 12s5.3-2 6.6-3.8M10 12v2.6M5.9 10.9l-1.4 2.2M14.1 10.9l1.4 2.2",
});
const FACE = [0, 14, 15, 16, 17]; // joints that are drawn small: they lie close together
// as one sees a person from the front; the middle, then right and left
const ROWS = [[0, 1], [14, 15], [16, 17], [2, 5], [3, 6], [4, 7], [8, 11], [9, 12], [10, 13]];
const NEAR = 13, NEAR_FINGER = 24; // pixels of the screen within which a joint is caught

function draw(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

class Figure extends Page {
  did = { undo: "undone", redo: "done again", reset: "back to the pose that was loaded" };

  constructor(skeleton, el) {
    super(skeleton, el);
    this.skeleton = skeleton;
    this.names = this.model.get("names");
    this.colors = this.model.get("colors").map((c) => `rgb(${c.join(",")})`);
    this.pointer = null; // the pointer that drags
    this.chosen = null; // the joint that was touched last
    this.build();
    this.listen();
    this.open();
    this.change();
  }

  close() {
    super.close();
    if (this.url) URL.revokeObjectURL(this.url);
  }

  // -- its parts

  build() {
    const { height, width } = this.skeleton, longer = Math.max(height, width), side = this.model.get("side");
    this.unit = longer / side; // pixels of the image in a pixel of the screen, as long as there is room
    this.margin = 0.05 * longer; // around the image: joints may leave it
    this.frame("scgan-poser", this.buildTools(), this.buildStage(), Math.round((width + 2 * this.margin) / this.unit));
    this.desk.append(this.buildJoints());
  }

  buildTools() {
    const { model } = this;
    this.lock = button("lock", "limbs keep their lengths", "L", () => this.toggle("rigid"));
    this.mirror = button("mirror", "mirror: right and left change places", "M", () => this.mirrored());
    const reset = button("reset", "back to the pose that was loaded", "", () => this.go("reset"));
    this.file = make("input", { type: "file", accept: ".json,application/json", hidden: true });
    this.file.setAttribute("aria-label", "Joints as JSON");
    const load = button("open", "load joints from a JSON file of OpenPose or COCO", "", () => this.file.click());
    this.picture = button("overlay", "show the image behind the joints", "O", () => this.toggle("shown"));
    const tools = [this.group("Limbs", this.lock, this.picture), this.history(this.mirror, reset, load),
      this.group("Pose", this.mirror, reset, load, this.file)];
    if (model.get("samples")) tools.push(this.buildSample());
    return tools;
  }

  buildSample() {
    const max = this.model.get("samples") - 1;
    this.sample = make("input", { type: "number", min: 0, max, step: 1, placeholder: "number" });
    this.sample.setAttribute("aria-label", "Load the pose of a sample: its number");
    this.asks.push(this.sample);
    this.sample.addEventListener("change", () => {
      if (this.sample.value === "") return;
      const index = Number(this.sample.value);
      if (this.link.ask({ do: "sample", index })) this.say(`pose of sample ${index} loaded, undo possible`);
    });
    return make("label", { className: "sg-sample", title: "load the pose of a sample" }, "load sample", this.sample);
  }

  buildStage() {
    const { height, width } = this.skeleton, m = this.margin, u = this.unit, h = height + 2 * m, w = width + 2 * m;
    this.photo = make("img", { className: "sg-behind", alt: "", hidden: true, draggable: false });
    const share = (v, n) => `${100 * v / n}%`;
    const place = { left: share(m, w), top: share(m, h), width: share(width, w), height: share(height, h) };
    this.ground = make("div", { className: "sg-ground" });
    for (const e of [this.ground, this.photo]) Object.assign(e.style, place);
    this.outlines = this.skeleton.limbs.map(() => draw("line", { class: "sg-outline", "stroke-width": 7.5 * u }));
    this.lines = this.skeleton.limbs.map(([, b]) =>
      draw("line", { class: "sg-limb", stroke: this.colors[b], "stroke-width": 4.5 * u }));
    this.dots = this.names.map((name, j) => this.buildDot(j, u));
    this.svg = draw("svg", { viewBox: `${-m} ${-m} ${w} ${h}`, class: "sg-figure", role: "application" },
      ...this.outlines, ...this.lines, ...this.dots);
    this.svg.setAttribute("aria-label", `Pose in an image of ${width} by ${height} pixels. Tab goes from joint to ` +
      "joint, arrow keys move it, with shift further. H hides it, L locks the lengths of limbs, M mirrors, " +
      "control Z undoes.");
    this.stage = make("div", { className: "sg-stage" }, this.ground, this.photo, this.svg);
    this.stage.style.aspectRatio = `${w} / ${h}`;
    return this.stage;
  }

  buildDot(j, u) {
    const r = (FACE.includes(j) ? 3.6 : 5) * u;
    const dot = draw("g", { class: "sg-joint", tabindex: 0, role: "button", "aria-roledescription": "joint" },
      draw("circle", { class: "sg-near", r: 13 * u }),
      draw("circle", { class: "sg-halo", r: r + 4.5 * u, "stroke-width": 2 * u }),
      draw("circle", { class: "sg-dot", r, fill: this.colors[j], "stroke-width": 1.5 * u }));
    dot.dataset.joint = j;
    return dot;
  }

  /** Each joint with its name, and whether it is visible; right and left as one sees a person from the front. */
  buildJoints() {
    const list = make("div", { className: "sg-joints" });
    list.setAttribute("role", "group"); list.setAttribute("aria-label", "Joints");
    this.cells = []; this.eyes = [];
    for (const [k, row] of ROWS.entries()) {
      const sides = k === 1 ? ["right", "left"] : [];
      list.append(...sides.map((textContent) => make("div", { className: "sg-side", textContent })));
      for (const j of row) list.append(this.buildCell(j, k ? this.names[j].split(" ")[1] : this.names[j]));
    }
    this.order = ROWS.flat();
    this.eyes[this.order[0]].tabIndex = 0;
    return list;
  }

  buildCell(j, short) {
    const chip = make("span", { className: "sg-chip" });
    chip.style.background = this.colors[j];
    const name = make("button", { type: "button", className: "sg-pick", tabIndex: -1, title: this.names[j] }, chip,
      make("span", { className: "sg-name", textContent: short }));
    name.setAttribute("aria-label", `choose the ${this.names[j]}`);
    name.addEventListener("click", () => this.skeleton.seen(j) ? this.dots[j].focus() : this.toggleJoint(j));
    const eye = make("button", { type: "button", className: "sg-eye", tabIndex: -1 }, icon("eye"), icon("blind"));
    eye.setAttribute("role", "switch"); eye.setAttribute("aria-label", `${this.names[j]} visible`);
    eye.addEventListener("click", () => this.toggleJoint(j));
    const cell = make("div", { className: "sg-cell" }, name, eye);
    cell.addEventListener("pointerenter", () => this.point(j));
    cell.addEventListener("pointerleave", () => this.point(null));
    this.cells[j] = cell; this.eyes[j] = eye;
    cell.dataset.row = j;
    return cell;
  }

  listen() {
    const on = (name, f) => this.svg.addEventListener(name, f.bind(this));
    on("pointerdown", this.down); on("pointermove", this.move);
    on("pointerup", this.up); on("pointercancel", this.up); on("lostpointercapture", this.up);
    on("pointerleave", () => { if (!this.pointer) this.point(null); });
    on("focusin", (e) => { const j = this.jointOf(e.target); if (j !== null) this.choose(j); });
    this.file.addEventListener("change", () => this.load());
  }

  // -- what the skeleton tells

  change() {
    const { pose, limbs } = this.skeleton;
    limbs.forEach(([a, b], k) => {
      for (const line of [this.outlines[k], this.lines[k]]) {
        line.toggleAttribute("hidden", !this.skeleton.seen(a) || !this.skeleton.seen(b));
        if (line.hasAttribute("hidden")) continue;
        const ends = { x1: pose[a].x, y1: pose[a].y, x2: pose[b].x, y2: pose[b].y };
        for (const [name, v] of Object.entries(ends)) line.setAttribute(name, v + 0.5);
      }
    });
    pose.forEach((p, j) => {
      const seen = this.skeleton.seen(j), dot = this.dots[j];
      dot.toggleAttribute("hidden", !seen);
      this.eyes[j].setAttribute("aria-checked", String(seen));
      this.cells[j].dataset.seen = String(seen);
      if (!seen) return;
      const x = this.clip(p.x, "width"), y = this.clip(p.y, "height");
      dot.setAttribute("transform", `translate(${x + 0.5} ${y + 0.5})`);
      dot.dataset.out = String(x !== p.x || y !== p.y);
      dot.setAttribute("aria-label", `${this.names[j]}, row ${Math.round(p.y)}, column ${Math.round(p.x)}`);
    });
    this.showPlace();
  }

  /** Where a joint is shown: one that has left the stage is at its border. */
  clip(v, side) {
    const m = 0.8 * this.margin;
    return Math.min(this.skeleton[side] - 0.5 + m, Math.max(-0.5 - m, v));
  }

  showSettings() {
    this.lock.setAttribute("aria-pressed", String(this.model.get("rigid")));
    const behind = this.model.get("behind"), shown = this.model.get("shown");
    if (behind !== this.behind) this.showBehind(behind);
    this.picture.disabled = !behind.byteLength;
    this.picture.setAttribute("aria-pressed", String(shown && behind.byteLength > 0));
    this.photo.hidden = !shown || !behind.byteLength;
  }

  /** The old image stays until the new one is there. */
  showBehind(behind) {
    const old = this.url;
    this.behind = behind;
    this.url = behind.byteLength ? URL.createObjectURL(new Blob([bytesOf(behind)])) : "";
    if (this.url) this.photo.src = this.url; else this.photo.removeAttribute("src");
    if (old) setTimeout(() => URL.revokeObjectURL(old), 2000);
  }

  showPlace() {
    const j = this.pointed ?? this.chosen, p = j === null ? null : this.skeleton.pose[j];
    const seen = p && this.skeleton.seen(j);
    const place = seen ? `  ${Math.round(p.x)}, ${Math.round(p.y)}` : "";
    this.where.textContent = p ? this.names[j] + place : "";
  }

  // -- the pointer

  at(e) {
    const r = this.svg.getBoundingClientRect(), { height, width } = this.skeleton, m = this.margin;
    return { y: (e.clientY - r.top) / r.height * (height + 2 * m) - m - 0.5,
      x: (e.clientX - r.left) / r.width * (width + 2 * m) - m - 0.5, scale: (width + 2 * m) / r.width };
  }

  /** The joint that a pointer means: the nearest one, the chosen one first where several are close. */
  under(e) {
    const p = this.at(e), reach = (e.pointerType === "touch" ? NEAR_FINGER : NEAR) * p.scale;
    let best = null, least = reach;
    this.skeleton.pose.forEach((q, j) => {
      if (!this.skeleton.seen(j)) return;
      const away = Math.hypot(p.y - this.clip(q.y, "height"), p.x - this.clip(q.x, "width"));
      const far = away - (j === this.chosen ? 3 * p.scale : 0);
      if (far < least) { best = j; least = far; }
    });
    return best;
  }

  down(e) {
    if (this.pointer || e.button > 0) return;
    const j = this.under(e);
    if (j === null) return;
    e.preventDefault();
    this.finish();
    try { this.svg.setPointerCapture(e.pointerId); } catch { /* the pointer is gone already */ }
    this.dots[j].focus({ preventScroll: true });
    const p = this.at(e), q = this.skeleton.pose[j];
    const far = Math.hypot(p.y - q.y, p.x - q.x) > 2 * NEAR_FINGER * p.scale; // shown at the border
    this.pointer = { id: e.pointerId, joint: j, y: far ? 0 : q.y - p.y, x: far ? 0 : q.x - p.x, moved: false };
    this.skeleton.begin();
    this.stage.dataset.drags = "true";
  }

  move(e) {
    if (!this.pointer) { this.point(e.pointerType === "touch" ? null : this.under(e)); return; }
    if (this.pointer.id !== e.pointerId) return;
    e.preventDefault();
    const p = this.at(e), d = this.pointer;
    this.skeleton.drag(d.joint, p.y + d.y, p.x + d.x, this.model.get("rigid") !== e.shiftKey);
  }

  up(e) { if (this.pointer && this.pointer.id === e.pointerId) this.finish(); }

  finish() {
    this.nudged = null;
    const drag = this.pointer;
    this.pointer = null;
    if (!drag) return;
    this.stage.dataset.drags = "false";
    this.skeleton.end();
    if (this.skeleton.touched) this.sayDone(`${this.names[drag.joint]} moved`);
  }

  /** Show which joint the pointer is on. */
  point(j) {
    if (j === this.pointed) return;
    for (const [k, on] of [[this.pointed, false], [j, true]]) {
      if (k === null || k === undefined) continue;
      this.dots[k].classList.toggle("sg-pointed", on);
      this.cells[k].classList.toggle("sg-pointed", on);
    }
    this.pointed = j;
    this.stage.dataset.over = String(j !== null);
    this.showPlace();
  }

  choose(j) {
    if (this.chosen !== null) for (const e of [this.dots, this.cells]) e[this.chosen].classList.remove("sg-chosen");
    this.chosen = j;
    for (const e of [this.dots, this.cells]) e[j].classList.add("sg-chosen");
    this.showPlace();
  }

  // -- what one does

  toggle(name) {
    this.link.set(name, !this.model.get(name));
    const words = { rigid: ["limbs change their lengths", "limbs keep their lengths"],
      shown: ["image hidden", "image shown"] };
    this.say(words[name][Number(this.model.get(name))]);
  }

  toggleJoint(j) {
    this.finish();
    this.choose(j);
    if (this.skeleton.seen(j)) { this.skeleton.hide(j); this.sayDone(`${this.names[j]} hidden`); return; }
    if (this.link.ask({ do: "bring", joint: j })) this.say(`${this.names[j]} visible`);
  }

  mirrored() {
    this.finish();
    if (this.link.ask({ do: "mirror" })) this.say("mirrored, undo possible");
  }

  async load() {
    const file = this.file.files[0];
    this.file.value = ""; // the same file may be chosen again
    if (!file) return;
    const buffer = new Uint8Array(await file.arrayBuffer());
    this.finish();
    if (this.link.ask({ do: "file", name: file.name, buffer })) this.say(`${file.name} sent to the kernel`);
  }

  // -- the keys

  jointOf(e) { const g = e.closest?.("[data-joint]"); return g ? Number(g.dataset.joint) : null; }

  key(e) {
    const name = keyName(e);
    if (e.target === this.sample) { this.shield(e); return; } // Enter is the notebook's, too
    if (this.command(e, name)) return;
    const on = this.jointOf(e.target), row = e.target.closest?.("[data-row]");
    if (on !== null && this.steer(e, on) || row && this.walk(e, Number(row.dataset.row))) { this.taken(e); return; }
    if (this.letter(name, on ?? (row ? Number(row.dataset.row) : this.chosen))) this.taken(e); else this.shield(e);
  }

  steer(e, j) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (!step) return false;
    if (this.pointer) return true;
    const far = e.shiftKey ? 8 : 1, { skeleton } = this, now = performance.now();
    if (this.nudged?.joint !== j || now - this.nudged.at > 1000) skeleton.begin(); // else the same step of undo
    this.nudged = { joint: j, at: now };
    skeleton.touched = 0;
    skeleton.start = skeleton.pose.map((p) => ({ ...p }));
    const { y, x } = skeleton.pose[j];
    skeleton.drag(j, y + far * step[0], x + far * step[1], this.model.get("rigid"));
    const p = skeleton.pose[j];
    if (skeleton.touched) this.sayDone(`${this.names[j]}: column ${Math.round(p.x)}, row ${Math.round(p.y)}`);
    else this.say(this.model.get("rigid") ? "the limb keeps its length; L unlocks it" : "at the border");
    return true;
  }

  /** Arrow keys walk through the list of joints; one of its buttons is reached by tab. */
  walk(e, j) {
    const step = { ArrowDown: 2, ArrowUp: -2, ArrowRight: 1, ArrowLeft: -1 }[e.key], n = this.order.length;
    if (!step) return false;
    const next = this.order[(this.order.indexOf(j) + step + n) % n];
    for (const k of this.order) this.eyes[k].tabIndex = k === next ? 0 : -1;
    this.eyes[next].focus();
    return true;
  }

  letter(name, j) {
    if (name === "l") { this.toggle("rigid"); return true; }
    if (name === "m") { this.mirrored(); return true; }
    if (name === "o" && !this.picture.disabled) { this.toggle("shown"); return true; }
    if (name !== "h" && name !== "Delete" || j === null) return false;
    if (name === "Delete" && !this.skeleton.seen(j)) return true;
    this.toggleJoint(j);
    if (!this.skeleton.seen(j)) this.eyes[j].focus(); // its joint is gone
    return true;
  }
}

export default widget((model) => new Skeleton(model), (skeleton, el) => new Figure(skeleton, el));
