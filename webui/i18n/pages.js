// Runs in the head, before Gradio. Its own controls ask the navigator for a language; some have English names only.
(({tag, words}) => {
  for (const [name, value] of [['language', tag], ['languages', [tag]]]) {
    Object.defineProperty(navigator, name, {get: () => value, configurable: true});
  }
  if (!Object.keys(words).length) return;
  const NAMES = ['aria-label', 'title', 'alt'];
  const rename = (element) => {
    for (const name of NAMES) {
      const told = words[element.getAttribute(name)];
      if (told) element.setAttribute(name, told);
    }
  };
  const renameAll = (node) => {
    if (!(node instanceof Element)) return;
    rename(node);
    node.querySelectorAll(NAMES.map((name) => `[${name}]`).join()).forEach(rename);
  };
  new MutationObserver((changes) => {
    for (const {type, target, addedNodes} of changes) {
      if (type === 'attributes') rename(target);
      else addedNodes.forEach(renameAll);
    }
  }).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: NAMES});
})(TOLD);
