// Line charts on canvas: one shared time axis, one shared cursor, colours from the style sheet.

const PAD = { left: 40, right: 8, top: 8, bottom: 18 };

export class LineChart {
  constructor(parent, { title, unit = "", digits = 1, top = null }, onCursor) {
    Object.assign(this, { title, unit, digits, top, onCursor, cursor: null, series: [] });
    const figure = parent.appendChild(document.createElement("figure"));
    this.caption = figure.appendChild(document.createElement("figcaption"));
    this.canvas = figure.appendChild(document.createElement("canvas"));
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.addEventListener("pointermove", (e) => onCursor(this.timeAt(e.offsetX)));
    this.canvas.addEventListener("pointerleave", () => onCursor(null));
    this.canvas.addEventListener("blur", () => onCursor(null));
    this.canvas.addEventListener("keydown", (e) => this.step(e));
  }

  timeAt(x) {
    const width = this.canvas.clientWidth - PAD.left - PAD.right;
    const share = Math.min(Math.max((x - PAD.left) / width, 0), 1);
    return this.from + share * (this.to - this.from);
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.onCursor(Math.min(Math.max((this.cursor ?? this.to) + by * (this.to - this.from) / 60, this.from), this.to));
  }

  // series: [{name, color, points: [[t, value|null]], dashed?}]
  draw(series, from, to, cursor) {
    Object.assign(this, { series, from, to, cursor });
    this.legend();
    const scale = window.devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (!w) return;
    if (this.canvas.width !== Math.round(w * scale) || this.canvas.height !== Math.round(h * scale)) {
      this.canvas.width = Math.round(w * scale);
      this.canvas.height = Math.round(h * scale);
    }
    const g = this.canvas.getContext("2d");
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, w, h);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const shown = series.flatMap((s) => s.points.filter((p) => p[1] !== null && p[0] >= from).map((p) => p[1]));
    const most = this.top ?? nice(Math.max(0, ...shown));
    const x = (t) => PAD.left + ((t - from) / (to - from)) * (w - PAD.left - PAD.right);
    const y = (v) => h - PAD.bottom - (Math.min(v, most) / most) * (h - PAD.top - PAD.bottom);
    this.axes(g, w, h, most, x, y, color);
    g.save();
    g.beginPath();
    g.rect(PAD.left, 0, w - PAD.left - PAD.right, h);
    g.clip();
    for (const s of series) line(g, s, x, y, color(s.color));
    if (cursor !== null) {
      g.strokeStyle = color("--quiet");
      g.lineWidth = 1;
      g.beginPath();
      g.moveTo(x(cursor), PAD.top);
      g.lineTo(x(cursor), h - PAD.bottom);
      g.stroke();
    }
    g.restore();
  }

  axes(g, w, h, most, x, y, color) {
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = color("--quiet");
    g.strokeStyle = color("--grid");
    g.lineWidth = 1;
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const share of [0, 0.5, 1]) {
      const at = Math.round(y(most * share)) + 0.5;
      g.beginPath();
      g.moveTo(PAD.left, at);
      g.lineTo(w - PAD.right, at);
      g.stroke();
      g.fillText(short(most * share), PAD.left - 6, at);
    }
    g.textBaseline = "bottom";
    for (const [share, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
      const ago = Math.round((1 - share) * (this.to - this.from));
      g.textAlign = align;
      g.fillText(ago ? `−${ago} s` : "now", x(this.from + share * (this.to - this.from)), h - 2);
    }
  }

  legend() {
    const at = (s) => valueAt(s.points, this.cursor);
    const text = (v) => (v === null ? "–" : `${v.toFixed(this.digits)}${this.unit}`);
    const keys = this.series.map((s) => {
      const key = document.createElement("span");
      key.className = "key";
      key.style.setProperty("--c", `var(${s.color})`);
      key.textContent = `${s.name} ${text(at(s))}`;
      return key;
    });
    const title = document.createElement("b");
    title.textContent = this.title;
    this.caption.replaceChildren(title, ...keys);
    this.canvas.setAttribute("aria-label", `${this.title}: ${keys.map((k) => k.textContent).join(", ") || "no data"}`);
  }
}

function line(g, series, x, y, color) {
  g.strokeStyle = color;
  g.lineWidth = series.dashed ? 1 : 1.6;
  g.setLineDash(series.dashed ? [4, 4] : []);
  g.lineJoin = "round";
  g.beginPath();
  let pen = false;
  for (const [t, value] of series.points) {
    if (value === null) {
      pen = false;
    } else if (pen) {
      g.lineTo(x(t), y(value));
    } else {
      g.moveTo(x(t), y(value));
      pen = true;
    }
  }
  g.stroke();
  g.setLineDash([]);
}

function valueAt(points, t) {
  if (!points.length) return null;
  if (t === null) return points[points.length - 1][1];
  let best = points[0];
  for (const p of points) if (Math.abs(p[0] - t) < Math.abs(best[0] - t)) best = p;
  return best[1];
}

function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((m) => m * power).find((top) => top >= value);
}

function short(value) {
  if (value >= 1e4) return `${Math.round(value / 1e3)}k`;
  return Number(value.toPrecision(3)).toString();
}
