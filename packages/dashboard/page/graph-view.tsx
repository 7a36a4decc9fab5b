import type { GraphNodeGlance } from '@comfy-balancer/contract/task-timeline'
import { useMemo } from 'preact/hooks'
import { boxHeight, boxWidth, type Drawing, type Link, layOut } from './graph-layout.ts'
import { ScrollBox } from './scroll-box.tsx'

type Props = {
  readonly graph: readonly GraphNodeGlance[]
  readonly running: string | undefined
  readonly failed: ReadonlySet<string>
  readonly done: ReadonlySet<string> | undefined
}

/** A larger graph is listed only. */
const maxDrawn = 120

/** A task's graph: drawn from left to right, and as a list for who cannot see it. */
export const GraphView = ({ graph, running, failed, done }: Props) => {
  const drawing = useMemo(() => (graph.length <= maxDrawn ? layOut(graph) : undefined), [graph])
  const stateOf = (id: string): string => {
    if (failed.has(id)) return 'failed'
    if (id === running) return 'running'
    return done?.has(id) ? 'done' : ''
  }
  return (
    <>
      {drawing && (
        <ScrollBox label="Drawing of the graph" class="graph-scroll">
          <GraphDrawing drawing={drawing} stateOf={stateOf} />
        </ScrollBox>
      )}
      <details open={!drawing}>
        <summary>As a list</summary>
        <ol class="graph-list">
          {graph.map(({ id, classType, title, from }) => (
            <li key={id}>
              <span class="number">{id}</span> {classType}
              {title && title !== classType && ` “${title}”`}
              {from.length > 0 && <span class="quiet"> takes from {from.join(', ')}</span>}
              {stateOf(id) && <strong> {stateOf(id)}</strong>}
            </li>
          ))}
        </ol>
      </details>
    </>
  )
}

type DrawingProps = { readonly drawing: Drawing; readonly stateOf: (id: string) => string }

const GraphDrawing = ({ drawing: { boxes, links, width, height }, stateOf }: DrawingProps) => (
  <svg class="graph" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-hidden="true">
    {links.map(link => (
      <path key={`${link.from} ${link.to}`} class="edge" d={pathOf(link)} />
    ))}
    {boxes.map(({ node, x, y }) => (
      <g key={node.id} class={`graph-node ${stateOf(node.id)}`} transform={`translate(${x} ${y})`}>
        <title>{`${node.id} ${node.classType}`}</title>
        <rect width={boxWidth} height={boxHeight} rx={6} />
        <text x={10} y={18}>
          {cut(node.title ?? node.classType)}
        </text>
        <text x={10} y={34} class="graph-id">
          {cut(node.title && node.title !== node.classType ? `${node.id} · ${node.classType}` : node.id)}
        </text>
      </g>
    ))}
  </svg>
)

const cut = (text: string): string => (text.length > 24 ? `${text.slice(0, 23)}…` : text)

/** Straight through columns, bent between them. */
const pathOf = ({ points }: Link): string =>
  points
    .map(([x, y], i) => {
      const [x0, y0] = points[i - 1] ?? [x, y]
      if (i === 0) return `M${x} ${y}`
      if (i % 2 === 0) return `L${x} ${y}`
      const middle = (x0 + x) / 2
      return `C${middle} ${y0} ${middle} ${y} ${x} ${y}`
    })
    .join('')
