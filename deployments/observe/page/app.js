// The live page: frames in by server-sent events, everything drawn from the frames kept.
import { LineChart } from "./charts.js";

const KEPT_S = 301;
const COLORS = 8;
const $ = (id) => document.getElementById(id);
const state = { frames: [], reloads: [], range: 60, paused: false, chosen: null, cursor: null, skew: 0 };
const color = (i) => `--s${i % COLORS}`;
const number = (v, digits = 0, unit = "") => (v === null || v === undefined ? "–" : `${v.toFixed(digits)}${unit}`);
const percent = (v) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(0)} %`);
const mean = (values) => {
  const known = values.filter((v) => v !== null && v !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
};
const sum = (values) => values.reduce((a, b) => a + (b ?? 0), 0);

const setCursor = (t) => { state.cursor = t; draw(); };
const chart = (parent, options) => new LineChart($(parent), options, setCursor);
const charts = {
  attained: chart("charts-objectives", { title: "Attained", unit: " %", digits: 0, top: 100 }),
  ttft: chart("charts-objectives", { title: "TTFT p90", unit: " ms", digits: 0 }),
  tpot: chart("charts-objectives", { title: "TPOT p90", unit: " ms", digits: 1 }),
  k: chart("charts-speculation", { title: "K, mean of a step", digits: 1 }),
  acceptance: chart("charts-speculation", { title: "Accepted / (accepted + rejected)", unit: " %", digits: 0, top: 100 }),
  waste: chart("charts-speculation", { title: "Waste: drafted in vain", unit: " %", digits: 0, top: 100 }),
  batch: chart("charts-speculation", { title: "Batch and queue", digits: 0 }),
};

// ---- what comes in

let source = null;
let retry = 1000;

function connect() {
  source?.close();
  source = new EventSource("dashboard/events");
  source.addEventListener("past", (e) => { state.frames = JSON.parse(e.data); retry = 1000; link("live", "live"); schedule(); });
  source.addEventListener("frame", (e) => {
    state.frames.push(JSON.parse(e.data));
    const oldest = state.frames[state.frames.length - 1].t - KEPT_S;
    while (state.frames[0].t < oldest) state.frames.shift();
    link("live", state.paused ? "paused" : "live");
    schedule();
  });
  source.addEventListener("reloads", (e) => { state.reloads = JSON.parse(e.data); schedule(); });
  source.addEventListener("away", (e) => link("away", JSON.parse(e.data)));
  source.onerror = () => {
    link("away", "reconnecting");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(connect, retry);
    retry = Math.min(2 * retry, 10000);
  };
}

function link(kind, text) {
  if ($("link").dataset.state !== kind) $("link").dataset.state = kind;
  if ($("link").textContent !== text) $("link").textContent = text;
}

let due = false;
function schedule() {
  if (due || document.hidden || state.paused) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}

// ---- what is shown

function draw() {
  const now = state.frames[state.frames.length - 1];
  if (!now) return;
  const replicas = now.replicas;
  if (state.chosen && !replicas.some((r) => r.replica === state.chosen)) state.chosen = null;
  const shown = replicas.filter((r) => !state.chosen || r.replica === state.chosen);
  $("policy").textContent = [...new Set(replicas.map((r) => r.policy))].join(", ");
  $("of").textContent = state.chosen ? `replica ${short(state.chosen)}` : `${replicas.length} replicas`;
  tiles(now, shown);
  classes(now);
  table(replicas);
  why(shown);
  whatIf(now, shown);
  reloads();
  lines(now, shown.map((r) => r.replica));
}

const short = (name) => (name.length > 8 ? name.slice(-8) : name);

function tiles(now, shown) {
  const of = Object.values(now.classes);
  const finished = sum(of.map((c) => c.finished));
  const attained = finished ? sum(of.map((c) => (c.attained ?? 0) * (c.finished ?? 0))) / finished : null;
  const seats = sum(shown.map((r) => r.seats));
  const figures = [
    ["Attained", percent(attained)],
    ["Goodput", number(sum(of.map((c) => c.goodput)), 0), "tok/s"],
    ["Output", number(sum(shown.map((r) => r.tokens_per_s)), 0), "tok/s"],
    ["K", number(mean(shown.map((r) => r.k)), 1)],
    ["Accepted", percent(mean(shown.map((r) => r.acceptance)))],
    ["Waste", percent(mean(shown.map((r) => r.waste)))],
    ["Batch", number(sum(shown.map((r) => r.batch)), 0), `of ${seats}`],
    ["Waiting", number(sum(of.map((c) => c.waiting)) + sum(shown.map((r) => r.waiting)), 0), `${number(now.arrival_rps, 1)} req/s`],
  ];
  fill($("tiles"), figures, (i) => {
    const box = document.createElement("div");
    box.append(document.createElement("dt"), document.createElement("dd"));
    return box;
  }, (box, [name, value, unit]) => {
    box.firstChild.textContent = name;
    box.lastChild.innerHTML = `${value} <small>${unit ?? ""}</small>`;
  });
}

function classes(now) {
  const cell = (value, limit, digits) => {
    if (value === null || value === undefined) return "–";
    const over = limit !== null && value > limit;
    return `<span class="${over ? "over" : limit === null ? "" : "met"}">${number(value, digits, " ms")}</span>`;
  };
  rows("classes", Object.entries(now.classes), ([name, c], i) => [
    `<span class="dot" style="--c:var(${color(i)})"></span>${text(name)}`,
    percent(c.attained), number(c.ttft_p50_ms, 0, " ms"), cell(c.ttft_p90_ms, c.ttft_slo_ms, 0), number(c.ttft_slo_ms, 0, " ms"),
    number(c.tpot_p50_ms, 1, " ms"), cell(c.tpot_p90_ms, c.tpot_slo_ms, 1), number(c.tpot_slo_ms, 0, " ms"),
    number(c.goodput ?? 0, 0), number(c.waiting), number(c.shed),
  ]);
}

function table(replicas) {
  rows("replicas", replicas, (r, i) => [
    `<span class="dot" style="--c:var(${color(i)})"></span>${text(short(r.replica))}${r.stale ? " (silent)" : ""}`,
    r.fallback ? `<span class="bad">${text(r.policy)}: fallback</span>` : text(r.policy),
    number(r.k, 1), stack(r.k_share), `${r.batch} / ${r.seats}`, number(r.waiting), percent(r.acceptance), percent(r.waste),
    number(r.tokens_per_s, 0), r.step_ms === null ? "–" : `${number(r.step_ms, 1)}, ${number(r.predicted_ms, 1)} ms`,
    number(r.decide_us, 0, " µs"), percent(r.free_kv),
  ], (row, r) => {
    row.tabIndex = 0;
    row.dataset.replica = r.replica;
    row.className = r.stale ? "stale" : "";
    row.setAttribute("aria-selected", String(state.chosen === r.replica));
  });
}

function stack(shares) {
  const ks = Object.keys(shares).map(Number).sort((a, b) => a - b);
  const most = Math.max(1, ...ks);
  const said = ks.map((k) => `K=${k} ${percent(shares[k])}`).join(", ");
  const parts = ks.map((k) => `<i style="width:${100 * shares[k]}%;opacity:${0.15 + (0.85 * k) / most}"></i>`);
  return `<span class="stack" role="img" title="${said}" aria-label="${said}">${parts.join("")}</span>`;
}

function why(shown) {
  const total = {};
  for (const r of shown) for (const [reason, share] of Object.entries(r.reasons)) total[reason] = (total[reason] ?? 0) + share;
  const all = sum(Object.values(total)) || 1;
  const found = Object.entries(total).sort((a, b) => b[1] - a[1]).slice(0, 8);
  if (!found.length || $("why").firstElementChild?.className === "quiet") $("why").replaceChildren();
  fill($("why"), found, () => {
    const item = document.createElement("li");
    item.append(document.createElement("span"), document.createElement("meter"), document.createElement("span"));
    return item;
  }, (item, [reason, share]) => {
    item.children[0].textContent = reason;
    item.children[1].value = share / all;
    item.children[2].textContent = percent(share / all);
  });
  if (!found.length) $("why").innerHTML = '<li class="quiet">no steps</li>';
}

function whatIf(now, shown) {
  const busiest = shown.filter((r) => r.what_if).sort((a, b) => b.batch - a.batch)[0];
  const tightest = Math.min(...Object.values(now.classes).map((c) => c.tpot_slo_ms ?? Infinity));
  if (!$("slo").value && Number.isFinite(tightest)) $("slo").placeholder = tightest;
  const slo = Number($("slo").value) || tightest;
  $("whatif-load").textContent = busiest ? `replica ${short(busiest.replica)}, batch ${busiest.what_if.batch}` : "no load";
  const options = !busiest ? [] : busiest.what_if.step_s.map((step_s, k) => {
    const tokens = busiest.what_if.tokens[k];
    const tpot = (1e3 * step_s) / tokens;
    return { k, step: 1e3 * step_s, tokens, tpot, goodput: tpot <= slo ? (busiest.what_if.batch * tokens) / step_s : 0 };
  });
  const best = options.reduce((a, b) => (b.goodput > (a?.goodput ?? 0) ? b : a), null);
  rows("whatif", options, (o) => [
    `${o.k}${busiest.k !== null && Math.round(busiest.k) === o.k ? '<span class="mark">now</span>' : ""}${o === best ? '<span class="mark">best</span>' : ""}`,
    number(o.step, 1, " ms"), number(o.tokens, 2),
    `<span class="${o.tpot > slo ? "over" : Number.isFinite(slo) ? "met" : ""}">${number(o.tpot, 1, " ms")}</span>`, number(o.goodput, 0),
  ], (row, o) => { row.className = o === best ? "best" : ""; });
}

function reloads() {
  const at = (t) => new Date(1e3 * t).toLocaleTimeString();
  fill($("reloads"), [...state.reloads].reverse().slice(0, 8), () => document.createElement("li"), (item, r) => {
    item.innerHTML = `<span class="quiet">${at(r.t)} ${text(short(r.replica))}</span> ${r.ok ? "" : '<span class="bad">rejected</span> '}${text(r.text)}`;
  });
}

function lines(now, chosen) {
  const to = now.t;
  const from = to - state.range;
  const kept = state.frames.filter((f) => f.t >= from - 1);
  const names = Object.keys(now.classes);
  const perClass = (of) => names.map((name, i) => ({ name, color: color(i), points: kept.map((f) => [f.t, of(f.classes[name] ?? {}) ?? null]) }));
  const objective = (of) => names.filter((name) => now.classes[name][of] !== null).map((name) => ({
    name: `${name} objective`, color: color(names.indexOf(name)), dashed: true, points: [[from, now.classes[name][of]], [to, now.classes[name][of]]],
  }));
  const all = now.replicas.map((r) => r.replica);
  const perReplica = (of) => chosen.map((name) => ({
    name: short(name), color: color(all.indexOf(name)), points: kept.map((f) => [f.t, of(f.replicas.find((r) => r.replica === name) ?? {}) ?? null]),
  }));
  const total = (name, tone, of) => ({ name, color: tone, points: kept.map((f) => [f.t, sum(f.replicas.filter((r) => chosen.includes(r.replica)).map(of))]) });
  const share = (v) => (v === null || v === undefined ? null : 100 * v);
  const put = (which, series) => charts[which].draw(series, from, to, state.cursor);
  put("attained", perClass((c) => share(c.attained)));
  put("ttft", [...perClass((c) => c.ttft_p90_ms), ...objective("ttft_slo_ms")]);
  put("tpot", [...perClass((c) => c.tpot_p90_ms), ...objective("tpot_slo_ms")]);
  put("k", perReplica((r) => r.k));
  put("acceptance", perReplica((r) => share(r.acceptance)));
  put("waste", perReplica((r) => share(r.waste)));
  put("batch", [total("batch", "--s0", (r) => r.batch), total("waiting", "--s1", (r) => r.waiting)]);
}

// ---- small parts: elements are kept, only their contents change, so that focus stays where it is

function fill(parent, items, make, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => update(parent.children[i] ?? parent.appendChild(make(i)), item, i));
}

function rows(id, items, cells, also = () => {}) {
  fill($(id).tBodies[0], items, () => document.createElement("tr"), (row, item, i) => {
    const html = cells(item, i).map((c) => `<td>${c}</td>`).join("");
    if (row.shown !== html) row.innerHTML = row.shown = html;
    also(row, item);
  });
}

function text(value) {
  const box = document.createElement("span");
  box.textContent = value;
  return box.innerHTML;
}

// ---- what a person does

function pause() {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").textContent = state.paused ? "Resume" : "Pause";
  schedule();
}

function choose(target) {
  const row = target.closest?.("#replicas tbody tr");
  if (!row) return false;
  state.chosen = state.chosen === row.dataset.replica ? null : row.dataset.replica;
  draw();
  return true;
}

function range(seconds) {
  state.range = seconds;
  document.querySelector(`input[name=range][value="${seconds}"]`).checked = true;
  draw();
}

$("pause").addEventListener("click", pause);
document.querySelectorAll("input[name=range]").forEach((r) => r.addEventListener("change", () => range(Number(r.value))));
$("replicas").addEventListener("click", (e) => choose(e.target));
$("slo").addEventListener("input", draw);
document.addEventListener("keydown", (e) => {
  if (e.target.matches?.("input[type=number]") || e.ctrlKey || e.metaKey || e.altKey) return;
  if ((e.key === "Enter" || e.key === " ") && choose(e.target)) e.preventDefault();
  if (e.key === "p" || e.key === "P") pause();
  if (e.key === "1") range(60);
  if (e.key === "5") range(300);
});
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); link("away", "hidden"); } else { connect(); } // nobody looks: nothing is sent
});
connect();
