import type { FleetTotals, NodeGlance } from '@comfy-balancer/contract/fleet-update'
import type { FleetState } from './fleet-store.ts'
import { age, counted, duration, secondsBetween } from './wording.ts'

type Level = 'good' | 'warn' | 'bad'
type Judgement = { readonly level: Level; readonly title: string; readonly detail: string }

const maxListed = 4

/** Whether the fleet is well, in one sentence, and what is wrong with which node. */
export const Verdict = ({ fleet, totals }: { readonly fleet: FleetState; readonly totals: FleetTotals }) => {
  const { level, title, detail } = judge(fleet, totals)
  const troubled = fleet.nodes.filter(node => node.trouble !== null && node.state !== 'ready')
  return (
    <section class={`verdict ${level}`} aria-label="State of the fleet">
      <h1>{title}</h1>
      <p>{detail}</p>
      {troubled.length > 0 && (
        <ul class="troubles">
          {troubled.slice(0, maxListed).map(node => (
            <li key={node.id}>
              <strong>{node.id}</strong> {node.trouble} {silence(node, fleet.atMs)}
            </li>
          ))}
          {troubled.length > maxListed && <li>and {troubled.length - maxListed} more</li>}
        </ul>
      )}
    </section>
  )
}

const silence = ({ silentSince }: NodeGlance, atMs: number): string =>
  silentSince === null ? '' : `Last heard of ${age(secondsBetween(silentSince, atMs))} ago.`

/** Within the first worst thing that is true. */
const judge = (fleet: FleetState, totals: FleetTotals): Judgement => {
  const { nodes, atMs } = fleet
  const count = (state: string): number => totals.nodes[state] ?? 0
  const work = workWords(totals, atMs)
  if (fleet.connection !== 'live') {
    return { level: 'bad', title: 'Not connected to the balancer', detail: 'What is shown is old. Trying again …' }
  }
  if (nodes.length === 0) {
    const detail =
      'Start a comfy-service beside each ComfyUI, with the same REDIS_URL. It appears here within a second.'
    return { level: 'warn', title: 'No node has joined yet', detail }
  }
  if (count('ready') === 0) return { level: 'bad', title: 'No node is ready', detail: work }
  if (count('down') > 0) {
    const title = `${count('down')} of ${counted(nodes.length, 'node')} ${count('down') === 1 ? 'is' : 'are'} down`
    return { level: 'bad', title, detail: work }
  }
  const { succeeded, failed, windowSeconds } = totals
  if (failed > 2 && failed > (succeeded + failed) / 5) {
    const title = `${failed} of ${counted(succeeded + failed, 'task')} failed`
    return { level: 'warn', title, detail: `In the last ${duration(windowSeconds)}. ${work}` }
  }
  if (count('ready') < nodes.length) {
    const title = `${count('ready')} of ${counted(nodes.length, 'node')} ${count('ready') === 1 ? 'is' : 'are'} ready`
    return { level: 'warn', title, detail: work }
  }
  const title = nodes.length === 1 ? 'The node is ready' : `All ${nodes.length} nodes are ready`
  return { level: 'good', title, detail: work }
}

const workWords = ({ running, queued, oldestAt }: FleetTotals, atMs: number): string => {
  const working = running === 0 ? 'Nothing runs' : `${counted(running, 'task')} ${running === 1 ? 'runs' : 'run'}`
  if (queued === 0) return `${working}, nothing waits.`
  const oldest = oldestAt === null ? '' : `, the first in line for ${age(secondsBetween(oldestAt, atMs))}`
  return `${working}, ${counted(queued, 'task')} ${queued === 1 ? 'waits' : 'wait'}${oldest}.`
}
