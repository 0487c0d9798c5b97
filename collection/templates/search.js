// The search: an image, a sound, a video or a recording; the nearest images and sounds.
let results = null, uploadUrl = "", recorder = null, searching = null;

async function search(file) {
  if (file.size > MAX_UPLOAD) return showStatus(tooLarge(file), true);
  showStatus("Searching …");
  if (searching) searching.abort();
  const own = searching = new AbortController();
  const form = new FormData();
  form.append("file", file, "upload");
  try {
    const response = await fetch("/search", { method: "POST", body: form, signal: own.signal });
    const answer = await response.json();
    if (!response.ok) return showStatus(answer.error, true);
    showStatus("");
    results = answer;
    URL.revokeObjectURL(uploadUrl);
    uploadUrl = URL.createObjectURL(file);
    showResults(true);
  } catch {
    if (own === searching) showStatus(NO_ANSWER, true);
  }
}

function showResults(isNew = false) {
  const { query, kind, seconds, maps, by } = results;
  const showMaps = maps && at("maps").checked, hasBoth = Boolean(by.image && by.sound);
  const selected = hasBoth ? document.querySelector("input[name=by]:checked").value : Object.keys(by)[0];
  at("results").hidden = false;
  at("maps-option").hidden = !maps;
  at("by").hidden = !hasBoth;
  if (isNew) {
    const views = { image: "img", sound: "audio", video: "video" };
    const media = make(views[kind], kind === "image" ? { src: uploadUrl, alt: "Your image" } : { src: uploadUrl, controls: true });
    at("preview").replaceChildren(media);
  }
  at("preview").querySelectorAll(".map").forEach(old => old.remove());
  if (showMaps && hasBoth)
    at("preview").prepend(make("img", { className: "map", src: `/map/${query}.jpg`, alt: "Where your sound comes from" }));
  const label = { image: "Your image", sound: "Your sound", video: "Your video" }[kind];
  at("about").textContent = kind === "image" ? label : `${label}: its first ${seconds} ${seconds === 1 ? "second" : "seconds"}`;
  // Maps of the query's sound in every image, or of every sound in the query's image.
  const mapped = { images: showMaps && selected === "sound", sounds: showMaps && selected === "image" };
  for (const id of ["images", "sounds"]) {
    fillList(id, by[selected][id], row => mapped[id] ? `/map/${query}/${id.slice(0, -1)}/${row}.jpg` : `/image/${row}.jpg`);
    const crossed = id !== `${selected}s`;
    at(`${id}-note`).textContent = [measureNote(by[selected][id].measure, crossed, maps),
      mapped[id] && id === "sounds" ? "the maps show where each would come from in your image" : ""].filter(Boolean).join("; ");
  }
  if (isNew) at("about").focus();
}

// How a list is ranked. `crossed`: images by a sound, or sounds by an image.
function measureNote(measure, crossed, maps) {
  if (measure === "probability") return "by the net's own score: the probability that image and sound belong together";
  const note = "by cosine similarity, higher is nearer; compare it within one list only";
  return crossed && maps ? `${note}; with embed.py --maps the net's own score would rank them` : note;
}

function fillList(id, { measure, items }, imageUrl) {
  at(id).replaceChildren(...items.map(item => {
    const where = item.kind === "image" ? item.name : `${item.name}, ${item.time.toFixed(1)} s`;
    const card = make("li", {}, make("img", { src: imageUrl(item.row), alt: where, loading: "lazy" }));
    if (item.sound) {
      const player = make("audio", { src: `/sound/${item.row}.wav`, controls: true, preload: "none" });
      player.setAttribute("aria-label", `Sound of ${where}`);
      card.append(player);
    }
    const when = item.kind === "image" ? "" : `at ${item.time.toFixed(1)} s, `;
    card.append(make("div", { className: "text", title: where },
      make("div", { className: "name" }, item.name.split("/").pop()),
      make("div", { className: "dim" }, `${when}${measure} ${item.score.toFixed(2)}`)));
    return card;
  }));
  if (!items.length) at(id).replaceChildren(make("li", { className: "text" }, "none in this collection"));
}

async function record() {
  if (recorder) return recorder.stop();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach(track => track.stop());
      recorder = null;
      at("record").textContent = `Record ${RECORD_SECONDS} seconds`;
      at("record").classList.remove("on");
      search(new Blob(pieces, { type: pieces[0] && pieces[0].type }));
    };
    recorder.start();
    at("record").textContent = "Stop";
    at("record").classList.add("on");
    showStatus("Recording …");
    setTimeout(() => recorder && recorder.stop(), RECORD_SECONDS * 1000 + 200);
  } catch (error) {
    recorder = null;
    showStatus(`The microphone is not available: ${error.message}`, true);
  }
}

onFile("search", "file", search);
at("record").addEventListener("click", record);
for (const choice of document.querySelectorAll("#maps, input[name=by]")) choice.addEventListener("change", () => showResults());
