import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Node } from '@comfy-balancer/contract/node'
import type { TaskState } from '@comfy-balancer/contract/task'

/** What the demo knows of one task. */
export type Row = {
  readonly label: string
  readonly model: string
  readonly state: TaskState
  readonly percent: number
  readonly node: string | null
  readonly attempt: number
}

/** A row after one more event of its task; progress changes nothing but the percentage. */
export const advance = (row: Row, event: TaskEvent): Row => {
  if (event.type === 'task.progress') return { ...row, percent: event.progress?.percent ?? row.percent }
  const { state, node, attempt } = event
  const percent = state === 'succeeded' ? 100 : state === 'running' && attempt === row.attempt ? row.percent : 0
  return { ...row, state, node, attempt, percent }
}

const barWidth = 20

/** The whole board as lines: tasks with a bar, then nodes with what they run and hold. Lines are cut at `columns`. */
export const drawBoard = (
  rows: readonly Row[],
  nodes: readonly Node[],
  notes: readonly string[],
  columns: number
): string[] => {
  const tasks = rows.map((row, index) => {
    const where = row.node ? `${row.node}${row.attempt > 1 ? `, attempt ${row.attempt}` : ''}` : ''
    const cells = [String(index + 1).padStart(2), row.label.padEnd(8), shortModel(row.model).padEnd(18)]
    return [...cells, bar(row.percent), `${row.percent}%`.padStart(4), row.state.padEnd(9), where].join('  ')
  })
  const fleet = nodes.map(node => {
    const runs = node.attempt ? `runs ${labelOf(rows, node)}` : node.state === 'ready' ? 'idle' : ''
    const holds = node.resident.length > 0 ? `holds ${node.resident.map(shortModel).join(', ')}` : 'holds nothing'
    return [node.id.padEnd(8), node.state.padEnd(11), runs.padEnd(24), node.state === 'down' ? '' : holds].join('  ')
  })
  return [...tasks, '', ...fleet, '', ...notes].map(line => line.slice(0, Math.max(columns - 1, 1)))
}

const bar = (percent: number): string => {
  const full = Math.round((Math.min(Math.max(percent, 0), 100) / 100) * barWidth)
  return '█'.repeat(full) + '·'.repeat(barWidth - full)
}

const labelOf = (rows: readonly Row[], node: Node): string =>
  rows.find(row => row.state === 'running' && row.node === node.id)?.label ?? 'a task'

const shortModel = (file: string): string => file.replace(/\.[a-z]+$/, '').slice(0, 18)
