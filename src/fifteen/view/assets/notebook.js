const head = event.target.closest('th'), column = head ? head.cellIndex : -1;
if (head) {
  const sign = head.ariaSort === 'ascending' ? -1 : 1;
  for (const other of this.querySelectorAll('th')) other.removeAttribute('aria-sort');
  head.ariaSort = sign > 0 ? 'ascending' : 'descending';
  const place = (row) => row.cells[column].dataset.place;
  const body = this.parentNode.tBodies[0];
  body.append(...[...body.rows].sort((a, b) =>
    !place(a) - !place(b) || sign * (place(a) - place(b))));
}
