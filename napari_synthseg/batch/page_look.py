"""How `report.html` looks, in light and in dark, and how its table is sorted by a click: no other script."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --bad: light-dark(#b3261e, #ff6b6b) }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1500px; padding: 0 1rem }
h1 { font-size: 1.35rem; margin: 0 0 .3rem }
p { margin: .3rem 0; max-width: 100ch }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0 }
.tile { border: 1px solid var(--line); border-radius: .4rem; padding: .35rem .8rem }
.tile b { font-size: 1.25rem; display: block }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .5rem; text-align: left; vertical-align: top }
th { position: sticky; top: 0; background: Canvas }
th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid }
th button::after { content: " \\2195"; opacity: .4 }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1 }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1 }
td.number { text-align: right; font-variant-numeric: tabular-nums }
td.scan { overflow-wrap: anywhere; min-width: 14ch }
tr.failed td { background: var(--soft) }
.bad { color: var(--bad) }
.rating { color: light-dark(var(--l), var(--d)); white-space: nowrap }
img { width: 240px; height: auto; display: block; border-radius: .2rem }
details { max-width: 60ch }
small { opacity: .75 }
"""
SCRIPT = """
const body = document.querySelector('tbody')
for (const button of document.querySelectorAll('th button')) button.onclick = () => {
  const head = button.parentElement, heads = [...head.parentElement.children]
  const column = heads.indexOf(head), up = head.getAttribute('aria-sort') !== 'ascending'
  for (const one of heads) one.removeAttribute('aria-sort')
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending')
  const key = row => row.children[column].dataset.key
  const numbers = (a, b) => key(a) - key(b)
  const words = (a, b) => key(a).localeCompare(key(b), undefined, {numeric: true})
  const rows = [...body.children].sort(head.dataset.sort === 'number' ? numbers : words)
  body.append(...(up ? rows : rows.reverse()))
}
"""
