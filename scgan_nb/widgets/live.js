// What the widgets over a state share in the browser; Python puts this file before the one of the widget.
// This file is written by hand: nbdev exports only Python. The protocol, and why it is so, is in
// nbs/widgets/00_live.ipynb.
//
// A Link holds what one widget shows and talks to the kernel. Each place where the widget is shown is a Page.
// The kernel owns the state and its history. The browser goes ahead of it and sends what has changed.

const WINDOW = 40; // milliseconds between two messages, at least
const SILENT = 4000; // milliseconds without an answer after which the user is told
const UNSENT = 1, FINISHED = 2, FLYING = 3; // marks of places (pixels, joints) that the kernel does not have yet

const bytesOf = (view) => view instanceof Uint8Array ? view
  : view instanceof ArrayBuffer ? new Uint8Array(view)
  : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// ---- what a widget shows, and its conversation with the kernel

class Link {
  constructor(model, places, verb) {
    this.model = model;
    this.verb = verb; // what one does here: "paint", "drag"
    this.views = new Set();
    this.client = Math.random().toString(36).slice(2);
    this.marks = new Uint8Array(places);
    this.version = model.get("version");
    [this.undos, this.redos] = model.get("history");
    this.dirty = null; // what the stroke has changed since it was sent last
    this.stroke = 0;
    this.pieces = []; // what waits to be sent, in order; see `flush`
    this.waiting = null; // the message that has no answer yet
    this.seq = 0;
    this.sentAt = 0;
    this.trouble = ""; // of the connection
    this.dead = false; // the channel is closed
    this.refused = null;
  }

  // A widget says: settings (the traits that a view shows), piece(mark) (the operation for what is dirty; it marks its
  // places), take(message, buffers) (news), takeWhole(buffers).

  listen() {
    this.model.on("msg:custom", (message, buffers) => this.receive(message, buffers ?? []));
    // whether the channel is closed is not told to a widget; its element carries a class of ipywidgets then
    this.model.on("comm_live_update", () => setTimeout(() => this.lookAlive(), 0));
    for (const name of this.settings) this.model.on(`change:${name}`, () => this.tell("settings"));
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

  /** A stroke is over: what it changed is packed now, since a later stroke may change it again. */
  end() {
    if (this.dirty) this.pieces.push(this.piece(FINISHED));
    this.flush();
    if (this.trouble && !this.dead) { this.probed = false; this.probe(); }
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

  /** What has changed in the kernel. What was changed here since keeps what it shows. */
  news(message, buffers) {
    if (this.mine(message)) this.settle();
    if (message.version <= this.version) return;
    if (message.from > this.version) { this.post({ kind: "ask", client: this.client }); return; }
    this.take(message, buffers);
    this.now(message);
  }

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
    this.takeWhole(buffers);
    this.now(message);
    this.flush();
  }

  /** The kernel has what was sent. */
  settle() { for (let i = 0; i < this.marks.length; i++) if (this.marks[i] === FLYING) this.marks[i] = 0; }

  /** Nothing of what was changed will be sent. */
  forget() { this.pieces = []; this.dirty = null; this.marks.fill(0); }

  // -- when it says nothing

  lost() {
    return "The kernel was restarted or has ended. You can go on here, but nothing is kept: run the cell again.";
  }

  quiet() {
    return `The kernel does not answer: it is busy, or it has ended. What you ${this.verb} is sent when it answers; ` +
      "if it was restarted, run the cell again.";
  }

  impatient() {
    if (this.dead) return;
    this.trouble = this.quiet();
    this.tell("trouble");
    this.probe();
  }

  /** Ask for the whole: a busy kernel answers later, a closed channel fails now. */
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
    this.dead = true; this.waiting = null; this.trouble = this.lost();
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
  const e = make("button", { type: "button", className: `sg-button sg-${name}`, title: text }, icon(name));
  e.setAttribute("aria-label", text);
  e.addEventListener("click", click);
  return e;
}

class Page {
  constructor(link, el) { this.link = link; this.model = link.model; this.el = el; }

  /** Called by a widget when its parts are there. */
  open() {
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.root);
    this.link.views.add(this);
    for (const what of ["settings", "history", "trouble"]) this.hear(what);
  }

  close() {
    this.link.views.delete(this);
    this.watch.disconnect();
  }

  // A widget says: key(event), showSettings(), change(what, box) (what it shows has changed), finish() (end of a
  // stroke), did (texts for undo, redo and reset).

  // -- parts

  frame(name, tools, stage, side) {
    this.root = make("div", { className: `scgan-live ${name}` });
    this.root.style.setProperty("--sg-side", `${side}px`);
    this.problem = make("div", { className: "sg-problem", role: "alert", hidden: true });
    this.problem.setAttribute("role", "alert");
    this.live = make("div", { className: "sg-live" });
    this.live.setAttribute("role", "status"); this.live.setAttribute("aria-live", "polite");
    this.where = make("div", { className: "sg-where" });
    this.where.setAttribute("aria-hidden", "true");
    const foot = make("div", { className: "sg-foot" }, this.live, this.where);
    this.desk = make("div", { className: "sg-desk" }, make("div", { className: "sg-board" }, stage, foot));
    const bar = make("div", { className: "sg-bar" }, ...tools);
    bar.setAttribute("role", "toolbar"); bar.setAttribute("aria-label", "Tools");
    this.root.append(bar, this.problem, this.desk);
    this.el.append(this.root);
  }

  group(label, ...all) {
    const g = make("div", { className: "sg-group" }, ...all);
    g.setAttribute("role", "group"); g.setAttribute("aria-label", label);
    return g;
  }

  history(...more) {
    this.undo = button("undo", "undo", "Ctrl+Z", () => this.go("undo"));
    this.redo = button("redo", "redo", "Ctrl+Shift+Z", () => this.go("redo"));
    this.asks = [...more]; // buttons that need a kernel
    return this.group("History", this.undo, this.redo);
  }

  /** Narrow outputs get what is beside the stage below it; a query of the window would not see sidebars. */
  fit() {
    const side = parseFloat(getComputedStyle(this.root).getPropertyValue("--sg-side"));
    this.root.classList.toggle("sg-narrow", this.root.clientWidth < side + 170);
  }

  // -- what the link tells

  hear(what, box) {
    if (what === "settings") this.showSettings();
    else if (what === "history") this.showHistory();
    else if (what !== "trouble") this.change(what, box);
    if (what === "trouble" || what === "settings") this.showProblem();
  }

  showHistory() {
    const { undos, redos, dead } = this.link;
    this.undo.disabled = dead || !undos;
    this.redo.disabled = dead || !redos;
    for (const e of this.asks) e.disabled = dead;
  }

  showProblem() {
    const text = this.link.trouble || this.model.get("message");
    this.problem.replaceChildren(make("span", { textContent: text }));
    this.problem.hidden = !text;
    this.showHistory();
    return text;
  }

  say(text) { this.live.textContent = text; }

  /** What was done, and whether it is kept. */
  sayDone(text) {
    this.say(this.link.dead ? `${text}, on this page only` : `${text}, undo possible`);
    if (!this.link.dead) this.undo.disabled = false; // the kernel confirms it with the next news
  }

  go(what) {
    this.finish();
    const { undos, redos, pieces, waiting } = this.link, busy = pieces.length || waiting;
    if (!busy && (what === "undo" && !undos || what === "redo" && !redos)) { this.say(`nothing to ${what}`); return; }
    if (this.link.ask({ do: what })) this.say(this.did[what]);
  }

  // -- keys

  /** Undo and redo, and which keys are no business of a widget: true if nothing is left to do. */
  command(e, name) {
    if (e.isComposing) return true;
    const command = e.ctrlKey || e.metaKey;
    if (command && !e.altKey && (name === "z" || name === "y")) {
      this.taken(e);
      if (!e.repeat || !this.link.waiting) this.go(name === "y" || e.shiftKey ? "redo" : "undo");
      return true;
    }
    if (command || e.altKey) return true; // the page's own: save, find...
    if (name === "Escape") { this.finish(); return true; }
    return false;
  }

  taken(e) { e.preventDefault(); e.stopPropagation(); }

  /** A plain letter must not reach the notebook, where d d removes a cell. */
  shield(e) {
    if (e.key.length === 1 || e.key === "Enter" && !e.shiftKey || e.key.startsWith("Arrow")) e.stopPropagation();
  }
}

const keyName = (e) => e.key.length === 1 ? e.key.toLowerCase() : e.key;

/** What anywidget wants of a module: a link for each widget, a page for each place where it is shown. */
const widget = (makeLink, makePage) => () => {
  let link;
  return {
    initialize({ model }) { link = makeLink(model); return () => link.close(); },
    render({ el }) { const page = makePage(link, el); return () => page.close(); },
  };
};
