// Zoom, pan, wipe and pointer that the pictures of all strategies share. Runs once; `element` is the tool bar.
const MOST = 16, STEP = 1.5, MOVE = 0.02;
const bar = element.querySelector('.viewer');
const words = JSON.parse(bar.dataset.words);
const root = document.documentElement;
const view = {zoom: 1, x: 0, y: 0, wipe: 100, opacity: 100, at: null};
const pointers = new Map();
const maps = new WeakMap();
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const frameOf = (target) => target instanceof Element ? target.closest('#views .image-frame') : null;

function listen(type, handle, options) {
  const wrapped = (event) => {
    if (element.isConnected) handle(event);
    else document.removeEventListener(type, wrapped, options);
  };
  document.addEventListener(type, wrapped, options);
}

function paint() {
  view.x = clamp(view.x, 1 - view.zoom, 0);
  view.y = clamp(view.y, 1 - view.zoom, 0);
  const share = (value) => `${(value * 100).toFixed(3)}%`;
  root.style.setProperty('--view-zoom', view.zoom);
  root.style.setProperty('--view-x', share(view.x));
  root.style.setProperty('--view-y', share(view.y));
  root.style.setProperty('--view-wipe', `${100 - view.wipe}%`);
  root.style.setProperty('--view-opacity', view.opacity / 100);
  root.style.setProperty('--view-at-x', view.at ? share(view.x + view.zoom * view.at.x) : '-20%');
  root.style.setProperty('--view-at-y', view.at ? share(view.y + view.zoom * view.at.y) : '-20%');
  root.toggleAttribute('data-view-zoomed', view.zoom > 1);
  root.toggleAttribute('data-view-close', view.zoom >= 4);
  bar.querySelector('output').value = `${Math.round(view.zoom * 100)} %`;
}

// (x, y): the place that stays where it is, as shares of the frame.
function zoomTo(zoom, x = 0.5, y = 0.5) {
  const next = clamp(zoom, 1, MOST), factor = next / view.zoom;
  view.x = x - (x - view.x) * factor;
  view.y = y - (y - view.y) * factor;
  view.zoom = next;
  paint();
}

function reset() {
  Object.assign(view, {zoom: 1, x: 0, y: 0, at: null});
  paint();
  read();
}

function placeIn(frame, event) {
  const box = frame.getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height};
}

async function valuesOf(readout) {
  const source = readout.dataset.values;
  if (maps.get(readout)?.source !== source) {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(picture, 0, 0);
    maps.set(readout, {source, ...{pixels: context.getImageData(0, 0, picture.width, picture.height)}});
  }
  return maps.get(readout).pixels;
}

function inWords(level, readout) {
  const {middle, scale} = readout.dataset;
  const sign = (value) => (value < 0 ? '−' : '+') + Math.abs(value).toFixed(1);
  const logit = sign((level - middle) / scale);
  const bound = level === 0 ? words.below : level === 255 ? words.above : '';
  return `${level > middle ? words.inside : words.outside}, ${words.logit} ${bound}${logit}`;
}

async function read() {
  const said = [];
  for (const readout of document.querySelectorAll('#columns .readout[data-values]')) {
    if (!view.at) {
      readout.textContent = '\u00a0';
      continue;
    }
    const pixels = await valuesOf(readout);
    if (!view.at) return said;
    const at = (share, length) => clamp(Math.floor(share * length), 0, length - 1);
    const column = at(view.at.x, pixels.width), row = at(view.at.y, pixels.height);
    const found = inWords(pixels.data[4 * (row * pixels.width + column)], readout);
    const x = at(view.at.x, readout.dataset.width), y = at(view.at.y, readout.dataset.height);
    readout.textContent = `x ${x}, y ${y}: ${found}`;
    said.push(`${readout.dataset.title}: ${found}`);
  }
  return said;
}

function point(at) {
  view.at = at && at.x >= 0 && at.x < 1 && at.y >= 0 && at.y < 1 ? at : null;
  paint();
  return read();
}

const unzoomed = ({x, y}) => ({x: (x - view.x) / view.zoom, y: (y - view.y) / view.zoom});

listen('wheel', (event) => {
  const frame = frameOf(event.target);
  const zooms = event.ctrlKey || event.metaKey || view.zoom > 1;  // else the page scrolls, as anywhere
  if (!frame || !zooms || !event.deltaY) return;
  event.preventDefault();
  const {x, y} = placeIn(frame, event);
  zoomTo(view.zoom * Math.exp(-clamp(event.deltaY, -100, 100) / 250), x, y);
}, {passive: false});

listen('pointerdown', (event) => {
  const frame = frameOf(event.target);
  if (frame && event.button === 0) pointers.set(event.pointerId, {frame, ...placeIn(frame, event)});
});

listen('pointermove', (event) => {
  const held = pointers.get(event.pointerId);
  const frame = held?.frame ?? frameOf(event.target);
  if (!frame) return view.at && event.pointerType === 'mouse' ? point(null) : undefined;
  const now = placeIn(frame, event);
  if (held) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const gap = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1e-3;
      zoomTo(view.zoom * gap(now) / gap(held), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (!frame.hasAttribute('data-drawing')) {  // a box is drawn there
      view.x += now.x - held.x;
      view.y += now.y - held.y;
    }
    Object.assign(held, now);
  }
  point(unzoomed(now));
});

for (const type of ['pointerup', 'pointercancel']) listen(type, (event) => pointers.delete(event.pointerId));
listen('dragstart', (event) => { if (frameOf(event.target)) event.preventDefault(); });

async function onKey(event) {
  const onBar = bar.contains(event.target) && event.target.type !== 'range';
  const onPicture = event.target instanceof Element && event.target.querySelector(':scope .image-frame') && event.target.closest('#views');
  if (!(onBar || onPicture) || event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  const at = view.at ?? unzoomed({x: 0.5, y: 0.5});
  if (event.key === '+' || event.key === '=') zoomTo(view.zoom * STEP, view.x + view.zoom * at.x, view.y + view.zoom * at.y);
  else if (event.key === '-') zoomTo(view.zoom / STEP, view.x + view.zoom * at.x, view.y + view.zoom * at.y);
  else if (event.key === '0') reset();
  else if (event.key === 'Escape' && view.at) point(null);
  else if (event.key in moves) {
    const step = MOVE * (event.shiftKey ? 5 : 1) / view.zoom;
    const next = moves[event.key].map((way, axis) => clamp([at.x, at.y][axis] + way * step, 0, 0.9999));
    view.x += clamp(view.x + view.zoom * next[0], 0.05, 0.95) - (view.x + view.zoom * next[0]);
    view.y += clamp(view.y + view.zoom * next[1], 0.05, 0.95) - (view.y + view.zoom * next[1]);
    event.preventDefault();
    const said = await point({x: next[0], y: next[1]});
    bar.querySelector('[role=status]').textContent = said.join('. ');
    return;
  } else return;
  event.preventDefault();
}
listen('keydown', onKey);

bar.addEventListener('click', (event) => {
  const what = event.target.closest('button')?.dataset.do;
  if (what === 'in') zoomTo(view.zoom * STEP);
  if (what === 'out') zoomTo(view.zoom / STEP);
  if (what === 'reset') {
    for (const name of ['wipe', 'opacity']) bar.querySelector(`[data-set=${name}]`).value = view[name] = 100;
    reset();
  }
});
bar.addEventListener('input', ({target}) => {
  const what = target.dataset.set;
  if (what === 'show') root.dataset.show = target.value;
  if (what === 'truth') root.toggleAttribute('data-truth', target.checked);
  if (!(what in view)) return;
  view[what] = Number(target.value);
  target.setAttribute('aria-valuetext', `${view[what]} %`);
  paint();
});

// A column's masks and the truth, which the style sheet lays over its picture or cuts it out with.
const layers = new WeakMap();
function takeLayers(column) {
  const masks = [...column.querySelectorAll('a.save')].map((link) => `url("${link.href}")`);
  const truth = column.querySelector('[data-truth]')?.dataset.truth;
  const now = [...masks, truth].join();
  if (layers.get(column) === now) return;
  layers.set(column, now);
  column.style.setProperty('--masks', masks.join(', ') || 'linear-gradient(transparent, transparent)');
  column.style.setProperty('--truth', truth ? `url("${truth}")` : 'none');
  root.toggleAttribute('data-truth-known', Boolean(document.querySelector('#columns [data-truth]')));
}
new MutationObserver((changes) => {
  for (const column of new Set(changes.map(({target}) => target.closest?.('#columns > .column, #canvas')))) if (column) takeLayers(column);
}).observe(document.body, {subtree: true, childList: true});

// Keep the place of the answers from the moment they are asked for, so that nothing below them jumps as they come.
const WORDS_HEIGHT = 340, PADDING = 28;
listen('asked', () => {
  const picture = document.querySelector('#image img'), columns = [...document.querySelectorAll('#columns > .column')];
  const phrase = document.querySelector('#phrase textarea, #phrase input')?.value.trim();
  if (!phrase || !picture?.naturalWidth || !columns.length || root.dataset.view === 'canvas') return;
  const drawn = (columns[0].clientWidth - PADDING) * picture.naturalHeight / picture.naturalWidth;
  root.style.setProperty('--reserved', `${Math.round(WORDS_HEIGHT + 2 * drawn)}px`);
  for (const one of [root, document.getElementById('answers')]) one.toggleAttribute('data-asked', true);
});

// Another picture begins at its whole; the plain one lies under every result.
listen('load', (event) => {
  if (!(event.target instanceof HTMLImageElement)) return;
  if (event.target.closest('#image')) {
    for (const one of [root, document.getElementById('answers')]) one.removeAttribute('data-asked');
    root.style.setProperty('--image-ratio', `${event.target.naturalWidth} / ${event.target.naturalHeight}`);
    reset();
  }
  const plain = document.querySelector('#image .image-frame img, #image img');
  if (plain && event.target.closest('#columns, #image')) root.style.setProperty('--view-plain', `url(${JSON.stringify(plain.src)})`);
}, true);
paint();
