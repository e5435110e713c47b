// The controls of "where it looked", the map over the picture, and the same in words.

import { catalog } from "./catalog.js";
import { find, setText } from "./dom.js";
import { drawHeatMap, smoothValue } from "./heat_map.js";
import { fittingGrid, occlusionMap } from "./occlusion.js";
import { pictures } from "./pictures.js";
import { targets } from "./targets.js";

let isBusy = false;

export function startMapView() {
  find("make-map").addEventListener("click", makeMap);
  find("strength").addEventListener("input", showStrength);
  find("grid").addEventListener("change", showMap);
  for (const name of ["select", "answer"]) pictures.addEventListener(name, showMap);
  targets.addEventListener("change", showMap);
  find("picture").addEventListener("load", showMap);
  find("map").addEventListener("pointermove", showValue);
  find("map").addEventListener("pointerleave", showWords);
  showStrength();
}

// The first target that has an answer for the selected picture is the one that is explained.
function explained() {
  const picture = pictures.selected;
  const target = picture && targets.chosen.find(({ key }) => picture.answers.get(key)?.classes?.length);
  return target ? { picture, answer: picture.answers.get(target.key), key: `${target.key}\n${grid()}` } : null;
}

const grid = () => fittingGrid(Number(find("grid").value), catalog.limits);

async function makeMap() {
  const { picture, answer, key } = explained();
  isBusy = true;
  showMap();
  setText(find("map-words"), `Covering ${grid() ** 2} places of the picture, one at a time …`);
  try {
    const map = await occlusionMap(picture.file, answer, grid(), catalog.limits, (count, all) => {
      setText(find("map-words"), `${count} of ${all} covered copies are classified.`);
    });
    picture.maps.set(key, map);
  } catch (error) {
    picture.maps.set(key, { error: `There is no map: ${error.message}` });
  }
  isBusy = false;
  showMap();
}

function currentMap() {
  const current = explained();
  return current?.picture.maps.get(current.key);
}

function showMap() {
  const map = currentMap();
  const image = find("picture");
  const isDrawn = Boolean(map?.drops) && image.complete && image.naturalWidth > 0;
  find("map").hidden = !isDrawn;
  find("strength-field").hidden = !isDrawn;
  find("make-map").hidden = isDrawn;
  find("make-map").disabled = isBusy || explained() === null;
  find("stage").classList.toggle("is-mapping", isBusy);
  if (isDrawn) drawHeatMap(find("map"), map, image.naturalWidth / image.naturalHeight);
  if (!isBusy) showWords();
}

function showStrength() {
  find("map").style.opacity = String(Number(find("strength").value) / 100);
}

function showWords() {
  const map = currentMap();
  if (!map) return setText(find("map-words"), "");
  setText(find("map-words"), map.error ?? wordsOf(map));
}

function wordsOf({ drops, grid: side, label, probability, missing }) {
  const most = Math.max(...drops);
  const place = placeOf(drops.indexOf(most), side);
  const gaps = missing ? ` ${missing} of the copies had no answer.` : "";
  if (most < 0.02) return `No single cover takes more than two points from ${label}: it is seen in many places.${gaps}`;
  const from = `${points(probability)}\u00a0% to ${points(probability - most)}\u00a0%`;
  return `Covering the brightest place, ${place}, takes ${label} from ${from}.${gaps}`;
}

const points = (part) => Math.round(part * 100);

function placeOf(index, side) {
  const third = (value) => Math.min(2, Math.floor((3 * (value + 0.5)) / side));
  const row = ["at the top", "in the middle", "at the bottom"][third(Math.floor(index / side))];
  const column = [" left", "", " right"][third(index % side)];
  return `${row}${column}`;
}

function showValue(event) {
  const map = currentMap();
  if (!map?.drops) return;
  const box = find("map").getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const drop = smoothValue(map.drops, map.grid, x, y);
  setText(find("map-words"), `A cover here takes ${points(drop)} points from ${map.label}.`);
}
