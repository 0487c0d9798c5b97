// Long work on a video: upload it, follow the job, cancel it. Each tab has one job at a time.
const POLL_MILLISECONDS = 400, UPLOADING = "Uploading";
const activeJobs = new Set();

addEventListener("pagehide", () => activeJobs.forEach(job => navigator.sendBeacon(`/jobs/${job}/cancel`)));

class VideoWork {
  constructor(tab, show) {
    this.tab = tab;
    this.number = 0;  // of the newest work: what older work brings is ignored
    this.job = null;
    this.request = null;
    onFile(tab, `${tab}-file`, file => this.upload(file, show));
    this.part("cancel").addEventListener("click", () => this.cancel());
  }

  part(name) { return at(`${this.tab}-${name}`); }

  say(text, wrong = false) { showStatus(text, wrong, `${this.tab}-status`); }

  // For screen readers only: everybody else sees the stage beside the bar.
  announce(text) {
    this.say(text);
    this.part("status").classList.add("unseen");
  }

  showStage(text, fraction) {
    this.part("working").hidden = false;
    if (this.part("stage").textContent !== text) this.part("stage").textContent = text;
    if (fraction > 0) this.part("bar").value = fraction;
    else this.part("bar").removeAttribute("value");  // it moves without saying how far it is
  }

  upload(file, show) {
    this.stop();
    this.part("result").hidden = true;
    if (file.size > MAX_UPLOAD) return this.say(tooLarge(file), true);
    const form = new FormData();
    form.append("file", file, "upload");
    this.run(`/jobs/${this.tab}`, form, show);
  }

  // Start a job, follow it, and call `show(result, id)` once it is done.
  run(address, form, show) {
    this.stop();
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
      if (request.status !== 202) return this.finish(sentence(request.response ? request.response.error : NO_ANSWER), true);
      this.job = request.response.job;
      activeJobs.add(this.job);
      this.follow(number, request.response, show);
    };
    request.send(form);
  }

  async follow(number, answer, show) {
    let said = "", lost = 0;
    while (number === this.number) {
      if (answer.state === "done") {
        this.finish("Done.");
        this.announce("Done.");
        return show(answer.result, answer.job);
      }
      if (answer.state === "cancelled") return this.finish("Cancelled.");
      if (answer.state !== "waiting" && answer.state !== "running") return this.finish(sentence(answer.error), true);
      const stage = answer.state === "running" ? sentence(answer.stage) || "Starting"
        : answer.before ? `Waiting: ${answer.before} before you` : "Waiting for the others";
      this.showStage(stage, answer.fraction);
      if (stage !== said) this.announce(`${said = stage} …`);
      await new Promise(resolve => setTimeout(resolve, POLL_MILLISECONDS));
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
    this.part("status").classList.remove("unseen");
    this.say(text, wrong);
    if (hadFocus) this.part("file").focus();
  }

  // Give the current work up, without a word.
  stop() {
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

const describeVideo = (seconds, isCut) => {
  const text = `${+seconds.toFixed(1)} ${seconds === 1 ? "second" : "seconds"}`;
  return isCut ? `Your video: its first ${text}` : `Your video: ${text}`;
};
