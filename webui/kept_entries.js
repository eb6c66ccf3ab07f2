// Keeps what a visitor enters at once into a panel that opens for the first time: Gradio shows the panel's fields, and
// sets them all once more at the next frame, to the values that they had before anybody could enter anything.
const fresh = new Map(); // field: what was entered into it, or null

// Two frames: the first may be the one in which Gradio sets the fields.
const afterTwoFrames = (act) => requestAnimationFrame(() => requestAnimationFrame(act));

function enterAgain(field, {value, checked}) {
  if (['radio', 'checkbox'].includes(field.type)) {
    if (field.checked !== checked) field.click();
  } else if (field.value !== value) {
    field.value = value;
    field.dispatchEvent(new Event('input', {bubbles: true}));
  }
}

function settle(fields) {
  const entered = fields.map((field) => [field, fresh.get(field)]);
  fields.forEach((field) => fresh.delete(field));
  entered.forEach(([field, entry]) => entry && field.isConnected && enterAgain(field, entry));
}

new MutationObserver((records) => {
  const added = records.flatMap((record) => [...record.addedNodes]).filter((node) => node instanceof Element);
  const fields = added.flatMap((node) => [...node.querySelectorAll('input:not([type=file]), textarea')]);
  if (!fields.length) return;
  fields.forEach((field) => fresh.has(field) || fresh.set(field, null));
  afterTwoFrames(() => settle(fields));
}).observe(document.body, {subtree: true, childList: true});

document.addEventListener('input', ({target}) => {
  if (!fresh.has(target)) return;
  if (target.type === 'radio') {
    const group = target.closest('fieldset, .block').querySelectorAll('input[type=radio]');
    group.forEach((radio) => fresh.has(radio) && fresh.set(radio, null));
  }
  fresh.set(target, {value: target.value, checked: target.checked});
}, true);
