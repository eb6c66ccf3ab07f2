// The large picture: whose answer it shows, its layers, and the marks made on it. `element` holds the stage, which the
// server writes anew for each answer and mark; how all pictures are zoomed and moved is viewer.js's.
const root = document.documentElement;
const SHOWN_AT_FIRST = ['mask', 'outline'], A_CLICK = 5; // pixels that a click may move
const shown = new Set(SHOWN_AT_FIRST);
const bar = () => document.querySelector('.viewer');
const stage = () => element.querySelector('.stage');
let pressed = null, hasMoved = false;

function paintBar() {
  const view = root.dataset.view ?? 'columns', present = new Set();
  for (const layer of element.querySelectorAll('.layer')) present.add(layer.dataset.layer);
  for (const button of document.querySelectorAll('.viewer [data-view]')) button.setAttribute('aria-pressed', String(button.dataset.view === view));
  for (const box of document.querySelectorAll('[data-switches]')) {
    box.checked = shown.has(box.dataset.switches);
    box.parentElement.hidden = !present.has(box.dataset.switches);
  }
  root.dataset.layers = [...shown].join(' ');
  document.getElementById('views').dataset.view = view; // for rules of narrow screens, which Gradio keeps from :root
  const key = view === 'canvas' ? stage()?.dataset.key : null;
  for (const button of document.querySelectorAll('.look-closer')) {
    const isShown = button.dataset.key === key;
    if (button.getAttribute('aria-pressed') !== String(isShown)) button.setAttribute('aria-pressed', String(isShown));
    button.closest('.column')?.toggleAttribute('data-chosen', isShown);
  }
}

function open(key) {
  const wasOpen = root.dataset.view === 'canvas';
  root.dataset.view = 'canvas';
  paintBar();
  trigger('click', {index: 0, value: key});
  const top = document.getElementById('canvas').getBoundingClientRect().top;
  if (!wasOpen && (top < 0 || top > innerHeight / 2)) document.getElementById('viewer').scrollIntoView({block: 'start'});
}

document.addEventListener('click', (event) => {
  const view = event.target.closest?.('.viewer [data-view]')?.dataset.view;
  const closer = event.target.closest?.('.look-closer');
  if (closer) open(closer.dataset.key);
  else if (view === 'canvas') open('');
  else if (view) {
    delete root.dataset.view;
    paintBar();
  } else if (root.dataset.view === 'canvas' && !hasMoved) {
    // Anywhere on a strategy of the strip chooses it.
    const column = event.target.closest?.('#columns > .column');
    if (column && !event.target.closest('a, summary, .icon-button-wrapper')) column.querySelector('.look-closer')?.click();
  }
});
document.addEventListener('change', ({target}) => {
  const layer = target.dataset?.switches;
  if (!layer) return;
  if (target.checked && 'fills' in target.dataset) {
    for (const other of document.querySelectorAll('[data-switches][data-fills]')) shown.delete(other.dataset.switches);
  }
  shown[target.checked ? 'add' : 'delete'](layer);
  paintBar();
});
new MutationObserver(paintBar).observe(document.getElementById('answers'), {subtree: true, childList: true});

// Where an event is in the image, in pixels, whatever part of it is enlarged.
function pixel({clientX, clientY}) {
  const box = stage().getBoundingClientRect(), {width, height} = stage().dataset;
  return at((clientX - box.left) / box.width, (clientY - box.top) / box.height, Number(width), Number(height));
}
function at(x, y, width, height) {
  const set = (name) => parseFloat(root.style.getPropertyValue(name)) || 0;
  const zoom = parseFloat(root.style.getPropertyValue('--view-zoom')) || 1;
  const within = (share, moved, length) => Math.min(length - 1, Math.max(0, Math.floor((share - moved / 100) / zoom * length)));
  return [within(x, set('--view-x'), width), within(y, set('--view-y'), height)];
}
const drawsBox = () => document.querySelector('#refine-kind input:checked')?.value === 'corner';

element.addEventListener('pointerdown', (event) => {
  const frame = event.target.closest('.stage .image-frame');
  if (!frame || event.button !== 0) return;
  pressed = event;
  hasMoved = false;
  frame.toggleAttribute('data-drawing', drawsBox() && event.pointerType === 'mouse');
});
document.addEventListener('pointermove', (event) => {
  if (!pressed) return;
  hasMoved ||= Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) > A_CLICK;
  const frame = stage()?.querySelector('.image-frame'), drawn = stage()?.querySelector('.drawn-box');
  if (!hasMoved || !frame?.hasAttribute('data-drawing')) return;
  const box = frame.getBoundingClientRect(), clamp = (value, most) => Math.min(most, Math.max(0, value));
  const [x0, x1] = [pressed.clientX, event.clientX].map((x) => clamp(x - box.left, box.width)).sort((a, b) => a - b);
  const [y0, y1] = [pressed.clientY, event.clientY].map((y) => clamp(y - box.top, box.height)).sort((a, b) => a - b);
  drawn.hidden = false;
  drawn.style.cssText = `left:${x0}px;top:${y0}px;width:${x1 - x0}px;height:${y1 - y0}px`;
});
document.addEventListener('pointerup', (event) => {
  const isBox = pressed && hasMoved && stage()?.querySelector('[data-drawing]');
  if (isBox) trigger('select', {index: [...pixel(pressed), ...pixel(event)], value: 'mark'});
  pressed = null;
});
document.addEventListener('pointercancel', () => { pressed = null; });
element.addEventListener('click', (event) => {
  if (!event.target.closest('.stage') || hasMoved) return;
  const {width, height} = stage().dataset, share = (name) => parseFloat(root.style.getPropertyValue(name)) / 100;
  const crossed = [share('--view-at-x'), share('--view-at-y')];
  const isKey = event.detail === 0, middle = isKey && !(crossed[0] >= 0 && crossed[1] >= 0);
  const place = isKey ? at(...(middle ? [0.5, 0.5] : crossed), Number(width), Number(height)) : pixel(event);
  trigger('select', {index: place, value: 'mark'});
});
// After the press that moved, the next click is one again.
document.addEventListener('click', () => { hasMoved = false; });
paintBar();
