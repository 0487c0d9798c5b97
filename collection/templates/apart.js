// Take apart: a picture to click into, the sources that the net has found, and two films.
const FILMS = {
  "energy.mp4": "How loud each place is: the brighter, the louder",
  "clusters.mp4": "Places of one color sound alike",
};
let apart = null;  // {job, result, cell: [column, row]}

const loudness = value => `${Math.abs(value).toFixed(1)} dB ${value < 0 ? "quieter" : "louder"} than the whole sound`;

const apartWork = new Work("apart", (result, job, file, name) => {
  const [columns, rows] = result.grid;
  apart = { job, result, cell: [columns >> 1, rows >> 1] };
  at("apart-about").textContent = describeFile(name, result.seconds, result.cut);
  at("apart-picture").replaceChildren(
    make("img", { src: address(result.picture), alt: "", draggable: false }), make("div", { className: "cell", id: "apart-cell" }),
    ...result.sources.map((source, k) => badge(source, k, true)));
  at("apart-sources").replaceChildren(
    soundItem(make("span", {}, "Whole sound"), result.mixture, "Whole sound", `at ${result.rate / 1000} kHz, as the net hears it`),
    ...result.sources.map((source, k) => soundItem(badge(source, k, false), source.file, `Source ${k + 1}`, loudness(source.decibels))));
  at("apart-films").replaceChildren(...result.films.map(film => make("figure", {},
    Object.assign(make("video", { className: "wide", src: address(film), controls: true, loop: true, playsInline: true })),
    make("figcaption", { className: "dim" }, FILMS[film]))));
  at("apart-films").querySelectorAll("video").forEach((video, k) => video.setAttribute("aria-label", FILMS[result.films[k]]));
  at("apart-all").href = address(result.all);
  at("apart-place").textContent = "";
  at("apart-sound").hidden = true;
  pixelWork.finish("");
  at("apart-result").hidden = false;
  moveCell(...apart.cell);
  at("apart-about").focus();
});

const pixelWork = new Work("pixel", null, at("apart-picture"));  // the sound of one place
apartWork.parts.push(pixelWork);

const address = file => `/jobs/${apart.job}/${file}`;

// The number of a source, in the color of its places; in the picture it plays the source.
function badge(source, k, inPicture) {
  const element = make(inPicture ? "button" : "span", { className: "badge" }, String(k + 1));
  element.style.background = `rgb(${source.color})`;
  if (!inPicture) return element;
  element.type = "button";
  element.setAttribute("aria-label", `Play source ${k + 1}`);
  [element.style.left, element.style.top] = source.at.map(value => `${100 * value}%`);
  element.addEventListener("click", event => { event.stopPropagation(); at(`apart-player-${source.file}`).play(); });
  element.addEventListener("keydown", event => event.stopPropagation());
  return element;
}

function soundItem(title, file, name, note) {
  const player = make("audio", { id: `apart-player-${file}`, src: address(file), controls: true, preload: "metadata" });
  player.setAttribute("aria-label", name);
  const link = make("a", { href: address(file), download: file }, "Download");
  link.setAttribute("aria-label", `Download ${name}`);
  return make("li", {}, title, player, make("div", { className: "note" }, make("span", { className: "dim" }, note), link));
}

function moveCell(column, row) {
  const [columns, rows] = apart.result.grid;
  apart.cell = [Math.min(Math.max(column, 0), columns - 1), Math.min(Math.max(row, 0), rows - 1)];
  Object.assign(at("apart-cell").style, { left: `${100 * apart.cell[0] / columns}%`, top: `${100 * apart.cell[1] / rows}%`,
    width: `${100 / columns}%`, height: `${100 / rows}%` });
}

const place = () => `Column ${apart.cell[0] + 1} of ${apart.result.grid[0]}, row ${apart.cell[1] + 1} of ${apart.result.grid[1]}`;

function playCell() {
  const [columns, rows] = apart.result.grid, form = new FormData(), said = place();
  form.append("x", (apart.cell[0] + 0.5) / columns);
  form.append("y", (apart.cell[1] + 0.5) / rows);
  at("apart-place").textContent = said;
  at("apart-sound").pause();
  at("apart-sound").hidden = true;
  pixelWork.run(`/jobs/${apart.job}/pixel`, form, sound => {
    at("apart-place").textContent = `${said}: ${loudness(sound.decibels)}`;
    at("apart-sound").hidden = false;
    at("apart-sound").src = address(sound.file);
    at("apart-sound").play();
  });
}

at("apart-picture").addEventListener("click", event => {
  const box = at("apart-picture").getBoundingClientRect(), [columns, rows] = apart.result.grid;
  moveCell(Math.floor((event.clientX - box.left) / box.width * columns), Math.floor((event.clientY - box.top) / box.height * rows));
  playCell();
});
at("apart-picture").addEventListener("keydown", event => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step && event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  if (!step) return playCell();
  moveCell(apart.cell[0] + step[0], apart.cell[1] + step[1]);
  at("apart-place").textContent = place();
});
