// Tells in the status line, within seconds, that the server does not answer. Once it does again, Gradio loads the page
// anew, and the run in its address brings the answers back. `element` holds the words.
const EVERY_MS = 3000, PATIENCE_MS = 4000, FAILURES = 2;
const root = window.gradio_config?.root ?? location.origin, prefix = window.gradio_config?.api_prefix ?? '/gradio_api';
const words = element.querySelector('template').innerHTML;
let failures = 0, before = null;
const line = () => document.querySelector('#status .status')?.parentElement;

async function answers() {
  try {
    await fetch(`${root}${prefix}/app_id`, {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    return true;
  } catch {
    return false;
  }
}

async function look() {
  if (!element.isConnected) return;
  if (!document.hidden || before) {
    failures = await answers() ? 0 : failures + 1;
    if (failures >= FAILURES && !before && line()) {
      before = line().innerHTML;
      line().innerHTML = words;
    } else if (!failures && before) {
      if (line()?.querySelector('[data-lost]')) line().innerHTML = before;
      before = null;
    }
  }
  setTimeout(look, EVERY_MS);
}
setTimeout(look, EVERY_MS);
