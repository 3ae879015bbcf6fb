"use strict";
(() => {
  const slider = document.getElementById("slider");
  if (!slider) return;
  const { low, steps, scored, kept, keepsLow } = JSON.parse(document.getElementById("counts").textContent);
  const outputs = ["slider-value", "slider-kept", "slider-rate"].map((id) => document.getElementById(id));
  const plots = [...document.querySelectorAll("svg.plot")];
  const lines = [...document.querySelectorAll("line.threshold")];
  const cards = [...document.querySelectorAll("[data-score]")];
  const clip = document.querySelector("rect.clip");
  const digits = steps === 100 ? 2 : 3;
  const initial = { value: slider.value, texts: outputs.map((output) => output.textContent), x: lines[0].getAttribute("x1") };
  initial.verdicts = cards.map((card) => card.querySelector(".verdict").textContent === "kept");

  const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const share = (part) => (100 * part).toFixed(part >= 0.001 || part === 0 ? 2 : 4) + "%";

  function show(x, texts, verdicts) {
    outputs.forEach((output, at) => { output.textContent = texts[at]; });
    slider.setAttribute("aria-valuetext", `${texts[0]}, keeps ${texts[2]}`);
    lines.forEach((line) => { line.setAttribute("x1", x); line.setAttribute("x2", x); });
    clip.setAttribute("x", keepsLow ? 0 : x);
    clip.setAttribute("width", Math.max(0, keepsLow ? x : plots[0].viewBox.baseVal.width - x));
    cards.forEach((card, at) => {
      const verdict = card.querySelector(".verdict");
      verdict.textContent = verdicts[at] ? "kept" : "dropped";
      verdict.className = `verdict ${verdicts[at] ? "yes" : "no"}`;
    });
  }

  function move() {
    const at = Number(slider.value), { left, right } = plots[0].dataset;
    const part = (at - low) / (slider.max - slider.min), rows = kept[at - low];
    // Scores are float32, and so is the threshold that they are compared with.
    const threshold = Math.fround(at / steps);
    const texts = [(at / steps).toFixed(digits), count(rows), share(rows / scored)];
    const keeps = (score) => (keepsLow ? score <= threshold : score >= threshold);
    show(Number(left) + part * (right - left), texts, cards.map((card) => keeps(Number(card.dataset.score))));
  }

  document.getElementById("reset").addEventListener("click", () => {
    slider.value = initial.value;
    show(initial.x, initial.texts, initial.verdicts);
  });
  slider.addEventListener("input", move);
  document.getElementById("panel").hidden = false;
  // A browser restores the slider's value when it returns to the page.
  if (slider.value !== slider.defaultValue) move();
})();
