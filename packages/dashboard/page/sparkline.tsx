import type { NodeHistory } from '@comfy-balancer/contract/fleet-update'
import { useEffect, useRef, useState } from 'preact/hooks'
import UPlot from 'uplot'
import { memo } from './memo.ts'

type Props = { readonly id: string; readonly history: NodeHistory | undefined }

const points = 120
const height = 56
const times = Array.from({ length: points }, (_, i) => i)
const nearView = { rootMargin: '1000px 0px' }
const nothing: NodeHistory = { utilization: [], vram: [], busy: [] }
const dark = matchMedia('(prefers-color-scheme: dark)')

/** The last ten minutes of a GPU: its utilisation and VRAM as lines, and when it had a task as a shade. Drawn only while it is near the view. */
export const Sparkline = memo(({ id, history = nothing }: Props) => {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<UPlot | undefined>(undefined)
  const latest = useRef(history)
  latest.current = history
  const scheme = useScheme()

  useEffect(() => {
    const element = place.current!
    const observer = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) plot.current ??= draw(element, latest.current)
      else plot.current = void plot.current?.destroy()
    }, nearView)
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }))
    observer.observe(element)
    resize.observe(element)
    return () => {
      observer.disconnect()
      resize.disconnect()
      plot.current = void plot.current?.destroy()
    }
  }, [scheme])
  useEffect(() => plot.current?.setData(dataOf(history)), [history])

  return <div ref={place} class="sparkline" role="img" aria-label={`${id}: ${words(history)}`} />
})

const useScheme = (): boolean => {
  const [isDark, setDark] = useState(dark.matches)
  useEffect(() => {
    const follow = (): void => setDark(dark.matches)
    dark.addEventListener('change', follow)
    return () => dark.removeEventListener('change', follow)
  }, [])
  return isDark
}

const padded = (series: readonly (number | null)[]): (number | null)[] => [
  ...new Array<null>(Math.max(0, points - series.length)).fill(null),
  ...series
]

const dataOf = ({ utilization, vram, busy }: NodeHistory): UPlot.AlignedData => [
  times,
  padded(busy),
  padded(vram),
  padded(utilization)
]

const draw = (element: HTMLElement, history: NodeHistory): UPlot => {
  const color = (name: string): string => getComputedStyle(element).getPropertyValue(name).trim()
  const line = (name: string): UPlot.Series => ({ stroke: color(name), width: 1.5, points: { show: false } })
  const options: UPlot.Options = {
    width: element.clientWidth,
    height,
    padding: [3, 0, 3, 0],
    legend: { show: false },
    cursor: { show: false },
    select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    axes: [{ show: false }, { show: false }],
    scales: { x: { time: false, range: [0, points - 1] }, y: { range: [0, 100] } },
    series: [
      {},
      { fill: color('--busy'), width: 0, points: { show: false }, paths: UPlot.paths.stepped!({ align: -1 }) },
      line('--vram'),
      line('--gpu')
    ]
  }
  return new UPlot(options, dataOf(history), element)
}

const mean = (series: readonly (number | null)[]): number | undefined => {
  const told = series.filter(value => value !== null)
  return told.length === 0 ? undefined : Math.round(told.reduce((sum, value) => sum + value, 0) / told.length)
}

const words = ({ utilization, vram, busy }: NodeHistory): string => {
  const [gpu, memory, work] = [mean(utilization), mean(vram), mean(busy)]
  if (work === undefined) return 'no history yet'
  const told = [gpu === undefined ? [] : `GPU ${gpu} %`, memory === undefined ? [] : `VRAM ${memory} %`].flat()
  return `means of the last ten minutes: ${[`at work ${work} %`, ...told].join(', ')}`
}
