"use strict";
const STEP = 100, root = document.documentElement;
const stateColumns = new Set(["state", "status", "class"]);
// Columns that get a drop-down beside the text filter, where they hold more than one word and not too many.
const choiceColumns = new Set([...stateColumns, "target", "device", "other", "variant", "suite", "matters", "run"]);
const MOST_CHOICES = 60;

const infinite = { inf: Infinity, "-inf": -Infinity };
function value(column, i) { return column.numbers ? infinite[column.numbers[i]] ?? column.numbers[i] : column.words[column.codes[i]]; }
function shown(v) { return v === null || v === undefined ? "" : String(v); }
// A spreadsheet would run text that begins like this.
function cell(v) {
  let text = shown(v);
  if (typeof v === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === "") return 1;
  if (b === null || b === "") return -1;
  return a < b ? -1 : 1;
}

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// A drop-down with the words of a column; its value is the place of the word, or nothing for all.
function makeChoice(column, caption) {
  const label = document.createElement("label"), select = document.createElement("select");
  const words = column.words.map((word, code) => [word || "(none)", code]).sort((a, b) => compare(a[0], b[0]));
  for (const [word, code] of [["all", ""], ...words]) select.append(new Option(word, code));
  select.setAttribute("aria-label", `${column.title} in ${caption}`);
  label.append(column.title + " ", select);
  return { column, label, select };
}

async function makeTable(box) {
  const data = JSON.parse(await unpack(box.querySelector("script"))), columns = data.columns;
  const first = columns[0], size = (first.numbers || first.codes).length;
  const head = box.querySelector("thead tr"), body = box.querySelector("tbody");
  const input = box.querySelector("input"), more = box.querySelector(".more");
  const choices = columns.filter((c) => c.words && choiceColumns.has(c.title)
    && c.words.length > 1 && c.words.length <= MOST_CHOICES)
    .map((column) => makeChoice(column, box.querySelector("caption").textContent));
  box.querySelector(".csv").before(...choices.map((choice) => choice.label));
  let rows = Array.from({ length: size }, (_, i) => i), limit = STEP, sorted = rows;
  function draw() {
    body.replaceChildren(...rows.slice(0, limit).map((i) => {
      const line = document.createElement("tr");
      for (const column of columns) {
        const td = document.createElement("td"), text = shown(value(column, i));
        td.textContent = text;
        if (text.length > 60) td.className = "long";
        if (column.numbers) td.className = "number";
        if (stateColumns.has(column.title)) { td.classList.add("state"); if (/^\w+$/.test(text)) td.classList.add(text); }
        line.append(td);
      }
      return line;
    }));
    more.hidden = rows.length <= limit;
    box.querySelector(".count").textContent = `${rows.length} of ${size} rows`;
  }
  function filter() {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter((choice) => choice.select.value !== "");
    rows = sorted.filter((i) => {
      if (chosen.some(({ column, select }) => column.codes[i] !== Number(select.value))) return false;
      const text = columns.map((c) => shown(value(c, i))).join(" ").toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    limit = STEP;
    draw();
  }
  for (const column of columns) {
    const th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col"; th.setAttribute("aria-sort", "none");
    button.type = "button"; button.textContent = column.title;
    button.addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") === "ascending";
      for (const other of head.children) other.setAttribute("aria-sort", "none");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      sorted = [...sorted].sort((a, b) => {
        const x = value(column, a), y = value(column, b), empty = (v) => v === null || v === "";
        return down && !empty(x) && !empty(y) ? compare(y, x) : compare(x, y);
      });
      filter();
    });
    th.append(button); head.append(th);
  }
  input.addEventListener("input", filter);
  for (const choice of choices) choice.select.addEventListener("change", filter);
  more.addEventListener("click", () => { limit += 10 * STEP; draw(); });
  box.querySelector(".csv").addEventListener("click", () => {
    const lines = [columns.map((c) => cell(c.title)), ...rows.map((i) => columns.map((c) => cell(value(c, i))))];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map((l) => l.join(",")).join("\n") + "\n"], { type: "text/csv" }));
    link.download = data.name + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  draw();
}

function drawPlots() {
  const style = getComputedStyle(root), ink = style.getPropertyValue("--ink").trim();
  const line = style.getPropertyValue("--line").trim();
  for (const place of document.querySelectorAll(".plot")) {
    if (place.closest("details:not([open])")) continue;  // drawn when it is opened
    const { traces, layout } = place.figure, names = traces.map((trace) => trace.name).filter(Boolean);
    // The legend stands below the axis and must not eat the plot; in a line are as many names as fit.
    const widest = Math.max(0, ...names.map((name) => name.length)) * 6.5 + 50;
    const inLine = Math.max(1, Math.floor((place.clientWidth - 65) / widest));
    const legendHeight = names.length ? 19 * Math.ceil(names.length / inLine) + 15 : 0;
    place.style.height = 300 + legendHeight + "px";
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line };
    Plotly.react(place, traces, {
      ...layout, autosize: true, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink },
      margin: { l: 55, r: 10, t: 10, b: 50 + legendHeight }, showlegend: names.length > 0,
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }
}

let plotsReady = false;
function setTheme(name) { root.dataset.theme = name; if (plotsReady) drawPlots(); }
document.getElementById("theme").addEventListener("click",
  () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
async function start() {
  await Promise.all([...document.querySelectorAll(".table")].map(makeTable));
  const library = document.getElementById("plotly");
  if (library) {
    const script = document.createElement("script");
    script.textContent = await unpack(library);
    document.head.append(script);
    await Promise.all([...document.querySelectorAll(".plot")].map(async (place) => {
      place.figure = JSON.parse(await unpack(place.nextElementSibling));
    }));
    plotsReady = true;
    drawPlots();
    for (const folded of document.querySelectorAll("details")) folded.addEventListener("toggle", drawPlots);
  }
  root.dataset.ready = "yes";
}
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
start();
