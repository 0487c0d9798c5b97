// The search: an image, a sound, a video or a recording; the nearest images and sounds.
let results = null, uploadUrl = "", recorder = null;

const searchWork = new Work("search", (result, job, file, name) => {
  results = { ...result, job, name };
  URL.revokeObjectURL(uploadUrl);
  uploadUrl = URL.createObjectURL(file);
  showResults(true);
});

function showResults(isNew = false) {
  const { job, name, kind, seconds, maps, by } = results;
  const showMaps = maps && at("maps").checked, hasBoth = Boolean(by.image && by.sound);
  const selected = hasBoth ? document.querySelector("input[name=by]:checked").value : Object.keys(by)[0];
  at("search-result").hidden = false;
  at("maps-option").hidden = !maps;
  at("by").hidden = !hasBoth;
  if (isNew) {
    const views = { image: "img", sound: "audio", video: "video" };
    const media = make(views[kind], kind === "image" ? { src: uploadUrl, alt: "Your image" } : { src: uploadUrl, controls: true });
    at("preview").replaceChildren(media);
  }
  at("preview").querySelectorAll(".map").forEach(old => old.remove());
  if (showMaps && hasBoth)
    at("preview").prepend(make("img", { className: "map", src: `/jobs/${job}/map.jpg`, alt: "Where your sound comes from" }));
  at("search-about").textContent = kind === "image" ? name : describeFile(name, seconds, true);
  // Maps of the query's sound in every image, or of every sound in the query's image.
  const mapped = { images: showMaps && selected === "sound", sounds: showMaps && selected === "image" };
  for (const id of ["images", "sounds"]) {
    fillList(id, by[selected][id], row => mapped[id] ? `/jobs/${job}/map/${id.slice(0, -1)}/${row}.jpg` : `/image/${row}.jpg`);
    const crossed = id !== `${selected}s`;
    at(`${id}-note`).textContent = [measureNote(by[selected][id].measure, crossed, maps),
      mapped[id] && id === "sounds" ? "the maps show where each would come from in your image" : ""].filter(Boolean).join("; ");
  }
  if (isNew) at("search-about").focus();
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
  if (!navigator.mediaDevices) return searchWork.say("The browser lets pages of this machine (localhost) record, not of others: record with another program, and choose the file.", true);
  pauseAll();
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
      searchWork.upload(new Blob(pieces, { type: pieces[0] && pieces[0].type }), "Your recording");
    };
    recorder.start();
    at("record").textContent = "Stop";
    at("record").classList.add("on");
    searchWork.say("Recording …");
    setTimeout(() => recorder && recorder.stop(), RECORD_SECONDS * 1000 + 200);
  } catch (error) {
    recorder = null;
    searchWork.say(`The microphone is not available: ${error.message}`, true);
  }
}

at("record").addEventListener("click", record);
for (const choice of document.querySelectorAll("#maps, input[name=by]")) choice.addEventListener("change", () => showResults());
