// What attends to the patch or word under the pointer, and where it looks. `element` holds the probe, written anew by
// the server for each layer and head; what was pointed at is kept over that.
let at = null, way = 'to', held = null, read = null;
const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const clamp = (value, most) => Math.min(most, Math.max(0, value));
const inPercent = (share) => `${(100 * share).toFixed(1)} %`;
const filled = (told, values) => told.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function data() {
  const section = element.querySelector('[data-probe]');
  if (!section) return null;
  if (held !== section.dataset.probe) {
    held = section.dataset.probe;
    read = JSON.parse(held);
    const bytes = Uint8Array.from(atob(read.shares), (letter) => letter.charCodeAt(0));
    const whole = new Uint16Array(bytes.buffer);
    read.size = Math.round(Math.sqrt(whole.length));
    read.patches = read.height * read.width;
    read.share = (from, to) => whole[from * read.size + to] / read.whole;
  }
  return read;
}

// Token numbers: 0 is [CLS], then the patches row by row, then the words.
const wordAt = (number, known) => number === 0 ? 0 : known.patches + number;

function colour(share, stops) {
  const place = clamp(share, 1) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((value, index) => value + (stops[low + 1][index] - value) * (place - low));
}

function strongestOfCls(known) {
  let best = 1;
  for (let patch = 1; patch <= known.patches; patch++) if (known.share(0, patch) > known.share(0, best)) best = patch;
  return best;
}

function paint() {
  const known = data();
  if (!known) return;
  if (at === null || at >= known.size) at = strongestOfCls(known);
  const value = (token) => way === 'to' ? known.share(token, at) : known.share(at, token);
  const shares = Array.from({length: known.patches}, (_, patch) => value(patch + 1));
  // The patch itself counts little for a person and much for the scale.
  const most = Math.max(...shares.filter((_, patch) => patch + 1 !== at));
  const peak = known.peak ?? most;
  const canvas = element.querySelector('canvas'), context = canvas.getContext('2d');
  const pixels = context.createImageData(known.width, known.height);
  shares.forEach((share, patch) => {
    const bright = peak > 0 ? clamp(share / peak, 1) : 0;
    pixels.data.set([...colour(bright, known.stops), 255 * (0.35 + 0.45 * bright)], 4 * patch);
  });
  context.putImageData(pixels, 0, 0);
  const isPatch = at >= 1 && at <= known.patches;
  const row = Math.floor((at - 1) / known.width), column = (at - 1) % known.width;
  const mark = element.querySelector('.probe-at');
  mark.hidden = !isPatch;
  mark.style.cssText = `left:${100 * column / known.width}%;top:${100 * row / known.height}%;width:${100 / known.width}%;height:${100 / known.height}%`;
  for (const button of element.querySelectorAll('[data-word]')) {
    const token = wordAt(Number(button.dataset.word), known);
    button.setAttribute('aria-pressed', String(token === at));
    button.parentElement.style.setProperty('--share', value(token).toFixed(3));
    button.querySelector('small').textContent = inPercent(value(token));
  }
  const stops = known.stops.map((stop) => `rgb(${stop})`).join(', ');
  element.querySelector('.ramp').style.background = `linear-gradient(to right, ${stops})`;
  element.querySelector('.probe-most').textContent = inPercent(peak);
  for (const input of element.querySelectorAll('[name=probe-way]')) input.checked = input.value === way;
  const target = isPatch ? filled(known.told.patch, {row: row + 1, column: column + 1})
    : filled(known.told.word, {word: known.words[at === 0 ? 0 : at - known.patches]});
  const image = shares.reduce((sum, share) => sum + share, 0);
  let phrase = 0;
  for (let token = known.patches + 1; token < known.size; token++) phrase += value(token);
  element.querySelector('.probe-told').textContent = filled(known.told[way],
    {target, most: inPercent(most), cls: inPercent(value(0)), image: inPercent(image), phrase: inPercent(phrase)});
}

function point(token) {
  if (token === at) return;
  at = token;
  paint();
}

function patchUnder(event) {
  const picture = event.target.closest?.('.probe-picture'), known = data();
  if (!picture || !known) return null;
  const box = picture.getBoundingClientRect();
  const column = clamp(Math.floor((event.clientX - box.left) / box.width * known.width), known.width - 1);
  const row = clamp(Math.floor((event.clientY - box.top) / box.height * known.height), known.height - 1);
  return 1 + row * known.width + column;
}

for (const type of ['pointermove', 'pointerdown']) {
  element.addEventListener(type, (event) => {
    const patch = patchUnder(event);
    if (patch !== null) point(patch);
  });
}
for (const type of ['pointerover', 'focusin', 'click']) {
  element.addEventListener(type, (event) => {
    const button = event.target.closest?.('[data-word]');
    if (button && data()) point(wordAt(Number(button.dataset.word), data()));
  });
}
element.addEventListener('change', (event) => {
  if (event.target.name !== 'probe-way') return;
  way = event.target.value;
  paint();
});
element.addEventListener('keydown', (event) => {
  const step = STEPS[event.key];
  const known = data();
  if (!step || !known || !event.target.matches('.probe-picture')) return;
  event.preventDefault();
  const here = at >= 1 && at <= known.patches ? at - 1 : 0;
  const column = clamp(here % known.width + step[0], known.width - 1);
  const row = clamp(Math.floor(here / known.width) + step[1], known.height - 1);
  point(1 + row * known.width + column);
});
document.addEventListener('keydown', (event) => {
  const cell = event.target.closest?.('.head-grid button')?.parentElement, step = STEPS[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const row = cell.parentElement, rows = row.parentElement.rows;
  rows[row.sectionRowIndex + step[1]]?.cells[cell.cellIndex + step[0]]?.querySelector('button')?.focus();
});

// Gradio changes what is there instead of writing it anew; what it wrote has no figures yet.
new MutationObserver(() => {
  const section = element.querySelector('[data-probe]');
  if (section && (section.dataset.probe !== held || !element.querySelector('.probe-most').textContent)) paint();
}).observe(element, {subtree: true, childList: true, attributes: true, attributeFilter: ['data-probe']});
paint();
