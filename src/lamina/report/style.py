"""How the page looks: one column on a phone, wider on a desk, light or dark as the reader has it."""

from lamina.visualization.vectors import STYLE as VECTORS

STYLE = (
    """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --faint: #d1d9e0; --ground: #ffffff;
  --back: #f6f8fa; --blue: #0b6bcb; --orange: #bc5a00; --title: #24292f; --error: #cf222e; --warning: #9a6700;
  --good: #1a7f37; --deep: #0b6bcb; --shade: #1f232833; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --faint: #3d444d; --ground: #151b23;
  --back: #0d1117; --blue: #58a6ff; --orange: #f0883e; --title: #2f3b4a; --error: #ff7b72; --warning: #d29922;
  --good: #3fb950; --deep: #1f6feb; --shade: #000000b0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
header { margin: .5rem 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
h3 { font-size: .95rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: 0 0 .5rem; }
.reason { border-left: .3rem solid var(--error); padding: .1rem 0 .1rem .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .85rem; }
section { background: var(--ground); border: 1px solid var(--faint); border-radius: .6rem; padding: 1rem;
  margin: 0 0 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem .9rem; margin: .6rem 0 0; font-size: .85rem; }
a { color: var(--blue); text-decoration: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 0 0 1rem; }
.tile { background: var(--ground); border: 1px solid var(--faint); border-radius: .6rem; padding: .6rem .8rem;
  overflow-wrap: anywhere; }
.tile b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.charts + .wide { margin-top: 1rem; } .charts svg { width: 100%; max-width: 36rem; height: auto; display: block; }
.key { font-size: .8rem; color: var(--soft); } .key i { display: inline-block; width: 1.4rem; margin: 0 .3rem .2rem 0;
  border-top: 2px solid var(--blue); } .key i.line1 { border-top: 2px dashed var(--orange); margin-left: .8rem; }
.wide { overflow-x: auto; max-width: 100%; } .wide td { white-space: nowrap; }
.wide { background: linear-gradient(to right, var(--ground) 30%, transparent) left,
  linear-gradient(to left, var(--ground) 30%, transparent) right,
  linear-gradient(to right, var(--shade), transparent) left, linear-gradient(to left, var(--shade), transparent) right;
  background-size: 2.5rem 100%, 2.5rem 100%, .9rem 100%, .9rem 100%; background-repeat: no-repeat;
  background-attachment: local, local, scroll, scroll; }
.tall { max-height: 72rem; overflow: auto; } .tall svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--faint); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td.number, th.number { text-align: right; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; } .facts { width: 100%; }
.facts th { width: min(13rem, 36%); white-space: normal; }
.matrix td, .matrix th { text-align: center; border: 1px solid var(--ground);
  padding: .25rem .5rem; min-width: 2.2rem; }
.matrix td { background: color-mix(in srgb, var(--deep) var(--share), transparent); }
.matrix td.none { color: var(--soft); } .matrix td.most { color: #ffffff; }
.matrix th.long { writing-mode: vertical-rl; text-align: left; padding: .4rem .2rem; margin: 0 auto; }
.matrix th[scope=row] { text-align: right; }
.finding { border-left: .3rem solid var(--soft); padding: .1rem 0 .1rem .8rem; margin: 0 0 1rem; }
.finding.error { border-color: var(--error); } .finding.warning { border-color: var(--warning); }
.finding pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.error b.level { color: var(--error); } .warning b.level { color: var(--warning); }
pre { overflow-x: auto; background: var(--back); border-radius: .4rem;
  padding: .6rem; font-size: .8rem; margin: .3rem 0; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.2rem, 1fr)); gap: .6rem; }
figure { margin: 0; text-align: center; font-size: .78rem; overflow-wrap: anywhere; }
figure img { width: 100%; image-rendering: pixelated; border: 1px solid var(--faint); border-radius: .3rem; }
figure.wrong img { border: 2px solid var(--error); } .wrong { color: var(--error); } .right { color: var(--good); }
details { margin: .75rem 0 0; } summary { cursor: pointer; color: var(--blue); font-size: .9rem; }
@media (max-width: 30rem) { main { padding: .75rem; } section { padding: .8rem; }
  .matrix td, .matrix th { min-width: 0; padding: .25rem .15rem; font-size: .72rem; } .matrix { width: 100%; } }
"""
    + VECTORS
)
