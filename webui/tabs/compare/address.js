// The address follows the runs, so that reload, Back and a copied address bring them back. `element` tells of the way back.
const OURS = ['lang', '__theme'];
const withoutKey = (search) => String(new URLSearchParams([...new URLSearchParams(search)].filter(([name]) => name !== 'run')));
let shown = location.search;

document.addEventListener('run-address', ({detail: query}) => {
  if (!query) return;
  const next = new URLSearchParams(query);
  for (const [name, value] of new URLSearchParams(location.search)) if (OURS.includes(name)) next.set(name, value);
  const search = `?${next}`;
  if (search === shown) return;
  const isSameRun = withoutKey(search) === withoutKey(shown);
  history[isSameRun ? 'replaceState' : 'pushState'](history.state, '', search + location.hash);
  shown = search;
});

window.addEventListener('popstate', () => {
  if (location.search === shown) return;
  shown = location.search;
  trigger('select', {index: 0, value: shown});
});
