async function start() {
  await load();
  index();
  document.title = $("title").textContent = `Slurm jobs of ${head.name}`;
  $("about").textContent = `${head.selection}, as of ${moment(head.made)}${jobs.some((job) => job.commit && !job.record) ? "; to keep this page small it has not the records of all jobs" : ""}`;
  const states = [...new Set(jobs.flatMap((job) => [job.state, reason(job)]))].sort();
  $("state").append(...states.map((state) => el("option", { value: state }, state)));
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", isDark);
  $("theme").addEventListener("click", () => document.documentElement.classList.toggle("dark"));
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("filter").addEventListener("input", choose);
  $("fold").addEventListener("click", () => { opened.clear(); drawGraph(); });
  choose();
  document.body.dataset.ready = "yes";
}
start().catch((error) => {
  $("main").replaceChildren(`This page cannot be drawn here: ${error.message}. A browser of 2023 or later is needed.`);
  throw error;
});
