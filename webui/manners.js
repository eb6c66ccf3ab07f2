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

document.addEventListener('keydown', (event) => {
  const tab = event.target instanceof Element && event.target.closest('[role=tab]');
  if (!tab || event.ctrlKey || event.metaKey || event.altKey) return;
  const tabs = [...tab.closest('[role=tablist]').querySelectorAll('[role=tab]:not(:disabled)')];
  const at = tabs.indexOf(tab);
  const next = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1}[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const chosen = tabs.at(next % tabs.length);
  chosen.focus();
  chosen.click();
});

element.querySelector('a').addEventListener('click', (event) => {
  event.preventDefault();
  const panel = [...document.querySelectorAll('[role=tabpanel]')].find((one) => one.getClientRects().length);
  panel.tabIndex = -1;
  panel.focus();
});
