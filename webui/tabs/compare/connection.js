// Tells in the status line, within seconds, that the server does not answer, and once it does again what happened, once.
// A server that was started anew knows nothing of this page: it is given the picture again. Where a question was under
// way the page is loaded anew, often by Gradio itself, and the run in its address is asked again. `element` holds the
// words.
const EVERY_MS = 3000, PATIENCE_MS = 4000, FAILURES = 2, TOLD_MS = 12_000, KEY = 'phrase-workbench-lost';
const root = window.gradio_config?.root ?? location.origin, prefix = window.gradio_config?.api_prefix ?? '/gradio_api';
const words = (name) => element.querySelector(`template[data-words=${name}]`).innerHTML;
let running = window.gradio_config?.app_id, failures = 0, before = null, wasAsking = false, willReload = false;
const line = () => document.querySelector('#status .status')?.parentElement;

async function answering() {
  try {
    const answer = await fetch(`${root}${prefix}/app_id`, {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    return answer.ok ? (await answer.json()).app_id : null;
  } catch {
    return null;
  }
}

function tell(what) {
  const told = document.createElement('div');
  told.innerHTML = words(what);
  element.querySelector('.back').replaceChildren(told);
  setTimeout(() => told.remove(), TOLD_MS);
}

function lose() {
  if (before || !line()) return;
  before = line().innerHTML;
  wasAsking = document.querySelector('#stop')?.disabled === false;
  line().innerHTML = words('lost');
  sessionStorage.setItem(KEY, '');
}

function regain(now) {
  if (willReload) return;
  if (wasAsking && now !== running) return void location.reload();
  if (line()?.querySelector('[data-lost]')) line().innerHTML = before;
  before = null;
  sessionStorage.removeItem(KEY);
  if (now === running) return;
  running = now;
  tell('restarted');
  trigger('select', {index: 0, value: ''});
}

async function look() {
  if (!element.isConnected) return;
  if (!document.hidden || before) {
    const now = await answering();
    failures = now ? 0 : failures + 1;
    if (failures >= FAILURES) lose();
    else if (now && (before || now !== running)) regain(now);
  }
  setTimeout(look, EVERY_MS);
}
setTimeout(look, EVERY_MS);

// Gradio says the same at once, in English and beside the status line.
new MutationObserver(() => {
  for (const told of document.querySelectorAll('.toast-body.error')) {
    if (!told.innerText.includes('Attempting reconnection')) continue;
    told.style.display = 'none';
    willReload = true;
    lose();
  }
}).observe(document.body, {subtree: true, childList: true});
if (sessionStorage.getItem(KEY) !== null) {
  sessionStorage.removeItem(KEY);
  tell('reloaded');
}
