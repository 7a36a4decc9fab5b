import type { FleetTotals } from '@comfy-balancer/contract/fleet-update'
import { age, count, duration, percent, secondsBetween } from './wording.ts'

/** The fleet in seven numbers. */
export const FleetLine = ({ totals, atMs }: { readonly totals: FleetTotals; readonly atMs: number }) => {
  const all = Object.values(totals.nodes).reduce((sum, number) => sum + number, 0)
  const { windowSeconds, succeeded, failed, delayed, oldestAt, reloadShare } = totals
  const perMinute = windowSeconds > 0 ? (succeeded / windowSeconds) * 60 : undefined
  const window = windowSeconds > 0 ? `last ${duration(windowSeconds)}` : 'not known yet'
  return (
    <dl class="line">
      <Figure name="Ready nodes" value={`${totals.nodes.ready ?? 0}`} unit={`of ${all}`} />
      <Figure name="Running" value={count(totals.running)} unit="" />
      <Figure name="Waiting" value={count(totals.queued)} unit={delayed > 0 ? `+ ${delayed} later` : ''} />
      <Figure
        name="First in line"
        value={oldestAt === null ? '–' : age(secondsBetween(oldestAt, atMs))}
        unit={oldestAt === null ? '' : 'old'}
      />
      <Figure name="Throughput" value={perMinute === undefined ? '–' : perMinute.toFixed(1)} unit="a minute" />
      <Figure name="Failed" value={count(failed)} unit={window} isBad={failed > 0} />
      <Figure name="Reloads" value={reloadShare === null ? '–' : percent(reloadShare)} unit="of tasks" />
    </dl>
  )
}

type FigureProps = { readonly name: string; readonly value: string; readonly unit: string; readonly isBad?: boolean }

const Figure = ({ name, value, unit, isBad }: FigureProps) => (
  <div>
    <dt>{name}</dt>
    <dd class={isBad ? 'bad-text' : ''}>
      {value} <small>{unit}</small>
    </dd>
  </div>
)
