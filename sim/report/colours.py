"""One palette for terminal and pictures, told apart by colour-blind eyes (after Okabe and Ito)."""

GPU_TIME = {
    "prefill": "#0072b2",
    "decode": "#56b4e9",
    "recomputed": "#d55e00",
    "padding": "#e69f00",
    "communication": "#cc79a7",
    "host": "#f0c808",
    "transfer": "#8b5fbf",
    "bubble": "#7f5539",
    "window": "#009e73",
    "starved": "#c8cdd2",
    "loading": "#8a9199",
    "down": "#24292f",
}

INK = "#24292f"
FAINT = "#6e7781"
GRID = "#e4e7ea"
BLUE = "#0072b2"
SKY = "#56b4e9"
GREEN = "#009e73"
ORANGE = "#d55e00"
AMBER = "#e69f00"
PURPLE = "#8b5fbf"
PINK = "#cc79a7"
