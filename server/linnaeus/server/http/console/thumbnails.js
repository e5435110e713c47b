// Small pictures, drawn two at a time: a hundred photographs at full size would take gigabytes of the browser's memory.

import { Limiter } from "./groups.js";

const SIDE = 224;

const limiter = new Limiter(2);

// Draws the middle square of a picture; leaves the canvas empty if the browser cannot read the file.
export function makeThumbnail(file, canvas) {
  return limiter.run(async () => {
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (bitmap === null) return;
    const side = Math.min(bitmap.width, bitmap.height);
    const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    canvas.width = canvas.height = SIDE;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, side, side, 0, 0, SIDE, SIDE);
    bitmap.close();
  });
}
