// Draws every <div class="chart"> from the JSON beside it, in light or dark, and again when that changes.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const onDark = { "#24292f": "#e6edf3", "#0072b2": "#3d9be0", "#8b5fbf": "#b18ae0", "#7f5539": "#b98a68" };
  const linked = {};
  let zooming = false;

  const recolour = (value) =>
    !dark.matches ? value
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
    const ink = dark.matches ? "#e6edf3" : "#24292f";
    const grid = dark.matches ? "#30363d" : "#e4e7ea";
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, title: { standoff: 8 } };
    const base = {
      font: { family: "system-ui, sans-serif", size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 14, t: 10, b: 36 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: dark.matches ? "#161b22" : "#ffffff", font: { color: ink } },
      xaxis: axis, yaxis: axis,
    };
    return deep(base, recolour(own));
  }

  function choice(place, label, names, chosen, onChange) {
    const select = document.createElement("select");
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

  function draw(div) {
    const figure = div.shown();
    const config = { responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: none)").matches ? false : "hover" };
    return Plotly.react(div, recolour(figure.data), layoutOf(figure.layout), config);
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

  dark.addEventListener("change", () => document.querySelectorAll(".chart").forEach((div) => div.shown && draw(div)));
  document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", () => drawIn(part)));
  drawIn(document);
})();
