// Runs in the head, before Gradio, whose scripts take a second or two to mount. Until then this draws what the page is
// delivered with, from Gradio's own configuration and style sheets, so that both look alike. Nothing in it can be used;
// the page itself takes its place once its pictures are there.
(() => {
  const LONGEST_MS = 30_000;
  const STYLE = `
    :host { font-family: var(--font); font-size: 16px; line-height: 1.5; color: var(--body-text-color); -webkit-font-smoothing: antialiased; }
    * { box-sizing: border-box; }
    main, .column, .tabs, .tabitem { display: flex; flex-direction: column; gap: 16px; }
    .tabitem { padding: 10px 0; gap: 16px; }
    .row { display: flex; flex-wrap: wrap; gap: 16px; width: 100%; }
    .row > * { flex: 1 1 0; min-width: 160px; }
    h1, h2, h3, p { margin: 0; }
    .viewer .layers { display: none !important; }
    .row > button, .column > button { font: inherit; font-weight: 600; font-size: 16px; padding: 8px 16px; text-align: center; border-radius: 8px; border: 1px solid var(--button-secondary-border-color);
      background: var(--button-secondary-background-fill); color: var(--body-text-color); display: grid; place-items: center; flex: 0 0 auto !important; min-width: 0; line-height: 1.4; }
    button:disabled { opacity: 0.5; }
    .row > button.primary { background: var(--button-primary-background-fill); color: var(--button-primary-text-color); border-color: transparent; }
    .names { display: flex; gap: 4px; border-bottom: 1px solid var(--border-color-primary); font-size: 14px; height: 32px; }
    .names span { padding: 5px 16px; }
    .names span:first-child { border-bottom: 2px solid var(--accent); color: var(--accent); }
    .field { font-size: 14px; }
    .field span { font-weight: 600; }
    .field small { font-size: 12px; color: var(--body-text-color-subdued); }
    .input-container { padding: 10px; height: 46px; border: 1px solid var(--input-border-color); border-radius: 8px; background: var(--input-background-fill); font-size: 16.8px; line-height: 24px; overflow: hidden; white-space: nowrap; }
    .input-container[data-empty] { height: 37px; padding: 8px 10px; font-size: 14px; line-height: 20px; color: var(--input-placeholder-color); }
    .image-frame img { display: block; width: 100%; }
    #image { height: 210px; border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden; background: var(--block-background-fill); }
    #image img { height: 168px; object-fit: contain; }
  `;
  const started = new MutationObserver(() => { if (document.body) start(); });
  started.observe(document.documentElement, {childList: true});

  function start() {
    started.disconnect();
    const config = window.gradio_config ?? {}, parts = new Map(config.components?.map((one) => [one.id, one]));
    const answers = [...parts.values()].filter(({type, props}) => type === 'image' && props.value && props.elem_id?.startsWith('overlay-'));
    if (!answers.length) return;
    const wanted = new URLSearchParams(location.search).get('__theme');
    const isDark = wanted === 'dark' || (wanted !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
    const cover = document.createElement('div'), theme = document.createElement('link');
    cover.id = 'arrival';
    cover.inert = true;
    cover.hidden = true;
    cover.classList.toggle('dark', isDark);
    cover.style.cssText = 'position: absolute; inset: 0; z-index: 9; overflow: clip; background: var(--body-background-fill);';
    const root = cover.attachShadow({mode: 'closed'});  // so that no script takes it for the page
    root.innerHTML = `<style>${STYLE}\n${config.css ?? ''}</style><div class="gradio-container${isDark ? ' dark' : ''}"><main class="app"></main></div>`;
    root.querySelector('main').append(...config.layout.children.flatMap((one) => drawn(one, parts)));
    Object.assign(theme, {rel: 'stylesheet', href: `${config.root}/theme.css?v=${config.theme_hash}`});
    const painted = new Promise((done) => { theme.onload = done; }).then(() => { cover.hidden = false; });
    const pictures = [...root.querySelectorAll('[id^=overlay-] img')].map((one) => one.decode());
    Promise.all([painted, ...pictures]).then(() => requestAnimationFrame(() => performance.mark('answers-seen')), () => {});
    document.head.append(theme);
    document.body.append(cover);
    const since = performance.now();
    const isThere = ({props}) => document.querySelector(`#${props.elem_id} img`)?.complete;
    const look = () => {
      if (answers.every(isThere) || performance.now() - since > LONGEST_MS) cover.remove();
      else requestAnimationFrame(look);
    };
    look();
  }

  // What has no picture, words or phrase of its own is left out, and so is what lies below: nobody sees it yet.
  const DRAW = {
    html: ({value}) => made('html', value),
    image: ({value, elem_id}) => value && made('image-container', `<div class="image-frame"><img src="${value.url}" alt="" loading="${elem_id.startsWith('evidence-') ? 'lazy' : 'eager'}"></div>`),
    textbox: ({label, info, value, placeholder, show_label}) => made('field', show_label
      ? `<label><span>${label}</span><small>${info ?? ''}</small><div class="input-container">${value || '&nbsp;'}</div></label>`
      : `<div class="input-container" data-empty>${placeholder}</div>`),
    button: ({value, variant, interactive}) => Object.assign(made(variant, value, [], null, 'button'), {disabled: interactive === false}),
    row: (_, parts, children) => made('row', '', children, parts),
    column: (_, parts, children) => made('column', '', children, parts),
    form: (_, parts, children) => {
      const form = made('form', '', children, parts);
      return form.childElementCount && form;
    },
    tabs: (_, parts, children) => {
      const names = children.map(({id}) => parts.get(id)).filter(({props}) => props.visible !== false);
      const tabs = made('tabs', `<div class="names">${names.map(({props}) => `<span>${props.label}</span>`).join('')}</div>`);
      tabs.append(made('tabitem', '', children[0].children, parts));
      return tabs;
    },
  };

  function drawn({id, children}, parts) {
    const {type, props} = parts.get(id) ?? {};
    if (!props || [false, 'hidden'].includes(props.visible) || props.elem_id === 'canvas') return [];
    const one = DRAW[type]?.(props, parts, children);
    if (!one) return [];
    one.classList.add(...(props.elem_classes ?? []));
    one.id = props.elem_id ?? '';
    return [one];
  }

  function made(name, html, children = [], parts = null, tag = 'div') {
    const one = document.createElement(tag);
    one.className = name;
    one.innerHTML = html ?? '';
    one.append(...children.flatMap((child) => drawn(child, parts)));
    return one;
  }
})();
