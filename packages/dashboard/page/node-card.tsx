import type { NodeGlance, NodeHistory } from '@comfy-balancer/contract/fleet-update'
import type { ComponentChildren } from 'preact'
import { ask } from './api.ts'
import { AttemptPreview } from './attempt-preview.tsx'
import { ConfirmButton } from './confirm-button.tsx'
import { memo } from './memo.ts'
import { Meter } from './meter.tsx'
import { Sparkline } from './sparkline.tsx'
import { age, gigabytes, modelName, percent, secondsBetween } from './wording.ts'

type Props = {
  readonly node: NodeGlance
  readonly history: NodeHistory | undefined
  readonly atMs: number
  readonly mayManage: boolean
  readonly mayWatch: boolean
}

/** One node: its state, its GPU now and in the last ten minutes, what it holds and what it runs. Every part keeps its height. */
export const NodeCard = memo(({ node, history, atMs, mayManage, mayWatch }: Props) => (
  <article class={`card node node-${node.state}`} aria-label={`Node ${node.id}`}>
    <div class="card-head">
      <h3>{node.id}</h3>
      <span class={`state state-${node.trouble && node.state === 'ready' ? 'occupied' : node.state}`}>
        {stateWord(node)}
      </span>
    </div>
    <p class="hardware">
      <span class="cut" title={node.gpu?.name}>
        {node.gpu?.name ?? 'No GPU reported'}
        {node.gpus > 1 && ` and ${node.gpus - 1} more`}
      </span>
      <span class="number">{node.silentSince ? '' : warmth(node)}</span>
    </p>
    <Sparkline id={node.id} history={history} />
    <dl class="gpu">
      <div class="swatch-gpu">
        <dt>GPU</dt>
        <dd>{node.silentSince || node.gpu?.utilization == null ? 'not told' : percent(node.gpu.utilization)}</dd>
      </div>
      <div class="swatch-vram">
        <dt>VRAM</dt>
        <dd>{vram(node)}</dd>
      </div>
    </dl>
    {node.attempt ? (
      <div class="attempt at-work">
        {mayWatch && node.attempt.task !== null && <AttemptPreview node={node.id} task={node.attempt.task} />}
        <Attempt attempt={node.attempt} atMs={atMs} />
      </div>
    ) : (
      <Idle node={node} atMs={atMs} />
    )}
    <div class="card-foot">
      <span class="cut quiet" title={node.resident.join('\n')}>
        {node.resident.length === 0 ? 'Holds no model' : `Holds ${node.resident.map(modelName).join(', ')}`}
      </span>
      {mayManage && (
        <div class="card-actions">
          {node.restartable && <RestartButton id={node.id} />}
          <DrainButton node={node} />
        </div>
      )}
    </div>
  </article>
))

const stateWord = ({ state, trouble, attempt }: NodeGlance): string => {
  if (state !== 'ready') return state
  if (trouble) return 'in use'
  return attempt ? 'at work' : 'ready'
}

const warmth = ({ gpu }: NodeGlance): string =>
  [
    gpu?.temperatureCelsius == null ? '' : `${Math.round(gpu.temperatureCelsius)} °C`,
    gpu?.powerWatts == null ? '' : `${gpu.powerWatts} W`
  ]
    .filter(Boolean)
    .join(' · ')

const vram = ({ gpu, silentSince }: NodeGlance): string => {
  if (silentSince || !gpu?.vramTotalBytes || gpu.vramUsedBytes === null) return 'not told'
  return `${gigabytes(gpu.vramUsedBytes)} of ${gigabytes(gpu.vramTotalBytes)} GB`
}

const Attempt = ({
  attempt,
  atMs
}: {
  readonly attempt: NonNullable<NodeGlance['attempt']>
  readonly atMs: number
}) => {
  const { progress } = attempt
  const step = progress?.value != null && progress.max ? ` ${progress.value}/${progress.max}` : ''
  return (
    <div class="attempt-words">
      <div class="attempt-line">
        {attempt.task === null ? (
          <span class="cut">A task of another tenant</span>
        ) : (
          <a class="cut" href={`#/tasks/${attempt.task}`}>
            {attempt.models.map(modelName).join(', ') || 'A task without models'}
          </a>
        )}
        <span class="number">{remaining(attempt, atMs)}</span>
      </div>
      <Meter value={progress?.percent ?? 0} label={`Progress of ${attempt.task ?? 'a task'}`} />
      <div class="attempt-line quiet">
        <span class="cut">{progress?.classType ? `${progress.classType}${step}` : 'Starting'}</span>
        <span class="number">{progress ? `${progress.percent} %` : ''}</span>
      </div>
    </div>
  )
}

const remaining = ({ claimedAt, expectedAt }: NonNullable<NodeGlance['attempt']>, atMs: number): string => {
  const left = expectedAt === null ? 0 : -secondsBetween(expectedAt, atMs)
  return left >= 1 ? `about ${age(left)} left` : `for ${age(secondsBetween(claimedAt, atMs))}`
}

const Idle = ({ node, atMs }: { readonly node: NodeGlance; readonly atMs: number }) => (
  <div class="attempt">
    <p class="trouble">
      {node.trouble ?? 'Idle'}
      {node.silentSince && ` Silent for ${age(secondsBetween(node.silentSince, atMs))}.`}
    </p>
  </div>
)

const DrainButton = ({ node: { id, state } }: { readonly node: NodeGlance }) =>
  state === 'draining' ? (
    <NodeButton id={id} verb="Resume">
      It gets tasks again at once.
    </NodeButton>
  ) : (
    <NodeButton id={id} verb="Drain">
      It finishes what it runs and gets nothing new until it is resumed, also over restarts.
    </NodeButton>
  )

const RestartButton = ({ id }: { readonly id: string }) => (
  <NodeButton id={id} verb="Restart">
    It finishes what it runs; then its ComfyUI is started anew, and it gets tasks again when that is well.
  </NodeButton>
)

type NodeButtonProps = {
  readonly id: string
  readonly verb: 'Drain' | 'Resume' | 'Restart'
  readonly children: ComponentChildren
}

const NodeButton = ({ id, verb, children }: NodeButtonProps) => {
  const run = async (): Promise<void> => {
    await ask(`/api/v1/nodes/${encodeURIComponent(id)}/${verb.toLowerCase()}`, { method: 'POST' })
  }
  return (
    <ConfirmButton label={verb} name={`${verb} ${id}`} title={`${verb} ${id}?`} action={verb} run={run}>
      {children}
    </ConfirmButton>
  )
}
