// What people do without thinking: paste or drop a picture anywhere, the arrow up for an earlier phrase, Enter twice.
const MOST_PHRASES = 30;
const phrases = [];
const MOST_SETTLING_MS = 10000; // a busy page is no slower to offer to stop what was asked
const MOST_ASKING_MS = 1000; // until a busy page asks what Enter was pressed for
let at = 0, asked = '', pressedAt = -MOST_ASKING_MS, askedAt = -MOST_SETTLING_MS, wasOffered = false;
const field = () => document.querySelector('#phrase textarea, #phrase input');
const canStop = () => document.querySelector('#stop')?.disabled === false;
const isPressed = () => performance.now() - pressedAt < MOST_ASKING_MS;
const isSettling = () => !wasOffered && performance.now() - askedAt < MOST_SETTLING_MS;
const isUnderWay = () => canStop() || isPressed() || isSettling();
const question = () => JSON.stringify([
  field()?.value, document.querySelector('#image img')?.src,
  [...document.querySelectorAll('#strategies input, #options input')].map((one) => [one.value, one.checked]),
]);

document.addEventListener('asked', () => {
  asked = question();
  askedAt = performance.now();
  pressedAt = -MOST_ASKING_MS;
  wasOffered = canStop();
  const phrase = field()?.value.trim();
  if (phrase && phrase !== phrases.at(-1)) phrases.push(phrase);
  phrases.splice(0, phrases.length - MOST_PHRASES);
  at = phrases.length;
});

new MutationObserver(() => { wasOffered ||= canStop(); }).observe(
  document.body, {subtree: true, attributes: true, attributeFilter: ['disabled']});

function enter(value) {
  field().value = value;
  field().dispatchEvent(new Event('input', {bubbles: true}));
}

// Asking once more what is being answered would only make everybody wait.
function drop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}
document.addEventListener('keydown', (event) => {
  if (event.target !== field() || event.isComposing) return;
  if (event.key === 'Enter' && isUnderWay() && question() === asked) drop(event);
  else if (event.key === 'Enter' && !event.shiftKey) [asked, pressedAt] = [question(), performance.now()];
  const way = {ArrowUp: -1, ArrowDown: 1}[event.key];
  if (!way || event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return;
  const next = Math.min(phrases.length, Math.max(0, at + way));
  if (next === at) return;
  event.preventDefault();
  at = next;
  enter(phrases[at] ?? '');
}, true);
document.addEventListener('click', (event) => {
  if (event.isTrusted && event.target.closest?.('#compare') && isUnderWay() && question() === asked) drop(event);
}, true);

function take(event, files) {
  const picture = [...files].find((file) => file.type.startsWith('image/'));
  const input = document.querySelector('#image input[type=file]');
  if (!picture || !input || !document.querySelector('#image').getClientRects().length) return;
  if (event.target.closest?.('#image')) return; // Gradio takes it there
  event.preventDefault();
  const given = new DataTransfer();
  given.items.add(picture);
  input.files = given.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
}

// An address pasted outside a field, or an image dragged here from another page, is asked for by the server.
function takeAddress(event, text) {
  const address = document.querySelector('#image-address textarea, #image-address input');
  if (event.defaultPrevented || !address?.getClientRects().length || !/^https?:\/\/\S+$/.test(text)) return;
  if (event.target.closest?.('input, textarea, [contenteditable]')) return;
  event.preventDefault();
  address.value = text;
  address.dispatchEvent(new Event('input', {bubbles: true}));
  address.dispatchEvent(new KeyboardEvent('keypress', {key: 'Enter', bubbles: true}));
}
document.addEventListener('paste', (event) => {
  take(event, event.clipboardData.files);
  takeAddress(event, event.clipboardData.getData('text/plain').trim());
});
document.addEventListener('drop', (event) => {
  take(event, event.dataTransfer.files);
  takeAddress(event, event.dataTransfer.getData('text/uri-list').split('\n')[0].trim());
});
document.addEventListener('dragover', (event) => {
  if (['Files', 'text/uri-list'].some((type) => event.dataTransfer.types.includes(type)) && !event.target.closest?.('#image')) event.preventDefault();
});

// A mask goes to the clipboard as the picture that its link saves; pages without https or on older browsers cannot.
document.documentElement.toggleAttribute('data-can-copy', Boolean(navigator.clipboard?.write && window.ClipboardItem));
document.addEventListener('click', async (event) => {
  const button = event.target.closest?.('.copy-mask');
  if (!button) return;
  const told = button.querySelector('span'), before = told.textContent;
  try {
    const picture = fetch(button.previousElementSibling.href).then((answer) => answer.blob());
    await navigator.clipboard.write([new ClipboardItem({'image/png': picture})]);
    told.textContent = button.dataset.done;
  } catch {
    told.textContent = button.dataset.refused;
  }
  setTimeout(() => { told.textContent = before; }, 3000);
});
