// Copies of a picture, each with one place covered: what a map of where a model looked is made from.

const LONGER_SIDE = 320;
const COVERED_PART = 0.22; // of width and height; smaller covers leave enough of an object to be recognised
const JPEG_QUALITY = 0.9;

// Returns the picture as it is and its grid * grid covered copies, as JPEG files, row by row.
export async function coveredCopies(file, grid) {
  const canvas = await scaledPicture(file);
  const { width, height } = canvas;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const whole = context.getImageData(0, 0, width, height);
  const files = [await encode(canvas, "whole.jpg")];
  for (let place = 0; place < grid * grid; place += 1) {
    const [x, y] = [((place % grid) + 0.5) / grid, (Math.floor(place / grid) + 0.5) / grid];
    context.putImageData(whole, 0, 0);
    context.fillStyle = meanColour(whole.data);
    const [left, top] = [(x - COVERED_PART / 2) * width, (y - COVERED_PART / 2) * height];
    context.fillRect(left, top, COVERED_PART * width, COVERED_PART * height);
    files.push(await encode(canvas, `covered-${place + 1}.jpg`));
  }
  return files;
}

async function scaledPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = LONGER_SIDE / Math.max(bitmap.width, bitmap.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind what is transparent: JPEG has no opacity
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

function meanColour(pixels) {
  const sums = [0, 0, 0];
  for (let at = 0; at < pixels.length; at += 4) for (const channel of [0, 1, 2]) sums[channel] += pixels[at + channel];
  return `rgb(${sums.map((sum) => Math.round((sum * 4) / pixels.length)).join(" ")})`;
}

function encode(canvas, name) {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(new File([blob], name, { type: "image/jpeg" })), "image/jpeg", JPEG_QUALITY);
  });
}
