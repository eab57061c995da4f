// The browser's half of the mask painter. The kernel's half, the messages between them and the reasons
// are in nbs/widgets/01_mask_painter.ipynb. Written by hand: no build step, nothing is loaded from elsewhere.

const THROTTLE = 40 // milliseconds between two messages of a stroke
const PATIENCE = 5000 // milliseconds without an answer after which the kernel counts as gone
const NONE = 255 // the id of a pixel without class

// icons are strokes on a grid of 16 x 16
const TOOLS = {
  brush: { icon: "M3 13c2 .5 3.5-.5 3.5-2.2 0-.9-.7-1.6-1.6-1.6-1.5 0-1.2 2-1.9 3.8z M6.5 9.5 13 3", key: "b",
    help: "paint the class" },
  eraser: { icon: "M6 13h7 M3 9.5 9 3.5 12.5 7 6.5 13H5z M5.5 7 9 10.5", key: "e", help: "bring back what was loaded" },
  fill: { icon: "M2.5 8.5 8 3l4.5 4.5L7 13z M8 3 6 1 M2.5 8.5h9 M14 10c1.2 1.6 1 3.2 0 3.2s-1.2-1.6 0-3.2z", key: "f",
    help: "fill a region with the class" },
  pick: { icon: "M9.5 3.5l3 3 M8.5 5 11 7.5 5.5 13 3 13.2l.2-2.7z M10.5 5l2-2", key: "i",
    help: "take the class from the picture" },
}
const ORDERS = {
  undo: { icon: "M6 3.5 3 6.5l3 3 M3 6.5h6.5a3.2 3.2 0 0 1 0 6.5H7", help: "undo (Ctrl+Z)" },
  redo: { icon: "M10 3.5l3 3-3 3 M13 6.5H6.5a3.2 3.2 0 0 0 0 6.5H9", help: "redo (Ctrl+Shift+Z)" },
  reset: { icon: "M12.6 8a4.6 4.6 0 1 1-1.4-3.3 M12.8 2.2v2.9H9.9", help: "back to the mask that was loaded" },
}
const FOLDER = "M2 3.5h4l1.5 1.8H14v7.7H2z"

// Runs: an id, then a length in two bytes, the low one first.
function toRuns(ids) {
  const out = []
  for (let i = 0; i < ids.length; ) {
    let n = 1
    while (n < 65535 && i + n < ids.length && ids[i + n] === ids[i]) n++
    out.push(ids[i], n & 255, n >> 8)
    i += n
  }
  return new Uint8Array(out)
}

function fromRuns(view, length) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  const ids = new Uint8Array(length)
  for (let k = 0, i = 0; k < bytes.length; k += 3) {
    const n = bytes[k + 1] + 256 * bytes[k + 2]
    ids.fill(bytes[k], i, i + n)
    i += n
  }
  return ids
}

function make(tag, attributes, parent) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value
    else node.setAttribute(name, value)
  }
  parent?.append(node)
  return node
}

class Painter {
  constructor(model, el) {
    this.model = model
    this.height = model.get("height")
    this.width = model.get("width")
    this.dirty = null // the rectangle that the kernel does not know yet
    this.waiting = null // the number of the message that has no answer yet
    this.orders = [] // clicks that wait for their turn: undo, redo, reset, load
    this.stroke = null // {number, y, x} while the pointer is down
    this.cursor = { y: Math.floor(this.height / 2), x: Math.floor(this.width / 2), shown: false }
    this.count = 0
    this.sent = 0 // when the last message went
    this.build(el)
    this.listen()
    this.take()
    this.refresh()
  }

  // ---- what is on the page

  build(el) {
    // Lab's single-letter shortcuts must not hear the keys of the painter
    this.root = make("div", { class: "scgan-painter", "data-lm-suppress-shortcuts": "true" }, el)
    this.root.style.setProperty("--side", `${this.model.get("side")}px`)
    const bar = make("div", { class: "bar", role: "toolbar", "aria-label": "tools" }, this.root)
    this.tools = {}
    for (const [name, { icon, key, help }] of Object.entries(TOOLS)) {
      const label = `${name}: ${help} (${key.toUpperCase()})`
      this.tools[name] = this.button(bar, icon, label, () => this.choose("tool", name))
    }
    this.buttons = {}
    for (const [name, { icon, help }] of Object.entries(ORDERS)) {
      this.buttons[name] = this.button(bar, icon, help, () => this.order({ kind: name }))
    }
    this.file = make("input", { type: "file", accept: "image/png", hidden: "" }, bar)
    this.button(bar, FOLDER, "load a mask from a PNG of class ids or of these colours", () => this.file.click())
    const size = make("label", { class: "size", text: "size " }, bar)
    this.size = make("input", { type: "range", min: 1, max: 32, step: 1, "aria-label": "brush size in pixels" }, size)
    this.number = make("output", {}, size)
    this.frame = make("div", { class: "frame" }, this.root)
    this.frame.style.aspectRatio = `${this.width} / ${this.height}`
    const keys = "arrow keys move the brush, space paints, B brush, E eraser, F fill, I pick, N and P change the class"
    this.canvas = make("canvas", { width: this.width, height: this.height, tabindex: 0, role: "application",
      "aria-label": `mask: ${keys}` }, this.frame)
    this.ring = make("canvas", { class: "ring", "aria-hidden": "true" }, this.frame)
    this.swatches = this.palette()
    this.live = make("p", { class: "live", role: "status", "aria-live": "polite" }, this.root)
  }

  button(parent, icon, help, act) {
    const b = make("button", { type: "button", title: help, "aria-label": help }, parent)
    if (icon) b.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${icon}"/></svg>`
    b.addEventListener("click", act)
    return b
  }

  palette() {
    const box = make("div", { class: "palette", role: "group", "aria-label": "classes" }, this.root)
    const colours = this.model.get("colours")
    return this.model.get("classes").map((name, i) => {
      const b = this.button(box, "", `class ${name}`, () => this.choose("current", i))
      make("span", { class: "swatch" }, b).style.background = colours[i]
      make("span", { text: name.replaceAll("_", " ") }, b)
      return b
    })
  }

  choose(trait, value) {
    this.model.set(trait, value)
    this.model.save_changes()
  }

  refresh() {
    const { model } = this
    for (const [name, b] of Object.entries(this.tools)) b.setAttribute("aria-pressed", name === model.get("tool"))
    this.swatches.forEach((b, i) => b.setAttribute("aria-pressed", i === model.get("current")))
    this.buttons.undo.disabled = !model.get("undoable")
    this.buttons.redo.disabled = !model.get("redoable")
    this.size.value = model.get("brush")
    this.number.value = model.get("brush")
    this.drawRing()
  }

  say(text, trouble = false) {
    this.live.textContent = text
    this.live.classList.toggle("trouble", trouble)
  }

  // ---- events

  listen() {
    const on = (node, events, f) => events.split(" ").forEach((e) => node.addEventListener(e, f))
    on(this.canvas, "pointerdown", (e) => this.down(e))
    on(this.canvas, "pointermove", (e) => this.move(e))
    on(this.canvas, "pointerup pointercancel lostpointercapture", () => this.up())
    on(this.canvas, "pointerleave blur", () => { this.cursor.shown = false; this.drawRing() })
    on(this.canvas, "focus", () => { this.cursor.shown = true; this.drawRing() })
    on(this.canvas, "contextmenu", (e) => e.preventDefault())
    on(this.root, "keydown", (e) => this.key(e))
    on(this.size, "input", () => this.choose("brush", Number(this.size.value)))
    on(this.file, "change", () => this.loadFile())
    this.heard = (content) => this.answer(content)
    this.changed = () => this.refresh()
    this.arrived = () => this.settle()
    this.model.on("msg:custom", this.heard)
    this.model.on("change:tool change:current change:brush change:undoable change:redoable", this.changed)
    this.model.on("change:snapshot", this.arrived)
  }

  remove() {
    this.model.off("msg:custom", this.heard)
    this.model.off("change:tool change:current change:brush change:undoable change:redoable", this.changed)
    this.model.off("change:snapshot", this.arrived)
    clearTimeout(this.later)
    clearTimeout(this.patience)
  }

  place(e) { // pixel centres have whole coordinates
    const r = this.canvas.getBoundingClientRect()
    const y = ((e.clientY - r.top) / r.height) * this.height, x = ((e.clientX - r.left) / r.width) * this.width
    return { y: y - 0.5, x: x - 0.5 }
  }

  down(e) {
    if (!e.isPrimary || e.button > 0) return
    e.preventDefault()
    this.canvas.focus({ preventScroll: true })
    this.canvas.setPointerCapture(e.pointerId)
    this.begin(this.place(e))
  }

  move(e) {
    if (!e.isPrimary) return
    Object.assign(this.cursor, this.place(e), { shown: true })
    if (this.stroke) {
      const all = e.getCoalescedEvents?.() ?? []
      for (const each of all.length ? all : [e]) this.draw(this.place(each))
    }
    this.drawRing()
  }

  up() {
    if (!this.stroke) return
    this.stroke = null
    this.flush()
  }

  key(e) {
    const letter = e.key.toLowerCase()
    if ((e.ctrlKey || e.metaKey) && (letter === "z" || letter === "y")) {
      this.order({ kind: letter === "y" || e.shiftKey ? "redo" : "undo" })
    } else if (e.ctrlKey || e.metaKey || e.altKey || e.target !== this.canvas) return
    else if (!this.plainKey(e, letter)) return
    e.preventDefault()
    e.stopPropagation()
  }

  plainKey(e, letter) {
    const arrows = { arrowup: [-1, 0], arrowdown: [1, 0], arrowleft: [0, -1], arrowright: [0, 1] }
    const tool = Object.keys(TOOLS).find((name) => TOOLS[name].key === letter)
    const n = this.swatches.length
    if (arrows[letter]) this.step(arrows[letter], e.shiftKey ? 5 : 1)
    else if (letter === " " || letter === "enter") { this.begin(this.cursor); this.up() }
    else if (tool) this.choose("tool", tool)
    else if (letter === "[" || letter === "]") {
      const size = this.model.get("brush") + (letter === "]" ? 1 : -1)
      this.choose("brush", Math.min(32, Math.max(1, size)))
    } else if (letter === "n" || letter === "p") {
      this.choose("current", (this.model.get("current") + (letter === "n" ? 1 : n - 1)) % n)
      this.say(`class ${this.model.get("classes")[this.model.get("current")]}`)
    } else return false
    return true
  }

  step([dy, dx], far) {
    const c = this.cursor
    c.y = Math.min(this.height - 1, Math.max(0, Math.round(c.y) + far * dy))
    c.x = Math.min(this.width - 1, Math.max(0, Math.round(c.x) + far * dx))
    c.shown = true
    this.say(`row ${c.y}, column ${c.x}: ${this.nameAt(c.y, c.x)}`)
    this.drawRing()
  }

  nameAt(y, x) {
    const id = this.ids[y * this.width + x]
    return id === NONE ? "no class" : this.model.get("classes")[id]
  }

  // ---- painting; everything is drawn here at once, and sent later

  begin(at) {
    const y = Math.min(this.height - 1, Math.max(0, Math.round(at.y)))
    const x = Math.min(this.width - 1, Math.max(0, Math.round(at.x)))
    const tool = this.model.get("tool")
    if (tool === "pick") {
      const id = this.ids[y * this.width + x]
      if (id !== NONE) this.choose("current", id)
      this.say(`picked ${this.nameAt(y, x)}`)
      return
    }
    // a number of this stroke alone, also after a reload
    this.stroke = { number: Math.floor(Math.random() * 2 ** 31), y: at.y, x: at.x }
    if (tool === "fill") {
      this.fill(y, x)
      this.up()
    } else this.draw(at)
  }

  draw(to) { // a line of the brush's width from the last place
    const { y: ay, x: ax } = this.stroke
    const radius = this.model.get("brush") / 2
    const erases = this.model.get("tool") === "eraser"
    const current = this.model.get("current")
    const dy = to.y - ay, dx = to.x - ax
    const length = Math.max(dy * dy + dx * dx, 1e-9)
    const top = Math.max(0, Math.floor(Math.min(ay, to.y) - radius))
    const left = Math.max(0, Math.floor(Math.min(ax, to.x) - radius))
    const bottom = Math.min(this.height - 1, Math.ceil(Math.max(ay, to.y) + radius))
    const right = Math.min(this.width - 1, Math.ceil(Math.max(ax, to.x) + radius))
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const t = Math.min(1, Math.max(0, ((y - ay) * dy + (x - ax) * dx) / length))
        const far = (y - ay - t * dy) ** 2 + (x - ax - t * dx) ** 2
        const i = y * this.width + x
        if (far <= radius * radius) this.ids[i] = erases ? this.base[i] : current
      }
    }
    this.stroke.y = to.y
    this.stroke.x = to.x
    this.touch(top, left, bottom, right)
  }

  fill(y, x) { // the connected region of a pixel
    const { width, height, ids } = this
    const old = ids[y * width + x], now = this.model.get("current")
    if (old === now) return
    const stack = [y * width + x]
    let top = y, left = x, bottom = y, right = x
    while (stack.length) {
      const i = stack.pop()
      if (ids[i] !== old) continue
      ids[i] = now
      const r = Math.floor(i / width), c = i % width
      top = Math.min(top, r); bottom = Math.max(bottom, r); left = Math.min(left, c); right = Math.max(right, c)
      if (c > 0) stack.push(i - 1)
      if (c < width - 1) stack.push(i + 1)
      if (r > 0) stack.push(i - width)
      if (r < height - 1) stack.push(i + width)
    }
    this.touch(top, left, bottom, right)
  }

  touch(top, left, bottom, right) {
    if (bottom < top || right < left) return
    const d = this.dirty ?? { top, left, bottom, right }
    this.dirty = { top: Math.min(d.top, top), left: Math.min(d.left, left), bottom: Math.max(d.bottom, bottom),
      right: Math.max(d.right, right), stroke: this.stroke.number }
    this.show(top, left, bottom, right)
    this.schedule()
  }

  show(top, left, bottom, right) {
    const w = right - left + 1, h = bottom - top + 1
    const image = new ImageData(w, h)
    for (let y = 0, k = 0; y < h; y++) {
      for (let x = 0; x < w; x++, k += 4) {
        const c = this.table[this.ids[(top + y) * this.width + left + x]]
        image.data[k] = c[0]; image.data[k + 1] = c[1]; image.data[k + 2] = c[2]; image.data[k + 3] = 255
      }
    }
    this.canvas.getContext("2d").putImageData(image, left, top)
  }

  drawRing() { // the outline of the brush, dark and light so that it is seen on every colour
    const { clientWidth: w, clientHeight: h } = this.frame
    if (!w || !this.ring) return
    const dense = window.devicePixelRatio || 1
    this.ring.width = w * dense
    this.ring.height = h * dense
    if (!this.cursor.shown) return
    const scale = (w * dense) / this.width
    const wide = ["brush", "eraser"].includes(this.model.get("tool")) ? this.model.get("brush") / 2 : 0.5
    const pen = this.ring.getContext("2d")
    for (const [colour, line] of [["black", 3], ["white", 1]]) {
      pen.beginPath()
      pen.arc((this.cursor.x + 0.5) * scale, (this.cursor.y + 0.5) * scale, wide * scale, 0, 7)
      pen.strokeStyle = colour
      pen.lineWidth = line * dense
      pen.stroke()
    }
  }

  // ---- messages: one at a time, the newest state of the mask, and never less than the last

  schedule() {
    if (this.waiting !== null || this.later) return
    const rest = Math.max(0, this.sent + THROTTLE - performance.now())
    this.later = setTimeout(() => { this.later = null; this.flush() }, rest)
  }

  flush() {
    if (this.waiting !== null) return // the answer sends what has become dirty meanwhile
    if (this.dirty) this.sendPatch()
    else if (this.orders.length) this.send(...this.orders.shift())
  }

  sendPatch() {
    const { top, left, bottom, right, stroke } = this.dirty
    const w = right - left + 1, h = bottom - top + 1
    const part = new Uint8Array(w * h)
    for (let y = 0; y < h; y++) {
      const from = (top + y) * this.width + left
      part.set(this.ids.subarray(from, from + w), y * w)
    }
    this.dirty = null
    this.send({ kind: "patch", top, left, height: h, width: w, stroke }, [toRuns(part).buffer])
  }

  order(content, buffers = []) {
    this.orders.push([content, buffers])
    this.flush()
  }

  send(content, buffers = []) {
    this.waiting = ++this.count
    this.sent = performance.now()
    Object.assign(this.root.dataset, { count: this.count, sent: this.sent }) // for measurements
    clearTimeout(this.patience)
    this.patience = setTimeout(() => this.gone(), PATIENCE)
    try { this.model.send({ ...content, id: this.waiting }, undefined, buffers) }
    catch { this.gone() }
  }

  answer(content) {
    if (content.kind !== "answer" || content.id !== this.waiting) return
    this.waiting = null
    clearTimeout(this.patience)
    this.say(content.text, content.trouble)
    this.root.dataset.answers = content.id
    if (this.dirty) this.schedule()
    else if (this.orders.length) this.flush()
    else this.settle()
  }

  gone() {
    this.waiting = null // the next stroke tries again
    this.say("The kernel does not answer. If it was restarted, run the cell again.", true)
  }

  settle() { // what the kernel holds is what counts, unless something newer is on its way
    if (this.waiting === null && !this.dirty && !this.stroke) this.take()
  }

  take() {
    const hex = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16))
    this.table = this.model.get("colours").map(hex)
    this.table[NONE] = [0, 0, 0]
    this.ids = fromRuns(this.model.get("snapshot"), this.height * this.width)
    this.base = fromRuns(this.model.get("loaded"), this.height * this.width)
    this.show(0, 0, this.height - 1, this.width - 1)
  }

  async loadFile() {
    const [file] = this.file.files
    if (!file) return
    this.order({ kind: "load", name: file.name }, [await file.arrayBuffer()])
    this.file.value = "" // so that the same file can be chosen again
  }
}

function render({ model, el }) {
  const painter = new Painter(model, el)
  return () => painter.remove()
}

export default { render }
