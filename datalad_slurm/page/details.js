// What a job, or a file, tells when it is opened; and where files come from.
let makers = new Map(), readers = new Map(), sorted = [];

function index() {
  for (const job of jobs) {
    for (const [path] of job.makes) push(makers, path, job);
    for (const path of job.reads) push(readers, path, job);
  }
  sorted = [...makers.keys()].sort();
}
function push(map, key, value) {
  const list = map.get(key);
  if (list) list.push(value); else map.set(key, [value]);
}
// the files that jobs have made at a path, or below it
function below(path) {
  if (makers.has(path)) return [path];
  const prefix = path === "." ? "" : path + "/";
  let low = 0, high = sorted.length;
  while (low < high) { const mid = (low + high) >> 1; if (sorted[mid] < prefix) low = mid + 1; else high = mid; }
  const found = [];
  while (low < sorted.length && sorted[low].startsWith(prefix)) found.push(sorted[low++]);
  return found;
}
// the job that last made a file before another job was committed
function maker(path, before) {
  const list = (makers.get(path) || []).filter((job) => job.i < before);
  return list[list.length - 1];
}
function sources(job) {
  const found = new Map();
  for (const path of job.reads) {
    const files = below(path);
    if (!files.length) push(found, undefined, path);
    const seen = new Set();
    for (const file of files) {
      const source = maker(file, job.i);
      if (!seen.has(source)) { seen.add(source); push(found, source, files.length > 1 ? path : file); }
    }
  }
  return found;
}

function show(name, ...content) {
  $("panel-title").textContent = name;
  $("panel-body").replaceChildren(...content.filter(Boolean));
  if (!$("panel").open) $("panel").showModal();
  $("panel").scrollTop = 0;
  $("panel-title").focus();
}
function facts(entries) {
  return el("dl", {}, ...entries.filter(([, value]) => value !== "" && value != null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
function part(name, ...content) { return el("div", {}, el("h3", {}, name), ...content); }
function paths(list, limit = 200) {
  const items = list.slice(0, limit).map((path) => el("li", {}, link(path, () => openFile(path))));
  if (list.length > limit) items.push(el("li", {}, `and ${list.length - limit} more`));
  return el("ul", { class: "plain" }, ...items);
}
function openJob(job) {
  const attempts = job.runs.length < 2 ? null : part("Attempts", el("ul", { class: "plain" }, ...job.runs.map(([id, state, sub, start, end]) =>
    el("li", {}, el("span", { class: "state " + kind(state) }, state), ` job ${id}` + (start != null ? `, ${moment(start)}, ran ${span(end - start)}, waited ${span(start - sub)}` : "")))));
  show(title(job), facts([["state", reason(job)], ["tasks", job.tasks > 1 ? String(job.tasks) : ""], ["submitted", job.runs.length && job.runs.at(-1)[2] != null ? moment(job.runs.at(-1)[2]) : ""],
    ["waited", span(job.waited)], ["ran", span(job.ran)], ["CPU efficiency", percent(job.cpu)], ["memory", `${bytes(job.used)} of ${bytes(job.asked)}`],
    ["cluster", job.cluster], ["commit", job.commit ? job.commit + (job.date ? ", " + job.date.slice(0, 10) : "") : "not committed yet"], ["message", job.said]]),
    part("Command", el("pre", {}, job.cmd)), attempts,
    job.reads.length ? part("Made from", paths(job.reads)) : null,
    job.makes.length || job.out.length ? part("Outputs", paths(job.makes.length ? job.makes.map((m) => m[0]) : job.out)) : null,
    ...job.scripts.map(([path, blob]) => part(path ? `Script ${path}` : "Script", el("pre", {}, scripts[blob] ?? "Its text is not in git here."))),
    ...job.logs.map(([path, text]) => part(`End of ${path}`, el("pre", {}, text || "It is empty."))),
    job.logs.length ? null : part("Log", el("p", { class: "quiet" }, job.commit ? "It is not here, or was left out to keep this page small." : "The job is not finished.")),
    job.record ? el("details", {}, el("summary", {}, "Record"), el("pre", {}, JSON.stringify(job.record, null, 1))) : null);
}
function openFile(path) {
  const files = below(path), list = [...new Set(files.flatMap((file) => makers.get(file) || []))].sort((a, b) => a.i - b.i);
  const isFile = makers.has(path), last = list[list.length - 1];
  const size = isFile ? last.makes.find((m) => m[0] === path)[1] : null;
  const used = [...new Set([...(readers.get(path) || []), ...files.slice(0, 1000).flatMap((file) => readers.get(file) || [])])];
  const jobList = (found) => el("ul", { class: "plain" }, ...found.slice(-50).reverse().map((job) => el("li", {}, link(title(job), () => openJob(job)))));
  show(path, facts([["size", size == null ? "" : bytes(size)], ["files", isFile || !files.length ? "" : String(files.length)]]),
    part("Made by", list.length ? jobList(list) : el("p", { class: "quiet" }, "No job of this report has made it.")),
    last && part("Which was made from", tree(last, 0, new Set())),
    !isFile && files.length ? part("Holds", paths(files)) : null, used.length ? part("Read by", jobList(used)) : null);
}
function tree(job, depth, seen) {
  seen.add(job);
  const list = el("ul", { class: "plain" });
  for (const [source, names] of sources(job)) {
    const item = el("li", {});
    names.slice(0, 5).forEach((name) => item.append(link(name, () => openFile(name)), " "));
    if (names.length > 5) item.append(`and ${names.length - 5} more `);
    item.append(source ? "by " : "by no job of this report");
    if (source) item.append(link(title(source), () => openJob(source)));
    if (source && !seen.has(source) && depth < 40) item.append(tree(source, depth + 1, seen));
    list.append(item);
  }
  return list.childNodes.length ? list : el("p", { class: "quiet" }, "No input was declared.");
}
