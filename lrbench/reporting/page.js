"use strict";
// The page reads without this script; it adds values under the pointer and hiding of schedules.
(() => {
  const NEAR = 16; // units of a picture's view box
  const marks = JSON.parse(document.getElementById("marks").textContent);
  const tip = document.getElementById("tip");
  const hidden = new Set();
  const rules = document.head.appendChild(document.createElement("style"));
  let focused = null;

  document.body.classList.add("live");
  document.querySelector(".tools").hidden = false;

  const keyOf = (element) => [...element.classList].find((name) => /^s\d+$/.test(name));

  function apply() {
    // Keys stay where they are, so that a click on them brings the schedule back.
    const lines = [...hidden].map(
      (key) => `main .${key}:not(.key) { display: none !important } .key.${key} { opacity: 0.35; text-decoration: line-through }`,
    );
    if (focused && !hidden.has(focused)) {
      lines.push(`figure svg g[class]:not(.${focused}):not(.key) { opacity: 0.13 }`);
    }
    rules.textContent = lines.join("\n");
    for (const button of document.querySelectorAll(".entries .key")) {
      button.setAttribute("aria-pressed", String(!hidden.has(keyOf(button))));
    }
    document.getElementById("hidden-count").textContent = hidden.size ? `${hidden.size} hidden` : "";
  }

  function toggle(key) {
    if (!hidden.delete(key)) hidden.add(key);
    apply();
  }

  document.addEventListener("click", (event) => {
    const entry = event.target.closest(".key");
    if (entry) toggle(keyOf(entry));
  });
  document.addEventListener("pointerover", (event) => {
    const entry = event.target.closest(".key");
    const key = entry ? keyOf(entry) : null;
    if (key !== focused) {
      focused = key;
      apply();
    }
  });
  document.getElementById("show-all").addEventListener("click", () => {
    hidden.clear();
    apply();
  });
  document.getElementById("hide-all").addEventListener("click", () => {
    for (const button of document.querySelectorAll(".entries .key")) hidden.add(keyOf(button));
    apply();
  });

  const folds = [...document.querySelectorAll("details")];
  const initial = new Map(folds.map((fold) => [fold, fold.open]));
  document.getElementById("budget")?.addEventListener("change", (event) => {
    const chosen = event.target.value;
    for (const element of document.querySelectorAll("[data-budget]")) {
      element.hidden = chosen !== "" && element.dataset.budget !== chosen;
    }
    for (const fold of folds) fold.open = fold.dataset.budget === chosen || (chosen === "" && initial.get(fold));
  });
  // For browsers whose style sheets cannot unfold.
  const folded = [];
  addEventListener("beforeprint", () => {
    for (const fold of folds) {
      if (!fold.open) folded.push(fold);
      fold.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const fold of folded.splice(0)) fold.open = false;
  });

  function nearest(points, x, y) {
    let best = null;
    let least = NEAR * NEAR;
    for (const point of points) {
      const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
      if (distance < least && !point[3].some((key) => hidden.has(key))) {
        least = distance;
        best = point;
      }
    }
    return best;
  }

  function place(event) {
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }

  for (const figure of document.querySelectorAll("figure[data-picture]")) {
    const svg = figure.querySelector("svg");
    const points = marks[figure.dataset.picture] ?? [];
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "7");
    ring.style.display = "none";
    svg.append(ring);
    const leave = () => {
      tip.hidden = true;
      ring.style.display = "none";
    };
    const look = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const point = nearest(points, at.x, at.y);
      if (!point) return leave();
      tip.textContent = point[2];
      tip.hidden = false;
      place(event);
      ring.setAttribute("cx", point[0]);
      ring.setAttribute("cy", point[1]);
      ring.style.display = "";
    };
    svg.addEventListener("pointermove", look);
    svg.addEventListener("pointerdown", look);
    svg.addEventListener("pointerleave", leave);
  }
})();
