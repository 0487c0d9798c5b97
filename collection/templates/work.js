// Work on a file: upload it, follow the job, cancel it. Each tab has one job at a time.
const POLL_MILLISECONDS = 400, UPLOADING = "Uploading";
const activeJobs = new Set();

addEventListener("pagehide", () => activeJobs.forEach(job => navigator.sendBeacon(`/jobs/${job}/cancel`)));

class Work {
  // `tab`: begins the ids of its elements. `show`: a result. `home`: gets the focus when the work is over.
  constructor(tab, show, home = at(`${tab}-file`)) {
    this.tab = tab;
    this.home = home;
    this.parts = [];  // further work on its result, which ends with it
    this.number = 0;  // of the newest work: what older work brings is ignored
    this.job = null;
    this.request = null;
    this.show = show;
    if (show) onFile(tab, `${tab}-file`, file => this.upload(file));
    this.part("cancel").addEventListener("click", () => this.cancel());
  }

  part(name) { return at(`${this.tab}-${name}`); }

  say(text, wrong = false) {
    this.part("status").textContent = text;
    this.part("status").className = wrong ? "status wrong" : "status";
  }

  // For screen readers only: everybody else sees the stage beside the bar.
  announce(text) {
    this.say(text);
    this.part("status").classList.add("unseen");
  }

  showStage(text, fraction) {
    this.part("working").hidden = false;
    const whole = this.name ? `${this.name} – ${text.toLowerCase()}` : text;
    if (this.part("stage").textContent !== whole) this.part("stage").textContent = whole;
    if (fraction > 0) this.part("bar").value = fraction;
    else this.part("bar").removeAttribute("value");  // it moves without saying how far it is
  }

  // `name`: what the file is called on the page.
  upload(file, name = file.name) {
    this.stop();
    pauseAll();
    this.part("result").hidden = true;
    if (file.size > MAX_UPLOAD) return this.finish(tooLarge(file, name), true);
    const form = new FormData();
    form.append("file", file, "upload");
    this.run(`/jobs/${this.tab}`, form, (result, job) => this.show(result, job, file, name), name);
  }

  // Start a job, follow it, and call `show(result, id)` once it is done. `name`: of the file, to be shown with its stage.
  run(address, form, show, name = "") {
    this.stop();
    this.name = name;
    const number = ++this.number, request = this.request = new XMLHttpRequest();
    this.announce("Started.");
    this.showStage(UPLOADING, 0);
    request.open("POST", address);
    request.responseType = "json";
    request.upload.onprogress = event => number === this.number && this.showStage(UPLOADING, event.loaded / event.total);
    request.onerror = () => number === this.number && this.finish(NO_ANSWER, true);
    request.onload = () => {
      if (number !== this.number) return request.response && navigator.sendBeacon(`/jobs/${request.response.job}/cancel`);
      this.request = null;
      if (request.status !== 202) return this.fail(request.response ? request.response.error : NO_ANSWER);
      this.job = request.response.job;
      activeJobs.add(this.job);
      this.follow(number, request.response, show);
    };
    request.send(form);
  }

  async follow(number, answer, show) {
    let said = "", lost = 0, asked = 0;
    while (number === this.number) {
      if (answer.state === "done") {
        this.finish("Done.");
        this.announce("Done.");
        return show(answer.result, answer.job);
      }
      if (answer.state === "cancelled") return this.finish("Cancelled.");
      if (answer.state !== "waiting" && answer.state !== "running") return this.fail(answer.error);
      const stage = answer.state === "running" ? sentence(answer.stage) || "Starting"
        : answer.before ? `Waiting: ${answer.before} before you` : "Waiting for the others";
      this.showStage(stage, answer.fraction);
      if (stage !== said) this.announce(`${said = stage} …`);
      await new Promise(resolve => setTimeout(resolve, Math.min(POLL_MILLISECONDS, 50 * ++asked)));
      try {
        const response = await fetch(`/jobs/${answer.job}`);
        const next = await response.json();
        answer = response.ok ? next : { state: "failed", error: next.error };
        lost = 0;
      } catch {
        if (++lost > 5) answer = { state: "failed", error: NO_ANSWER };
      }
    }
  }

  finish(text, wrong = false) {
    const hadFocus = this.part("working").contains(document.activeElement);
    activeJobs.delete(this.job);
    this.job = null;
    this.part("working").hidden = true;
    this.say(text, wrong);
    if (hadFocus) this.home.focus();
  }

  fail(error) { this.finish(this.name && error !== NO_ANSWER ? `${this.name}: ${error}` : sentence(error), true); }

  // Give the current work up, without a word.
  stop() {
    this.parts.forEach(part => part.stop());
    this.number++;
    if (this.request) this.request.abort();
    if (this.job) fetch(`/jobs/${this.job}/cancel`, { method: "POST" }).catch(() => {});
    activeJobs.delete(this.job);
    this.request = this.job = null;
  }

  cancel() {
    this.stop();
    this.finish("Cancelled.");
  }
}

// What a result is of: the file, and how much of it was used.
const describeFile = (name, seconds, isCut) => {
  const text = `${+seconds.toFixed(1)} ${seconds === 1 ? "second" : "seconds"}`;
  return isCut ? `${name}: its first ${text}` : `${name}: ${text}`;
};
