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
    for (const fold of folds) {
      if (fold.dataset.budget) fold.open = fold.dataset.budget === chosen || (chosen === "" && initial.get(fold));
    }
  });
  // Rows about another workload than the chosen one, and tables that say on which one they are.
  const choice = document.getElementById("workload");
  choice?.addEventListener("change", () => {
    const names = new Set([...choice.options].slice(1).map((option) => option.value));
    const isOther = (words) => choice.value !== "" && names.has(words) && words !== choice.value;
    for (const table of document.querySelectorAll("main table")) {
      const caption = table.caption?.textContent ?? "";
      table.closest(".scroll").hidden = isOther(caption.slice(caption.lastIndexOf(" on ") + 4));
      for (const row of table.tBodies[0].rows) row.hidden = [...row.cells].some((cell) => isOther(cell.textContent));
    }
  });

  const valueOf = (row, index) => {
    const words = row.cells[index]?.textContent.trim() ?? "";
    const value = parseFloat(words.replace(/,/g, "").replace(/^x /, "").replace(/^smallest$/, "0"));
    return [Number.isNaN(value) ? Infinity : value, words];
  };
  document.addEventListener("click", (event) => {
    const head = event.target.closest("thead th");
    if (!head) return;
    const direction = head.dataset.sorted === "down" ? "up" : "down";
    for (const other of head.parentElement.cells) delete other.dataset.sorted;
    head.dataset.sorted = direction;
    const body = head.closest("table").tBodies[0];
    const sign = direction === "down" ? 1 : -1;
    const rows = [...body.rows].map((row) => [valueOf(row, head.cellIndex), row]);
    rows.sort(([[a, s], ], [[b, t], ]) => sign * (a === b ? s.localeCompare(t) : a - b));
    body.append(...rows.map(([, row]) => row));
  });

  // A table as text: of its visible rows, and without the bars, which are pictures.
  const textOf = (table) => {
    const rows = [...table.rows].filter((row) => row.getClientRects().length);
    return rows.map((row) => [...row.cells].filter((cell) => !cell.classList.contains("bars")).map((cell) => cell.textContent.trim()));
  };
  const asMarkdown = ([head, ...rows]) =>
    [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map((cell) => cell.replace(/\|/g, "\\|")).join(" | ")} |`).join("\n");
  const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const asLatex = ([head, ...rows]) => {
    const line = (row) => `${row.map((cell) => cell.replace(/[\\~^&%$#_{}]/g, (c) => special[c] ?? `\\${c}`)).join(" & ")} \\\\`;
    return [`\\begin{tabular}{${"l".repeat(head.length)}}`, "\\hline", line(head), "\\hline", ...rows.map(line), "\\hline", "\\end{tabular}"].join("\n");
  };
  for (const table of document.querySelectorAll("table")) {
    const tools = document.createElement("p");
    tools.className = "table-tools";
    for (const [words, write] of [["copy as Markdown", asMarkdown], ["copy as LaTeX", asLatex]]) {
      const button = tools.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", async () => {
        button.dataset.copied = write(textOf(table));
        await navigator.clipboard?.writeText(button.dataset.copied).catch(() => {});
        button.textContent = "copied";
        setTimeout(() => (button.textContent = words), 1500);
      });
    }
    const place = table.closest(".scroll");
    if (table.classList.contains("verdict")) place.append(tools);
    else place.before(tools);
  }

  // The SVG beside the page, drawn at twice its size.
  for (const button of document.querySelectorAll("button.png")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const svg = button.closest("figure").querySelector("svg");
      const copy = svg.cloneNode(true);
      const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
      copy.setAttribute("width", 2 * width);
      copy.setAttribute("height", 2 * height);
      const style = getComputedStyle(document.documentElement);
      const text = new XMLSerializer().serializeToString(copy).replace(/var\((--[\w]+)\)/g, (_, name) => style.getPropertyValue(name));
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [2 * width, 2 * height];
        const context = canvas.getContext("2d");
        context.fillStyle = style.getPropertyValue("--paper");
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0);
        const link = document.createElement("a");
        link.href = canvas.toDataURL("image/png");
        link.download = `${button.closest("figure").dataset.picture}.png`;
        link.click();
      };
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    });
  }

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
