// Tabs, files that are chosen or dropped, and small helpers.
const NO_ANSWER = "The server does not answer. Is search.py still running?";
const at = id => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
const fileHandlers = {};  // of each tab

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const megabytes = bytes => +(bytes / 2 ** 20).toPrecision(3);

const tooLarge = (file, name) =>
  `${name} is too large: it has ${megabytes(file.size)} MB, the limit is ${megabytes(MAX_UPLOAD)} MB. Send a smaller file.`;

const sentence = text => text ? text[0].toUpperCase() + text.slice(1) : "";

const pauseAll = except => document.querySelectorAll("audio, video").forEach(player => player !== except && player.pause());

// ARIA's pattern of tabs: one of them can be reached by the tab key, the arrow keys move to the others.
function openTab(opened) {
  for (const tab of tabs) {
    const isOpen = tab === opened;
    tab.setAttribute("aria-selected", isOpen);
    tab.tabIndex = isOpen ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = !isOpen;
  }
  pauseAll();
  document.title = tabs.length > 1 ? `Try a net: ${opened.textContent}` : document.querySelector("h1").textContent;
  window.dispatchEvent(new Event("resize"));  // what was drawn while it was hidden has no width
}

tabs.forEach((tab, k) => {
  tab.addEventListener("click", () => { openTab(tab); history.replaceState(null, "", `#${tab.id.slice(4)}`); });
  tab.addEventListener("keydown", event => {
    const to = { ArrowLeft: k - 1, ArrowRight: k + 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs.at(to % tabs.length);
    next.focus();
    next.click();
  });
});

function onFile(tab, input, handle) {
  fileHandlers[tab] = handle;
  at(input).addEventListener("change", event => {
    if (event.target.files[0]) handle(event.target.files[0]);
    event.target.value = "";
  });
}

// Play one at a time: a sound that starts pauses all others.
document.addEventListener("play", event => pauseAll(event.target), true);

for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, event => {
    event.preventDefault();
    const tab = tabs.find(one => one.getAttribute("aria-selected") === "true").id.slice(4);
    at(`panel-${tab}`).querySelector(".drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) fileHandlers[tab](event.dataTransfer.files[0]);
  });
