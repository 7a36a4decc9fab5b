import type { NodeGlance, NodeHistory } from '@comfy-balancer/contract/fleet-update'
import { useState } from 'preact/hooks'
import { NodeCard } from './node-card.tsx'
import { count } from './wording.ts'

type Props = {
  readonly nodes: readonly NodeGlance[]
  readonly history: ReadonlyMap<string, NodeHistory>
  readonly atMs: number
  readonly mayManage: boolean
  readonly mayWatch: boolean
}

const pageSize = 48
/** With fewer nodes than this there is nothing to search. */
const filterFrom = 9

const kinds = {
  all: () => true,
  trouble: (node: NodeGlance) => node.trouble !== null,
  working: (node: NodeGlance) => node.attempt !== null,
  idle: (node: NodeGlance) => node.state === 'ready' && node.attempt === null
} as const
type Kind = keyof typeof kinds

const kindWords: Readonly<Record<Kind, string>> = { all: 'All', trouble: 'Not ready', working: 'At work', idle: 'Idle' }

/** A card for every node, in the order of their names; many nodes can be narrowed down and come in portions. */
export const NodeGrid = ({ nodes, history, atMs, mayManage, mayWatch }: Props) => {
  const [kind, setKind] = useState<Kind>('all')
  const [text, setText] = useState('')
  const [shown, setShown] = useState(pageSize)
  if (nodes.length === 0) return null
  const wanted = text.trim().toLowerCase()
  const found = nodes.filter(node => kinds[kind](node) && matches(node, wanted))
  return (
    <section aria-labelledby="nodes">
      <div class="section-head">
        <h2 id="nodes">Nodes</h2>
        {nodes.length >= filterFrom && (
          <div class="filter">
            {(Object.keys(kinds) as Kind[]).map(one => (
              <button key={one} type="button" class="chip" aria-pressed={kind === one} onClick={() => setKind(one)}>
                {kindWords[one]} <span class="number">{count(nodes.filter(kinds[one]).length)}</span>
              </button>
            ))}
            <input
              type="search"
              aria-label="Nodes by name, GPU or model"
              placeholder="Name, GPU or model"
              value={text}
              onInput={event => setText(event.currentTarget.value)}
            />
          </div>
        )}
      </div>
      {found.length === 0 && <p class="quiet">No node is like that.</p>}
      <ul class="grid">
        {found.slice(0, shown).map(node => (
          <li key={node.id}>
            <NodeCard
              node={node}
              history={history.get(node.id)}
              atMs={node.attempt || node.silentSince ? atMs : 0}
              mayManage={mayManage}
              mayWatch={mayWatch}
            />
          </li>
        ))}
      </ul>
      {found.length > shown && (
        <button type="button" class="more" onClick={() => setShown(shown + pageSize)}>
          Show more: {count(found.length - shown)} nodes are not shown
        </button>
      )}
    </section>
  )
}

const matches = (node: NodeGlance, wanted: string): boolean =>
  wanted === '' || [node.id, node.gpu?.name ?? '', ...node.resident].some(word => word.toLowerCase().includes(wanted))
