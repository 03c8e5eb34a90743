// Draws every <div class="chart"> from the JSON beside it, in light or dark, and again when that changes.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const onDark = {
    "#24292f": "#e6edf3", "#0072b2": "#1f7fc8", "#8b5fbf": "#b18ae0", "#7f5539": "#b98a68",
    "#f0f4f8": "#161b22", "#0b3c5d": "#d8ecfb",
  };
  const linked = {};
  let zooming = false, printing = false;
  const isDark = () => dark.matches && !printing;

  const recolour = (value) =>
    !isDark() ? value
      : JSON.parse(JSON.stringify(value).replace(/#[0-9a-f]{6}(?=[0-9a-f"])/g, (colour) => onDark[colour] || colour));

  const deep = (base, over) => {
    const result = { ...base };
    for (const [key, value] of Object.entries(over || {})) {
      const both = value && typeof value === "object" && !Array.isArray(value) && typeof result[key] === "object";
      result[key] = both ? deep(result[key], value) : value;
    }
    return result;
  };

  function layoutOf(own) {
    const ink = isDark() ? "#e6edf3" : "#24292f";
    const grid = isDark() ? "#30363d" : "#e4e7ea";
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, title: { standoff: 8 } };
    const base = {
      font: { family: "system-ui, sans-serif", size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 14, t: 10, b: 36 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: isDark() ? "#161b22" : "#ffffff", font: { color: ink } },
      xaxis: axis, yaxis: axis,
    };
    return deep(base, recolour(own));
  }

  function choice(place, label, names, chosen, onChange) {
    const select = document.createElement("select");
    if (!label) select.setAttribute("aria-label", "what the chart shows");
    names.forEach((name) => select.add(new Option(name, name, false, name === chosen)));
    select.addEventListener("change", () => onChange(select.value));
    const around = document.createElement("label");
    around.append(label, " ", select);
    place.append(around);
  }

  function explored(spec, x, y) {
    const data = Object.entries(spec.groups).map(([name, group]) => {
      const pick = (values) => group.points.map((index) => values[index]);
      return {
        type: "scatter", mode: "markers", name, x: pick(spec.columns[x]), y: pick(spec.columns[y]),
        text: pick(spec.texts), hovertemplate: `%{text}<br>${x} %{x}<br>${y} %{y}<extra>${name}</extra>`,
        marker: { size: spec.texts.length > 300 ? 5 : 9, opacity: 0.65, color: group.colour },
      };
    });
    const axis = (name) => {
      const values = spec.columns[name].filter((value) => value !== null);
      const least = Math.min(...values), most = Math.max(...values);
      return { title: { text: name }, type: least > 0 && most > 50 * least && !spec.linear.includes(name) ? "log" : "linear" };
    };
    return { data, layout: { xaxis: axis(x), yaxis: axis(y) } };
  }

  // A chart is as much higher as its legend needs more rows.
  function makeRoom(div, figure) {
    const shown = figure.layout.showlegend === false ? [] : figure.data.filter((trace) => trace.name && trace.showlegend !== false);
    const wide = shown.length > 1 ? shown.reduce((sum, trace) => sum + 48 + 6.5 * Math.min(trace.name.length, 60), 0) : 0;
    const rows = Math.ceil(wide / Math.max(div.clientWidth - 70, 200));
    div.dataset.height = div.dataset.height || parseInt(div.style.height);
    div.style.height = `${+div.dataset.height + 19 * Math.max(0, rows - 1)}px`;
  }

  // Whole labels on logarithmic axes: 0.1, 0.2, 0.5, 1; over many decades only 0.1, 1, 10.
  function labelLogs(figure) {
    const layout = { ...figure.layout };
    for (const side of ["x", "y"]) {
      const axis = layout[`${side}axis`];
      if (!axis || axis.type !== "log") continue;
      const values = figure.data.flatMap((trace) => trace[side] || []).filter((value) => value > 0);
      if (!values.length) continue;
      const low = Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b))));
      const high = Math.ceil(Math.log10(values.reduce((a, b) => Math.max(a, b))));
      const told = high - low > 4 ? [1] : [1, 2, 5], tickvals = [], ticktext = [];
      for (let decade = low - 1; decade <= high; decade++) {
        for (let digit = 1; digit < 10; digit++) {
          const value = Number(`${digit}e${decade}`);
          tickvals.push(value);
          ticktext.push(told.includes(digit) ? value.toLocaleString("en", { maximumSignificantDigits: 1 }) : "");
        }
      }
      layout[`${side}axis`] = { ...axis, tickvals, ticktext };
    }
    return { ...figure, layout };
  }

  // On a phone the names beside bars take two lines, and so half the room.
  function narrowed(figure, div) {
    if (div.clientWidth > 480) return figure;
    const halved = (name) => {
      if (typeof name !== "string" || name.length < 15) return name;
      const spaces = [...name.matchAll(/ /g)].map((space) => space.index);
      if (!spaces.length) return name;
      const at = spaces.reduce((a, b) => (Math.abs(b - name.length / 2) < Math.abs(a - name.length / 2) ? b : a));
      return `${name.slice(0, at)}<br>${name.slice(at + 1)}`;
    };
    const data = figure.data.map((trace) => (trace.y && typeof trace.y[0] === "string" ? { ...trace, y: trace.y.map(halved) } : trace));
    return { ...figure, data, layout: deep({ yaxis: { tickfont: { size: 10 } } }, figure.layout) };
  }

  function draw(div) {
    const figure = narrowed(labelLogs(div.shown()), div);
    makeRoom(div, figure);
    const config = { responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: none)").matches ? false : "hover" };
    const size = printing ? { autosize: false, width: div.clientWidth, height: div.clientHeight } : {};
    return Plotly.react(div, recolour(figure.data), { ...layoutOf(figure.layout), ...size }, config);
  }

  function zoomTogether(div, link) {
    (linked[link] = linked[link] || []).push(div);
    div.on("plotly_relayout", (change) => {
      const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
      if (zooming || (from === undefined && !change["xaxis.autorange"])) return;
      zooming = true;
      const update = from === undefined ? { "xaxis.autorange": true } : { "xaxis.range": [from, to] };
      Promise.all(linked[link].filter((other) => other !== div).map((other) => Plotly.relayout(other, update)))
        .finally(() => { zooming = false; });
    });
  }

  function prepare(div) {
    const spec = JSON.parse(div.nextElementSibling.textContent);
    const place = div.previousElementSibling.querySelector(".choices");
    if (spec.explore) {
      let x = spec.explore.x[0], y = spec.explore.y[0];
      div.shown = () => explored(spec.explore, x, y);
      choice(place, "y", spec.explore.y, y, (value) => { y = value; draw(div); });
      choice(place, "x", spec.explore.x, x, (value) => { x = value; draw(div); });
    } else {
      let now = 0;
      div.shown = () => spec.figures[now];
      const labels = spec.figures.map((figure) => figure.label);
      if (labels.length > 1) choice(place, "", labels, labels[0], (value) => { now = labels.indexOf(value); draw(div); });
    }
    return draw(div).then(() => { if (spec.link) zoomTogether(div, spec.link); });
  }

  // One after another, so that the page answers while many are drawn; those in a closed part when it is opened.
  async function drawIn(part) {
    for (const div of part.querySelectorAll(".chart")) {
      if (div.shown || div.closest("details:not([open])")) continue;
      div.shown = () => ({ data: [], layout: {} });
      await prepare(div);
      await new Promise((next) => setTimeout(next, 0));
    }
    document.body.dataset.drawn = document.querySelectorAll(".chart .main-svg").length > 0 ? "yes" : "no";
  }

  function redraw() {
    document.querySelectorAll(".chart").forEach((div) => { if (div.shown) draw(div); });
  }

  addEventListener("beforeprint", () => {
    printing = true;
    document.body.classList.add("printing");
    document.querySelectorAll("details").forEach((part) => { part.dataset.was = part.open ? "open" : ""; part.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    document.body.classList.remove("printing");
    document.querySelectorAll("details").forEach((part) => { part.open = part.dataset.was === "open"; });
    redraw();
    document.querySelectorAll(".chart").forEach((div) => { if (div.shown) Plotly.Plots.resize(div); });
  });
  // The drawing library lies gzipped in the page.
  async function library() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function sorry() {
    document.querySelectorAll(".chart").forEach((div) => {
      div.textContent = `This browser is too old to draw the chart. ${div.getAttribute("aria-label")}`;
      div.style.height = "auto";
    });
  }

  dark.addEventListener("change", redraw);
  document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", () => drawIn(part)));
  if (typeof DecompressionStream === "undefined") sorry();
  else library().then(() => drawIn(document));
})();
