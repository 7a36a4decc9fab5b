/** One bar of a chart. `isOurs` gives it the accent. */
export type Bar = { readonly label: string; readonly value: number; readonly isOurs: boolean }

/** Bars under one title. */
export type BarGroup = { readonly title: string; readonly bars: readonly Bar[] }

const width = 860
const labelWidth = 250
const rowHeight = 22
const titleHeight = 40

/** Groups of horizontal bars as an SVG that follows the reader's light or dark scheme. */
export const barChart = (heading: string, groups: readonly BarGroup[]): string => {
  let y = 46
  const parts = groups.map(group => {
    const top = y
    y += titleHeight + group.bars.length * rowHeight + 12
    return groupSvg(group, top)
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img" aria-label="${escaped(heading)}">`,
    style,
    `<rect class="ground" width="${width}" height="${y}" rx="8"/>`,
    `<text class="heading" x="20" y="32">${escaped(heading)}</text>`,
    ...parts,
    '</svg>'
  ].join('\n')
}

const groupSvg = ({ title, bars }: BarGroup, top: number): string => {
  const most = Math.max(...bars.map(bar => bar.value), Number.MIN_VALUE)
  const scale = (width - labelWidth - 90) / most
  const rows = bars.map(({ label, value, isOurs }, i) => {
    const y = top + titleHeight + i * rowHeight
    const long = Math.max(1, value * scale)
    return [
      `<text class="label" x="${labelWidth - 10}" y="${y + 13}" text-anchor="end">${escaped(label)}</text>`,
      `<rect class="${isOurs ? 'ours' : 'bar'}" x="${labelWidth}" y="${y + 2}" width="${long.toFixed(1)}" height="14" rx="3"/>`,
      `<text class="value" x="${(labelWidth + long + 8).toFixed(1)}" y="${y + 13}">${value.toFixed(2)}</text>`
    ].join('')
  })
  return [`<text class="title" x="20" y="${top + 24}">${escaped(title)}</text>`, ...rows].join('\n')
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.heading { font-size: 17px; font-weight: 600 } .title { font-weight: 600 } .label, .value { font-size: 12px; fill: #59636e }
.ground { fill: #ffffff } .bar { fill: #afb8c1 } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .label, .value { fill: #9198a1 } .ground { fill: #0d1117 } .bar { fill: #484f58 } .ours { fill: #4493f8 }
}
</style>`
