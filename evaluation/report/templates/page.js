"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  // ---- light and dark: follow the system until the user switches
  const theme = one("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const named = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colors`); };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* pages opened from disk may not store anything */ }
    named();
  });
  dark.addEventListener("change", named);
  named();

  // ---- tabs: arrow keys move between them, the Tab key moves into the panel
  for (const list of all(".tabs")) {
    const tabs = all("[role=tab]", list);
    const choose = (tab, focus) => {
      for (const other of tabs) {
        const on = other === tab;
        other.setAttribute("aria-selected", on);
        other.tabIndex = on ? 0 : -1;
        document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
      }
      if (focus) tab.focus();
    };
    list.addEventListener("click", (event) => { const tab = event.target.closest("[role=tab]"); if (tab) choose(tab); });
    list.addEventListener("keydown", (event) => {
      const at = tabs.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      choose(tabs[(to + tabs.length) % tabs.length], true);
    });
  }

  // ---- sounds: links play here; without this script they open the file
  const data = JSON.parse(one("#clips")?.textContent || "{}");
  const bar = one("#player");
  const audio = bar && one("audio", bar);
  const play = (k, link) => {
    const [name, frame, sound] = data[k];
    if (!sound) return;
    if (audio.getAttribute("src") !== sound) audio.src = sound;
    audio.currentTime = 0;
    one("img", bar).src = frame;
    one("span", bar).textContent = name;
    bar.hidden = false;
    all(".playing").forEach((other) => other.classList.remove("playing"));
    link?.classList.add("playing");
    audio.play().catch((error) => { one("span", bar).textContent = `${name}: can't be played (${error.name})`; });
  };
  if (bar) {
    audio.addEventListener("ended", () => all(".playing").forEach((other) => other.classList.remove("playing")));
    one("button", bar).addEventListener("click", () => { audio.pause(); bar.hidden = true; all(".playing").forEach((other) => other.classList.remove("playing")); });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-k]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      play(link.dataset.k, link);
    });
  }

  // ---- grids of links: one tab stop each, arrow keys move within
  for (const grid of all("[data-grid]")) {
    const rows = all("[data-row]", grid).map((row) => all("a[data-k]", row)).filter((row) => row.length);
    rows.flat().forEach((link, k) => { link.tabIndex = k ? -1 : 0; });
    grid.addEventListener("keydown", (event) => {
      const y = rows.findIndex((row) => row.includes(document.activeElement));
      if (y < 0) return;
      const x = rows[y].indexOf(document.activeElement);
      const to = { ArrowRight: [y, x + 1], ArrowLeft: [y, x - 1], ArrowDown: [y + 1, x], ArrowUp: [y - 1, x], Home: [y, 0], End: [y, rows[y].length - 1] }[event.key];
      if (event.key === " ") { event.preventDefault(); document.activeElement.click(); return; }
      if (!to) return;
      event.preventDefault();
      const row = rows[to[0]];
      const next = row && (row[to[1]] || (to[0] !== y && row[row.length - 1]));
      if (!next || !next.getClientRects().length) return;
      rows.flat().forEach((link) => { link.tabIndex = link === next ? 0 : -1; });
      next.focus();
    });
  }

  // ---- maps over frames
  const slider = one("#opacity");
  slider?.addEventListener("input", () => {
    one("#localization").style.setProperty("--opacity", slider.value / 100);
    one("#opacity-value").textContent = `${slider.value}%`;
  });
  one("#boxes")?.addEventListener("change", (event) => one("#localization").classList.toggle("no-boxes", !event.target.checked));

  // ---- the map of embeddings
  const sky = one(".sky");
  if (!sky) return;
  const svg = one("svg", sky);
  const dots = all(".dot", svg).map((dot) => ({ dot, k: dot.dataset.k, kind: dot.dataset.kind, sound: dot.tagName === "path", x: +dot.dataset.x, y: +dot.dataset.y }));
  const card = one(".card", sky);
  let at = null;
  const show = (point) => {
    if (!point || point === at) return;
    at = point;
    const other = dots.find((dot) => dot.k === point.k && dot.sound !== point.sound);
    const link = one(".link", svg);
    link.setAttribute("d", `M${point.x} ${point.y}L${other.x} ${other.y}`);
    for (const [ring, spot] of [[0, point], [1, other]]) { const mark = all(".ring", svg)[ring]; mark.setAttribute("cx", spot.x); mark.setAttribute("cy", spot.y); mark.setAttribute("r", ring ? 1.2 : 1.7); }
    const image = one("img", card);
    image.hidden = false;
    image.src = data[point.k][1];
    one("p", card).textContent = `${point.sound ? "Sound" : "Frame"}: ${data[point.k][0]}`;
  };
  const shown = () => dots.filter((dot) => getComputedStyle(dot.dot).opacity > 0.5);
  const nearest = (event) => {
    const cursor = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null, least = 9;
    for (const dot of shown()) { const d = (dot.x - cursor.x) ** 2 + (dot.y - cursor.y) ** 2; if (d < least) { least = d; best = dot; } }
    return best;
  };
  svg.addEventListener("pointermove", (event) => show(nearest(event)));
  svg.addEventListener("click", (event) => { const point = nearest(event); if (point) { show(point); play(point.k); } });
  svg.addEventListener("focus", () => { if (!at) show(shown()[0]); });
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if ((event.key === "Enter" || event.key === " ") && at) { event.preventDefault(); play(at.k); return; }
    if (!way || !at) return;
    event.preventDefault();
    let best = null, least = Infinity;
    for (const dot of shown()) {
      const along = (dot.x - at.x) * way[0] + (dot.y - at.y) * way[1];
      const across = Math.abs((dot.x - at.x) * way[1]) + Math.abs((dot.y - at.y) * way[0]);
      if (along > 1e-6 && along + 2 * across < least) { least = along + 2 * across; best = dot; }
    }
    show(best);
  });
  one(".chips", sky).addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const on = chip.getAttribute("aria-pressed") !== "true";
    all("button", chip.closest("ul")).forEach((other) => other.setAttribute("aria-pressed", other === chip && on));
    sky.classList.toggle("picked", on);
    dots.forEach((dot) => dot.dot.classList.toggle("on", on && dot.kind === chip.dataset.kind));
  });
})();
