"use strict";
(() => {
  const PAPER = { width: 660, height: 0.78 };  // pixels; a share of the height on screens
  const OPTIONS = { displayModeBar: false, responsive: true };
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll("[data-figure]")];
  const root = document.documentElement;

  // Colours stand in figures as names of CSS variables.
  const coloured = (value, style) => {
    if (typeof value === "string" && value.startsWith("--")) return style.getPropertyValue(value).trim();
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, style)]));
  };

  let printing = false;
  const draw = () => {
    const style = getComputedStyle(root);
    for (const chart of charts) {
      const figure = coloured(figures[chart.dataset.figure], style);
      figure.layout.font.family = getComputedStyle(document.body).fontFamily;
      if (printing) {
        figure.layout.width = PAPER.width;
        figure.layout.height *= PAPER.height;
      }
      Plotly.react(chart, figure.data, figure.layout, OPTIONS);
    }
  };

  if (charts.length) {
    draw();
    // Printing changes the scheme, too.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  }

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => { each.open = true; });
    root.classList.add("printing");
    printing = true;
    if (charts.length) draw();
  });
  addEventListener("afterprint", () => {
    closed.forEach((each) => { each.open = false; });
    root.classList.remove("printing");
    printing = false;
    if (charts.length) draw();
  });

  const selected = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  const copied = async (element) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
    } catch {
      selected(element);
      return document.execCommand("copy");
    }
    return true;
  };
  for (const button of document.querySelectorAll("[data-copies]")) {
    const label = button.textContent;
    button.hidden = false;
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      const done = await copied(document.getElementById(button.dataset.copies));
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
})();
