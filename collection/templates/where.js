// What sounds where: the film, and below it how sure the net is over time.
const PLOT = { height: 130, left: 28, right: 8, top: 8, bottom: 22 };
let where = null;  // the result that is shown

function svg(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

const whereWork = new Work("where", (result, job, file, name) => {
  where = result;
  at("where-film").src = `/jobs/${job}/${result.film}`;
  at("where-about").textContent = describeFile(name, result.seconds, result.cut);
  const values = result.probabilities, mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const moment = extreme => { const k = values.indexOf(extreme); return `${extreme.toFixed(2)} at ${result.times[k].toFixed(1)} s`; };
  at("where-summary").textContent =
    `A probability of ${mean.toFixed(2)} on average; most ${moment(Math.max(...values))}, least ${moment(Math.min(...values))}.`;
  at("where-plot").setAttribute("aria-valuemax", result.seconds.toFixed(2));
  at("where-result").hidden = false;
  drawPlot();
  at("where-about").focus();
});

const plotWidth = () => at("where-plot").clientWidth - PLOT.left - PLOT.right;
const plotX = time => PLOT.left + time / where.seconds * plotWidth();
const plotY = value => PLOT.top + (1 - value) * (PLOT.height - PLOT.top - PLOT.bottom);

function drawPlot() {
  if (!where || plotWidth() <= 0) return;
  const plot = svg("svg", { height: PLOT.height, "aria-hidden": true });
  for (const value of [0, 0.5, 1]) {
    plot.append(svg("line", { class: "grid-line", x1: PLOT.left, x2: PLOT.left + plotWidth(), y1: plotY(value), y2: plotY(value) }));
    plot.append(svg("text", { x: PLOT.left - 6, y: plotY(value) + 4, "text-anchor": "end" }, String(value)));
  }
  const steps = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
  const step = steps.find(one => plotWidth() / (where.seconds / one) > 44) || 1200;
  for (let time = 0; time <= where.seconds; time += step)
    plot.append(svg("text", { x: plotX(time), y: PLOT.height - 5, "text-anchor": time ? "middle" : "start" }, `${time} s`));
  const points = where.times.map((time, k) => `${plotX(time).toFixed(1)},${plotY(where.probabilities[k]).toFixed(1)}`);
  const ends = [where.times.at(-1), where.times[0]].map(time => `${plotX(time)},${plotY(0)}`);
  plot.append(svg("polygon", { class: "area", points: [...points, ...ends].join(" ") }));
  plot.append(svg("polyline", { class: "curve", points: points.join(" ") }));
  plot.append(svg("line", { class: "now", id: "where-now", y1: PLOT.top - 4, y2: plotY(0) }));
  at("where-plot").replaceChildren(plot);
  showMoment();
}

function showMoment() {
  if (!where || !at("where-now")) return;
  const time = at("where-film").currentTime;
  const k = Math.max(where.times.findLastIndex(one => one <= time + 1e-3), 0);
  for (const end of ["x1", "x2"]) at("where-now").setAttribute(end, plotX(time));
  at("where-plot").setAttribute("aria-valuenow", time.toFixed(2));
  at("where-plot").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds: probability ${where.probabilities[k].toFixed(2)}`);
  if (!at("where-film").paused) requestAnimationFrame(showMoment);
}

function goTo(time) {
  at("where-film").currentTime = Math.min(Math.max(time, 0), where.seconds - 0.01);
}

for (const kind of ["play", "seeked", "timeupdate", "loadedmetadata"]) at("where-film").addEventListener(kind, showMoment);
at("where-film").addEventListener("error", () => where && whereWork.say("The browser can't play the film: it may have been removed by now. Send the video again.", true));
at("where-plot").addEventListener("click", event => {
  const x = event.clientX - at("where-plot").getBoundingClientRect().left - PLOT.left;
  goTo(x / plotWidth() * where.seconds);
});
at("where-plot").addEventListener("keydown", event => {
  const now = at("where-film").currentTime, step = where.times.length > 1 ? where.times[1] - where.times[0] : 0.1;
  const to = { ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
    PageDown: now - 1, PageUp: now + 1, Home: 0, End: where.seconds }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  goTo(to);
});
addEventListener("resize", drawPlot);
