"use strict";
// Whatever comes from a record is set as text, never as markup.
const $ = (id) => document.getElementById(id);
const PAGE = 50;
const COLUMNS = ["job", "name", "state", "attempts", "waited", "ran", "CPU", "memory", "outputs", "commit", "when"];
const NUMBERS = new Set(["attempts", "waited", "ran", "CPU", "memory"]);
let head, scripts = Object.create(null), jobs = [], shown = [], first = 0;

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function link(text, act) {
  const button = el("button", { type: "button", class: "link" }, text);
  button.addEventListener("click", act);
  return button;
}
const two = (n) => String(n).padStart(2, "0");
function span(s) {
  if (s == null) return "–";
  s = Math.round(s);
  const days = Math.floor(s / 86400);
  return (days ? days + "-" : "") + two(Math.floor(s / 3600) % 24) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}
function hours(s) {
  return s < 3600 ? span(s) : (s / 3600).toLocaleString("en", { maximumFractionDigits: s < 360000 ? 1 : 0 }) + " h";
}
function bytes(n) {
  if (n == null) return "–";
  for (const [unit, size] of [["T", 2 ** 40], ["G", 2 ** 30], ["M", 2 ** 20], ["K", 2 ** 10]])
    if (n >= size) return (n / size).toFixed(n / size < 10 ? 1 : 0) + unit;
  return n + "B";
}
const percent = (x) => (x == null ? "–" : Math.round(100 * x) + "%");
function moment(t) {
  const d = new Date(1000 * t);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}
function kind(state) {
  if (state === "COMPLETED") return "ok";
  if (state === "OPEN") return "open";
  if (["TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"].includes(state)) return "late";
  return ["CANCELLED", "PREEMPTED", "REVOKED"].includes(state) ? "stop" : "bad";
}
const reason = (job) => job.state + (job.state === "FAILED" && job.exit ? ", exit code " + job.exit.split(":")[0] : "");
const title = (job) => `job ${job.label}${job.name ? " " + job.name : ""}`;

async function load() {
  const raw = Uint8Array.from(atob($("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  const lines = (await new Response(stream).text()).trimEnd().split("\n");
  head = JSON.parse(lines[0]);
  jobs = lines.slice(1).map((line) => JSON.parse(line)).reverse();
  jobs.forEach((job, i) => {
    job.i = i;
    Object.assign(scripts, job.texts);
    job.text = [job.label, job.name, job.state, job.cmd, ...job.out, ...job.makes.map((m) => m[0])].join("\n").toLowerCase();
  });
}

function choose() {
  const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = $("state").value, key = $("sort").value;
  shown = jobs.filter((job) => (!state || reason(job) === state || job.state === state) && words.every((word) => job.text.includes(word)));
  const values = { job: (j) => j.id, name: (j) => j.name, state: (j) => j.state, attempts: (j) => j.attempts, waited: (j) => j.waited,
    ran: (j) => j.ran, cpu: (j) => j.cpu, memory: (j) => j.used }[key];
  const sign = $("reverse").checked ? -1 : 1;
  if (values) shown.sort((a, b) => {
    const x = values(a), y = values(b);
    if (x == null || y == null) return (x == null) - (y == null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
  else if (sign < 0) shown.reverse();
  first = 0;
  $("count").textContent = shown.length === jobs.length ? `${jobs.length} jobs` : `${shown.length} of ${jobs.length} jobs`;
  draw();
}
function draw() {
  drawSums(); drawLoad(); drawTable(); drawFailures(); drawBiggest(); drawGraph();
  drawShares("cpu", (job) => job.cpu, "CPU efficiency");
  drawShares("memory", (job) => job.mem, "memory used of asked");
}
function drawSums() {
  const sum = (of) => shown.reduce((total, job) => total + (of(job) || 0), 0);
  const given = sum((j) => j.given), spent = sum((j) => j.spent);
  const waits = shown.map((j) => j.waited).filter((w) => w != null).sort((a, b) => a - b);
  const bad = shown.filter((j) => !["COMPLETED", "OPEN"].includes(j.state)).length;
  const facts = [["jobs", shown.length], ["completed", shown.filter((j) => j.state === "COMPLETED").length], ["did not complete", bad],
    ["open", shown.filter((j) => j.state === "OPEN").length], ["CPU time allocated", hours(given)],
    ["CPU time used", given ? `${hours(spent)} (${percent(spent / given)})` : "–"], ["allocated in vain", hours(sum((j) => j.vain))],
    ["median wait", span(waits[waits.length >> 1])]];
  $("sums").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}

function drawLoad() {
  const dated = shown.filter((j) => j.runs.some((r) => r[2] != null && r[4] != null));
  if (!dated.length) return $("load").replaceChildren("No record of these tells times.");
  const BINS = 300, W = 1000, H = 150, TOP = 8, LEFT = 44;
  const runs = dated.flatMap((j) => j.runs).filter((r) => r[4] != null && r[2] != null);
  const from = runs.reduce((least, r) => Math.min(least, r[2]), Infinity);
  const till = Math.max(runs.reduce((most, r) => Math.max(most, r[4]), 0), from + 1);
  const wide = (till - from) / BINS, running = new Float64Array(BINS), waiting = new Float64Array(BINS), failed = new Map();
  const add = (bins, a, b) => {
    const x = (a - from) / wide, y = (b - from) / wide;
    for (let i = Math.floor(x); i < Math.min(BINS, Math.ceil(y)); i++) bins[i] += Math.min(i + 1, y) - Math.max(i, x);
  };
  for (const run of runs) {
    const start = run[3] ?? run[4];
    add(waiting, run[2], start); add(running, start, run[4]);
    if (kind(run[1]) !== "ok") { const bin = Math.min(BINS - 1, Math.floor((run[4] - from) / wide)); failed.set(bin, kind(run[1])); }
  }
  let most = 0.001;
  for (let i = 0; i < BINS; i++) most = Math.max(most, running[i] + waiting[i]);
  const x = (i) => LEFT + (i * (W - LEFT)) / BINS, y = (v) => TOP + (H * (most - v)) / most;
  const area = (low, high) => {
    let path = `M${x(0)} ${y(low(0))}`;
    for (let i = 0; i < BINS; i++) path += `V${y(high(i)).toFixed(1)}H${x(i + 1).toFixed(1)}`;
    for (let i = BINS - 1; i >= 0; i--) path += `V${y(low(i)).toFixed(1)}H${x(i).toFixed(1)}`;
    return path + "Z";
  };
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H + 34}`, width: "100%", role: "img",
    "aria-label": `From ${moment(from)} to ${moment(till)}, at most ${most.toFixed(most < 10 ? 1 : 0)} jobs waited or ran at a time` },
    svg("path", { d: area((i) => running[i], (i) => running[i] + waiting[i]), class: "f-wait" }),
    svg("path", { d: area(() => 0, (i) => running[i]), class: "f-ok" }),
    svg("path", { d: `M${LEFT} ${TOP}V${TOP + H}H${W}`, class: "axis" }));
  for (const [bin, how] of failed) picture.append(svg("rect", { x: x(bin), y: TOP + H + 2, width: Math.max(3, (W - LEFT) / BINS), height: 6, class: "f-" + how }));
  for (let i = 0; i <= 4; i++) picture.append(svg("text", { x: LEFT + (i * (W - LEFT)) / 4, y: TOP + H + 22, class: "quiet",
    "text-anchor": ["start", "middle", "middle", "middle", "end"][i] }, clock(from + (i * (till - from)) / 4, till - from)));
  for (const v of [0, most]) picture.append(svg("text", { x: LEFT - 6, y: y(v) + (v ? 10 : 0), class: "quiet", "text-anchor": "end" }, v < 10 && v % 1 ? v.toFixed(1) : Math.round(v)));
  $("load").replaceChildren(picture, legend([["ok", "running"], ["wait", "waiting"], ["bad", "attempts that did not complete"]]));
}
function legend(entries) {
  return el("div", { class: "legend" }, ...entries.map(([name, text]) => {
    const mark = el("i", {});
    mark.style.background = `var(--${name})`;
    return el("span", {}, mark, text);
  }));
}
function clock(t, length) {
  const text = moment(t);
  if (length > 5 * 86400) return text.slice(0, 10);
  return length > 600 ? text.slice(5) : text.slice(11) + ":" + two(new Date(1000 * t).getSeconds());
}

function drawTable() {
  $("jobs").tHead.replaceChildren(el("tr", {}, ...COLUMNS.map((name) => el("th", { scope: "col", class: NUMBERS.has(name) ? "number" : name === "when" ? "when" : "" }, name))));
  const page = shown.slice(first, first + PAGE);
  const times = page.flatMap((j) => j.runs.flatMap((r) => [r[2], r[4]])).filter((t) => t != null);
  const from = Math.min(...times), till = Math.max(...times, from + 1);
  $("jobs").tBodies[0].replaceChildren(...page.map((job) => row(job, from, till)));
  const last = Math.min(shown.length, first + PAGE);
  const move = (by, name, can) => {
    const button = el("button", { type: "button" }, name);
    button.disabled = !can;
    button.addEventListener("click", () => { first += by; drawTable(); });
    return button;
  };
  $("pages").replaceChildren(...(shown.length > PAGE
    ? [move(-PAGE, "Earlier", first > 0), `${first + 1} to ${last} of ${shown.length}`, move(PAGE, "Further", last < shown.length)] : []));
}
function row(job, from, till) {
  const cell = (content, name) => el("td", name ? { class: name } : {}, content);
  const outputs = el("td", { class: "path", title: job.out.slice(0, 20).join("\n") });
  job.out.slice(0, 2).forEach((path) => outputs.append(link(path, () => openFile(path)), " "));
  if (job.out.length > 2) outputs.append(`and ${job.out.length - 2} more`);
  const memory = job.used == null && job.asked == null ? "–" : `${bytes(job.used)} of ${bytes(job.asked)}`;
  return el("tr", {}, el("th", { scope: "row" }, link(job.label, () => openJob(job))), cell(job.name, "text"),
    cell(el("span", { class: "state " + kind(job.state) }, job.state)), cell(String(job.attempts), "number"), cell(span(job.waited), "number"),
    cell(span(job.ran), "number"), cell(percent(job.cpu), "number"), cell(memory, "number"), outputs, cell(job.commit.slice(0, 10) || "–"),
    cell(bars(job, from, till), "when"));
}
function bars(job, from, till) {
  const x = (t) => (1000 * (t - from)) / (till - from);
  const picture = svg("svg", { viewBox: "0 0 1000 18", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [, state, submitted, started, ended] of job.runs) {
    const begun = started ?? ended ?? till, over = ended ?? till;
    if (submitted != null) picture.append(svg("rect", { x: x(submitted), y: 6, height: 6, width: Math.max(1, x(begun) - x(submitted)), class: "f-wait" }));
    if (started != null) picture.append(svg("rect", { x: x(started), y: 2, height: 14, width: Math.max(4, x(over) - x(started)), class: "f-" + kind(state) },
      svg("title", {}, `${state}, ${moment(started)}, ${span(over - started)}`)));
  }
  return picture;
}

function drawShares(id, of, what) {
  const counts = new Array(10).fill(0), values = shown.map(of).filter((v) => v != null);
  for (const value of values) counts[Math.min(9, Math.floor(value * 10))]++;
  if (!values.length) return $(id).replaceChildren("No record of these tells it.");
  const most = Math.max(...counts), W = 440, H = 120;
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H + 36}`, width: "100%", role: "img",
    "aria-label": `${what}: ` + counts.map((n, i) => `${i * 10} to ${i * 10 + 10} percent: ${n} jobs`).join(", ") });
  counts.forEach((n, i) => {
    const height = (H * n) / most, x = (i * W) / 10;
    picture.append(svg("rect", { x: x + 2, y: 16 + H - height, width: W / 10 - 4, height, rx: 2, class: "f-ok" }));
    if (n) picture.append(svg("text", { x: x + W / 20, y: 12 + H - height, "text-anchor": "middle" }, n));
    picture.append(svg("text", { x: x + W / 20, y: H + 31, "text-anchor": "middle", class: "quiet" }, i === 9 ? "≥90%" : i * 10 + "%"));
  });
  picture.append(svg("path", { d: `M0 ${H + 16}H${W}`, class: "axis" }));
  const unknown = shown.length - values.length;
  $(id).replaceChildren(picture, ...(unknown ? [el("p", { class: "quiet" }, `not known of ${unknown} jobs`)] : []));
}
function drawFailures() {
  const counts = new Map();
  for (const job of shown) if (!["ok", "open"].includes(kind(job.state))) counts.set(reason(job), (counts.get(reason(job)) || 0) + 1);
  const rows = [...counts].sort((a, b) => b[1] - a[1]);
  if (!rows.length) return $("failures").replaceChildren("None of these jobs has failed.");
  $("failures").replaceChildren(...rows.map(([name, count]) => {
    const bar = el("i", {});
    bar.style.width = (100 * count) / rows[0][1] + "%";
    bar.style.background = `var(--${kind(name.split(",")[0])})`;
    return el("div", { class: "bar" }, link(name, () => { $("state").value = name; choose(); }), bar, el("span", { class: "number" }, String(count)));
  }));
}
function drawBiggest() {
  const files = new Map();
  for (const job of shown) for (const [path, size] of job.makes) if (size != null) files.set(path, [size, job]);
  const rows = [...files].sort((a, b) => b[1][0] - a[1][0]).slice(0, 12);
  if (!rows.length) return $("biggest").replaceChildren("These jobs have made no files.");
  $("biggest").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "file"), el("th", { scope: "col", class: "number" }, "size"), el("th", { scope: "col" }, "job"))),
    el("tbody", {}, ...rows.map(([path, [size, job]]) => el("tr", {}, el("td", { class: "text" }, link(path, () => openFile(path))),
      el("td", { class: "number" }, bytes(size)), el("td", {}, link(job.label, () => openJob(job))))))));
}
