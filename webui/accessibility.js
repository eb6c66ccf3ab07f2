// What a keyboard and a screen reader need on every tab, also on those that come later. `element` holds the skip link.
const tabOf = (panel) => document.querySelector(`[role=tab][aria-controls="${CSS.escape(panel.id)}"]`);

// A panel comes into the page when its tab is first opened; it is named after the tab.
function name() {
  for (const panel of document.querySelectorAll('[role=tabpanel][id]:not([aria-labelledby])')) {
    const tab = panel.id && tabOf(panel);
    if (tab?.id) panel.setAttribute('aria-labelledby', tab.id);
  }
}
new MutationObserver(name).observe(document.body, {subtree: true, childList: true, attributeFilter: ['aria-controls']});
name();

function step(event, all, at, ways) {
  const next = ways[event.key];
  if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const chosen = all.at((at + next) % all.length);
  chosen.focus();
  chosen.click();
}

document.addEventListener('keydown', (event) => {
  const at = event.target;
  if (!(at instanceof Element)) return;
  const tab = at.closest('[role=tab]');
  if (tab) {
    const tabs = [...tab.closest('[role=tablist]').querySelectorAll('[role=tab]:not(:disabled)')];
    const here = tabs.indexOf(tab);
    step(event, tabs, here, {ArrowRight: 1, ArrowLeft: -1, Home: -here, End: -here - 1});
  } else if (at.matches('input[type=radio]')) {
    // Gradio gives every radio of a group a name of its own, so that a browser takes each for a group.
    const radios = [...at.closest('fieldset, .block').querySelectorAll('input[type=radio]:not(:disabled)')];
    step(event, radios, radios.indexOf(at), {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1});
  }
});

element.querySelector('a').addEventListener('click', (event) => {
  event.preventDefault();
  const panel = [...document.querySelectorAll('[role=tabpanel]')].find((one) => one.getClientRects().length);
  panel.tabIndex = -1;
  panel.focus();
});
