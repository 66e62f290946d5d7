// Directories, files and jobs, with what is read on the left of what is made.
const opened = new Set();
const SHOWN = 28, BOX = 200, GAP = 70, HIGH = 26, STEP = 36;

// what stands for each path: itself, or the outermost directory that is not open
function folded(all) {
  const children = new Map();
  for (const path of all) {
    let above = "";
    for (const name of path.split("/")) {
      const here = above ? above + "/" + name : name;
      if (!children.has(above)) children.set(above, new Set());
      children.get(above).add(here);
      above = here;
    }
  }
  const open = new Set([""]);
  let tops = [...(children.get("") || [])];
  for (let again = true; again;) {
    again = false;
    for (const top of tops.filter((t) => children.has(t)).sort((a, b) => children.get(a).size - children.get(b).size)) {
      if (!opened.has(top) && tops.length + children.get(top).size > SHOWN) continue;
      open.add(top); again = true;
      tops = tops.flatMap((t) => (t === top ? [...children.get(t)] : [t]));
    }
  }
  const stands = (path) => {
    let at = "";
    for (const name of path.split("/")) { at = at ? at + "/" + name : name; if (!open.has(at)) return at; }
    return at;
  };
  return { stands, isDirectory: (path) => children.has(path) };
}
function build() {
  const all = new Set(shown.flatMap((job) => [...job.reads, ...(job.makes.length ? job.makes.map((m) => m[0]) : job.out)]));
  all.delete(".");
  if (!all.size) return null;
  const { stands, isDirectory } = folded(all), known = new Map(), nodes = new Map(), edges = new Map();
  const at = (path) => { if (!known.has(path)) known.set(path, stands(path)); return known.get(path); };
  for (const job of shown) {
    const reads = [...new Set(job.reads.filter((p) => p !== ".").map(at))].sort();
    const makes = [...new Set((job.makes.length ? job.makes.map((m) => m[0]) : job.out).filter((p) => p !== ".").map(at))].sort();
    const id = "job\n" + JSON.stringify([job.name.replace(/\d+/g, "#"), reads, makes]);
    if (!nodes.has(id)) nodes.set(id, { id, jobs: [], reads, makes });
    nodes.get(id).jobs.push(job);
  }
  const groups = [...nodes.values()].sort((a, b) => b.jobs.length - a.jobs.length).slice(0, 60);
  const left = nodes.size - groups.length;
  nodes.clear();
  for (const group of groups) {
    nodes.set(group.id, group);
    for (const path of [...group.reads, ...group.makes]) if (!nodes.has(path)) nodes.set(path, { id: path, path, isDirectory: isDirectory(path) });
    for (const path of group.reads) edges.set(path + "\n>" + group.id, [path, group.id]);
    for (const path of group.makes) if (!group.reads.includes(path)) edges.set(group.id + "\n>" + path, [group.id, path]);
  }
  return { nodes, edges: [...edges.values()], left };
}
function rank({ nodes, edges }) {
  const next = new Map();
  for (const [a, b] of edges) push(next, a, b);
  const state = new Map(), order = [], back = new Set();
  for (const start of nodes.keys()) {  // depth first, without recursion; what leads back is no step
    if (state.has(start)) continue;
    const stack = [[start, 0]];
    state.set(start, 1);
    while (stack.length) {
      const top = stack[stack.length - 1], targets = next.get(top[0]) || [];
      if (top[1] < targets.length) {
        const target = targets[top[1]++];
        if (state.get(target) === 1) back.add(top[0] + "\n>" + target);
        else if (!state.has(target)) { state.set(target, 1); stack.push([target, 0]); }
      } else { state.set(top[0], 2); order.push(top[0]); stack.pop(); }
    }
  }
  for (const id of nodes.keys()) nodes.get(id).rank = 0;
  for (const id of order.reverse()) for (const target of next.get(id) || [])
    if (!back.has(id + "\n>" + target)) nodes.get(target).rank = Math.max(nodes.get(target).rank, nodes.get(id).rank + 1);
  // what is only read stands right before who reads it
  for (const [id, node] of nodes) if (node.path && !edges.some(([, b]) => b === id)) {
    const ranks = (next.get(id) || []).map((b) => nodes.get(b).rank);
    if (ranks.length) node.rank = Math.max(0, Math.min(...ranks) - 1);
  }
}
function place({ nodes, edges }) {
  const columns = [];
  for (const node of nodes.values()) (columns[node.rank] ||= []).push(node);
  columns.forEach((column) => column.forEach((node, i) => { node.y = i; }));
  for (let sweep = 0; sweep < 4; sweep++) for (const column of sweep % 2 ? [...columns].reverse() : columns) {
    for (const node of column || []) {
      const near = edges.filter(([a, b]) => a === node.id || b === node.id).map(([a, b]) => nodes.get(a === node.id ? b : a).y);
      node.pull = near.length ? near.reduce((x, y) => x + y, 0) / near.length : node.y;
    }
    (column || []).sort((a, b) => a.pull - b.pull).forEach((node, i) => { node.y = i; });
  }
  const most = Math.max(...columns.map((column) => (column || []).length));
  columns.forEach((column, c) => (column || []).forEach((node, i) => {
    node.x = c * (BOX + GAP) + 4;
    node.top = (i + (most - column.length) / 2) * STEP + 4;
  }));
  return { width: columns.length * (BOX + GAP) - GAP + 8, height: most * STEP + 8 };
}
function label(node) {
  if (node.path) return node.isDirectory ? node.path + "/" : node.path;
  const name = node.jobs[0].name || "job " + node.jobs[0].label;
  return node.jobs.length > 1 ? `${name.replace(/\d+/g, "#")} × ${node.jobs.length}` : name;
}
function drawGraph() {
  const graph = build();
  if (!graph) return $("graph").replaceChildren("These jobs have neither inputs nor outputs.");
  rank(graph);
  const { width, height } = place(graph);
  const picture = svg("svg", { width, height, role: "group", "aria-label": "Graph of inputs, jobs and outputs" });
  for (const [a, b] of graph.edges) {
    const from = graph.nodes.get(a), to = graph.nodes.get(b), x = from.x + BOX, y = from.top + HIGH / 2, v = to.top + HIGH / 2;
    const bend = Math.max(GAP / 2, Math.abs(to.x - x) / 2);
    picture.append(svg("path", { class: "edge", d: `M${x} ${y}C${x + bend} ${y} ${to.x - bend} ${v} ${to.x} ${v}` }));
  }
  for (const node of graph.nodes.values()) picture.append(box(node));
  $("graph").replaceChildren(picture, ...(graph.left ? [el("p", { class: "quiet" }, `${graph.left} more groups of jobs are not drawn; a filter shows them.`)] : []));
}
function box(node) {
  const text = label(node), short = text.length > 27 ? (node.path ? "…" + text.slice(-26) : text.slice(0, 26) + "…") : text;
  const bad = node.jobs && node.jobs.some((job) => !["ok", "open"].includes(kind(job.state)));
  const told = node.jobs ? `${text}: reads ${node.reads.join(", ") || "nothing"}; makes ${node.makes.join(", ") || "nothing"}` : node.isDirectory ? `open directory ${node.path}` : `file ${node.path}`;
  const group = svg("g", { role: "button", tabindex: "0", "aria-label": told, transform: `translate(${node.x} ${node.top})`,
    class: node.jobs ? "job" + (bad ? " bad" : "") : node.isDirectory ? "dir" : "file" },
    svg("rect", { width: BOX, height: HIGH, rx: node.jobs ? 13 : 3 }), svg("text", { x: 10, y: 17 }, short), svg("title", {}, told));
  const act = () => {
    if (node.jobs) return node.jobs.length === 1 ? openJob(node.jobs[0]) : openGroup(node);
    if (!node.isDirectory) return openFile(node.path);
    opened.add(node.path);
    drawGraph();
  };
  group.addEventListener("click", act);
  group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } });
  return group;
}
function openGroup(node) {
  const states = new Map();
  for (const job of node.jobs) states.set(job.state, (states.get(job.state) || 0) + 1);
  show(label(node), facts([...states].map(([state, count]) => [state, String(count)])), part("Made from", paths(node.reads)), part("Outputs", paths(node.makes)),
    part("Jobs", el("ul", { class: "plain" }, ...node.jobs.slice(0, 200).map((job) => el("li", {}, link(title(job), () => openJob(job)), " ", el("span", { class: "state " + kind(job.state) }, job.state))))));
}
