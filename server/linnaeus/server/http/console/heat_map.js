// Draws a map of drops as light on a darkened picture: where a cover takes most, the picture glows.

const WIDTH = 160; // pixels of the drawn map, which the browser scales smoothly
const REACH = 0.6; // of the Gaussian between the centres of two covers

const LEAST_SHARE = 0.15; // of the probability: a map of smaller drops stays dim, since they may be chance

// Value, then red, green, blue and opacity.
const STOPS = [
  [0, 10, 12, 36, 0.74],
  [0.25, 62, 20, 104, 0.62],
  [0.5, 186, 40, 96, 0.46],
  [0.75, 250, 136, 40, 0.4],
  [1, 255, 232, 130, 0.52],
];

// Draws onto a canvas. `drops` as `occlusionMap` returns them; `aspect` is width by height of the picture.
export function drawHeatMap(canvas, { drops, grid, probability }, aspect) {
  canvas.width = WIDTH;
  canvas.height = Math.max(1, Math.round(WIDTH / aspect));
  const image = new ImageData(canvas.width, canvas.height);
  const most = Math.max(...drops, LEAST_SHARE * probability, 1e-9);
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const value = smoothValue(drops, grid, (x + 0.5) / canvas.width, (y + 0.5) / canvas.height) / most;
      image.data.set(colourOf(value), 4 * (y * canvas.width + x));
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The mean of the cells around a place (0 to 1, 0 to 1), the near ones counting most; cells without an answer do not.
export function smoothValue(drops, grid, x, y) {
  const [column, row] = [x * grid - 0.5, y * grid - 0.5];
  let [sum, weights] = [0, 0];
  for (let r = Math.max(0, Math.ceil(row - 2)); r <= Math.min(grid - 1, row + 2); r += 1) {
    for (let c = Math.max(0, Math.ceil(column - 2)); c <= Math.min(grid - 1, column + 2); c += 1) {
      const drop = drops[r * grid + c];
      if (drop === null) continue;
      const weight = Math.exp(-((c - column) ** 2 + (r - row) ** 2) / (2 * REACH ** 2));
      sum += weight * drop;
      weights += weight;
    }
  }
  return weights ? sum / weights : 0;
}

function colourOf(value) {
  const bounded = Math.min(1, Math.max(0, value));
  const next = Math.max(1, STOPS.findIndex(([at]) => at >= bounded));
  const [low, high] = [STOPS[next - 1], STOPS[next]];
  const part = (bounded - low[0]) / (high[0] - low[0]);
  const mixed = low.map((each, place) => each + part * (high[place] - each));
  return [mixed[1], mixed[2], mixed[3], 255 * mixed[4]];
}
