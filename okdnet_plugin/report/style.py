"""The style sheet and the script of the HTML page, which stand in the page itself."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --muted: #57606a; --faint: #f4f6f8; --line: #d5dae0;
  --accent: #0a58b8; --best: #d9f2df; --published: #84480a; --published-paper: #fbf3e8;
  --shadow: rgb(0 0 0 / .22);
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e4e7eb; --muted: #9aa4af; --faint: #1d2126; --line: #343a42;
    --accent: #79b4ff; --best: #1c4429; --published: #e6b273; --published-paper: #2a2218;
    --shadow: rgb(255 255 255 / .25);
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; overflow-wrap: anywhere;
  background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h1 { margin: 0 0 .25rem; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
h4 { margin: 1.25rem 0 .5rem; font-size: 1rem; }
p, ul, dl { margin: .5rem 0; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.muted, .note, figcaption { color: var(--muted); font-size: .875rem; }
p, li, dd, figcaption { max-width: 75ch; }
nav { margin: 1.25rem 0; padding: .75rem 1rem; border-radius: .5rem; background: var(--faint); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0; list-style: none; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem; }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: .5rem 0; padding: .75rem 1rem; border-radius: .5rem; background: var(--faint); white-space: pre-wrap; }

.scroll {
  /* Positioned, or what only a screen reader sees would widen the page. */
  position: relative; margin: .5rem 0; overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem;
  /* A shadow at the right as long as there is more to see. */
  background:
    linear-gradient(var(--paper), var(--paper)) right / 1.5rem 100% no-repeat local,
    linear-gradient(to left, var(--shadow), transparent) right / 1.25rem 100% no-repeat scroll;
}
table { width: 100%; border-collapse: separate; border-spacing: 0; font-size: .9375rem; overflow-wrap: normal; }
caption { padding: .5rem .75rem; text-align: left; color: var(--muted); font-size: .875rem; }
th, td { padding: .4rem .75rem; border-top: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; }
thead th { background: var(--faint); vertical-align: bottom; white-space: nowrap; }
th.words, td.words { text-align: left; }
td.words { min-width: 9rem; overflow-wrap: anywhere; }
td.words:last-child { min-width: 20rem; font-size: .8125rem; }
td { font-variant-numeric: tabular-nums; }
th.words:first-child { position: sticky; left: 0; z-index: 1; border-right: 1px solid var(--line); }
tbody th { min-width: 10.5rem; max-width: 14rem; overflow-wrap: anywhere; background: var(--paper); }
th.group { border-left: 1px solid var(--line); text-align: center; }
th.published, td.published { border-left: 1px solid var(--line); font-style: italic; }
th.published, td.published { background: var(--published-paper); color: var(--published); }
td.best { font-weight: 700; background: var(--best); }
td.published.best { background: var(--published-paper); }
td.second { text-decoration: underline; text-underline-offset: .2em; }
td.none { color: var(--muted); }
td small { display: block; min-width: 5rem; color: var(--muted); font-weight: 400; font-size: .75rem; }
td small { font-style: normal; line-height: 1.3; text-decoration: none; }
.second small { display: inline-block; }
.key.best, .key.published { padding: 0 .25rem; border-radius: .2rem; }
.key.best { font-weight: 700; background: var(--best); }
.key.second { text-decoration: underline; text-underline-offset: .2em; }
.key.published { background: var(--published-paper); color: var(--published); font-style: italic; }
th button { all: unset; cursor: pointer; border-radius: .2rem; }
th button:hover { color: var(--accent); }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "⇅"; margin-left: .35em; color: var(--muted); font-weight: 400; opacity: .6; }
th[aria-sort] button::after { color: var(--accent); opacity: 1; }
th[aria-sort=ascending] button::after { content: "▲"; font-size: .75em; }
th[aria-sort=descending] button::after { content: "▼"; font-size: .75em; }
@media screen and (max-width: 640px) {
  table { font-size: .875rem; }
  th, td { padding: .35rem .5rem; }
  td.words:last-child { white-space: nowrap; }
}

figure { margin: 0; }
svg { display: block; max-width: 100%; height: auto; font-family: inherit; }
svg .grid { stroke: var(--line); fill: none; }
svg .tick, svg .axis { fill: var(--muted); }
svg .name { fill: var(--ink); stroke: var(--paper); stroke-width: 3px; paint-order: stroke; }
svg .dot { fill: var(--accent); stroke: var(--paper); stroke-width: 1.5px; }
svg .leader { stroke: var(--muted); }
svg .front { stroke: var(--accent); stroke-dasharray: 4 4; fill: none; opacity: .7; }
svg .curve { stroke: var(--accent); stroke-width: 1.5px; fill: none; stroke-linejoin: round; }
.chart { margin: 1rem 0; }
.chart .narrow { display: none; }
@media screen and (max-width: 640px) { .chart .wide { display: none; } .chart .narrow { display: block; } }
@media screen { .chart.unchosen { display: none; } }
select { font: inherit; padding: .25rem .5rem; max-width: 100%; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.25rem; }
.panels b { color: var(--ink); }

.strips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1.25rem; }
.strips img { display: block; width: 100%; height: auto; border-radius: .25rem; background: var(--faint); }
.strips figcaption { margin-top: .35rem; }
.strips b { color: var(--ink); }
.strips button { all: unset; display: block; width: 100%; cursor: zoom-in; }
.strips button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
dialog { width: calc(100vw - 2rem); max-width: none; max-height: calc(100vh - 2rem); padding: .75rem; }
dialog { border: 1px solid var(--line); border-radius: .5rem; background: var(--paper); color: var(--ink); }
dialog::backdrop { background: rgb(0 0 0 / .75); }
dialog .room { max-height: calc(100vh - 10rem); overflow: auto; }
dialog img { display: block; width: max(100%, 56rem); height: auto; }
dialog p { margin: 0 0 .5rem; }
dialog .bar { display: flex; gap: .5rem; margin-top: .75rem; }
dialog button { font: inherit; padding: .35rem .9rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@media print {
  :root {
    --paper: #fff; --ink: #000; --muted: #444; --faint: #f4f4f4; --line: #bbb;
    --accent: #0a58b8; --best: #d9f2df; --published: #84480a; --published-paper: #fbf3e8;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .choice, th button::after { display: none; }
  .scroll { overflow: visible; border: 0; background: none; }
  table { font-size: 8pt; }
  th, td { padding: .15rem .3rem; }
  thead th { white-space: normal; }
  tbody th { min-width: 6.5rem; }
  td.words, td.words:last-child, td small { min-width: 0; font-size: inherit; }
  th.words:first-child { position: static; }
  .best, .published, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
}
"""

SCRIPT = """
'use strict';
(() => {
  const collator = new Intl.Collator(undefined, {numeric: true});
  const valueOf = (row, column, numeric) => {
    const text = row.cells[column].dataset.sort;
    if (text === undefined) return null;
    const value = numeric ? Number(text) : text;
    return Number.isNaN(value) ? null : value;
  };
  const sortBy = (head) => {
    const {column, kind, first} = head.dataset;
    const numeric = kind === 'number';
    const before = head.getAttribute('aria-sort');
    const order = before ? (before === 'ascending' ? 'descending' : 'ascending') : first;
    const sign = order === 'ascending' ? 1 : -1;
    const table = head.closest('table');
    table.querySelectorAll('[aria-sort]').forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', order);
    const rows = [...table.tBodies[0].rows].map((row) => ({row, value: valueOf(row, column, numeric)}));
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      if (!numeric) return sign * collator.compare(a.value, b.value);
      return a.value === b.value ? 0 : sign * (a.value < b.value ? -1 : 1);
    });
    table.tBodies[0].append(...rows.map(({row}) => row));
  };
  for (const head of document.querySelectorAll('th[data-column]')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    button.addEventListener('click', () => sortBy(head));
    head.append(button);
  }

  const choice = document.querySelector('.choice');
  if (choice) {
    const select = choice.querySelector('select');
    const choose = () => document.querySelectorAll('.scatter').forEach(
      (chart) => chart.classList.toggle('unchosen', chart.id !== select.value));
    choice.hidden = false;
    select.addEventListener('change', choose);
    choose();
  }

  const strips = [...document.querySelectorAll('.strips img')];
  if (!strips.length || !window.HTMLDialogElement) return;
  const dialog = document.createElement('dialog');
  const caption = document.createElement('p');
  const room = document.createElement('div');
  const bar = document.createElement('div');
  room.className = 'room';
  bar.className = 'bar';
  dialog.setAttribute('aria-label', 'Enlarged picture');
  room.tabIndex = 0;
  dialog.append(caption, room, bar);
  document.body.append(dialog);
  let at = 0;
  const show = (index) => {
    at = (index + strips.length) % strips.length;
    const picture = strips[at].cloneNode();
    room.replaceChildren(picture);
    caption.textContent = strips[at].closest('figure').querySelector('figcaption').innerText;
  };
  const doings = [['Previous', () => show(at - 1)], ['Next', () => show(at + 1)], ['Close', () => dialog.close()]];
  for (const [name, act] of doings) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name;
    button.addEventListener('click', act);
    button.autofocus = name === 'Close';
    bar.append(button);
  }
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  strips.forEach((strip, index) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.title = 'Enlarge';
    strip.replaceWith(button);
    button.append(strip);
    button.addEventListener('click', () => { show(index); dialog.showModal(); });
  });
})();
"""
