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
  dialog.setAttribute('aria-label', 'Enlarged image');
  room.tabIndex = 0;
  dialog.append(caption, room, bar);
  document.body.append(dialog);
  let at = 0;
  const show = (index) => {
    at = (index + strips.length) % strips.length;
    const image = strips[at].cloneNode();
    room.replaceChildren(image);
    room.className = strips[at].closest('.image') ? 'room image' : 'room';
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
