import type { Output, Task } from '@comfy-balancer/contract/task'
import { addressOf, ask } from './api.ts'
import { Notice } from './app.tsx'
import { ConfirmButton } from './confirm-button.tsx'
import { may, useFleet } from './fleet-store.ts'
import { GraphView } from './graph-view.tsx'
import { Meter } from './meter.tsx'
import { ScrollBox } from './scroll-box.tsx'
import { TaskError } from './task-error.tsx'
import { type Step, stepsOf } from './task-steps.ts'
import { isOver, type TaskStory, useTask } from './task-store.ts'
import { age, clock, duration, modelName, secondsBetween } from './wording.ts'

/** One task: what happened to it and why, what it made, its graph and ComfyUI's log. */
export const TaskPage = ({ id }: { readonly id: string }) => {
  const { story, error } = useTask(id)
  const fleet = useFleet()
  const { atMs, logdyUrl } = fleet
  if (error) return <Unreadable status={error.status} words={error.message} />
  if (!story) return <p class="quiet loading">Reading the task …</p>
  const mayCancel = may(fleet, 'tasks:write') && fleet.session?.tenant === story.timeline.tenant
  const nowMs = Math.max(atMs, Date.parse(story.task.createdAt))
  return (
    <article class="task">
      <TaskHead story={story} nowMs={nowMs} mayCancel={mayCancel} />
      {story.task.error && <TaskError error={story.task.error} />}
      <div class="columns">
        <section aria-labelledby="story">
          <h2 id="story">What happened</h2>
          <div class="card">
            <ol class="steps">
              {stepsOf(story, nowMs).map((step, i) => (
                <StepLine key={`${i} ${step.at}`} step={step} startedAt={story.task.createdAt} />
              ))}
            </ol>
          </div>
        </section>
        <section aria-labelledby="outputs">
          <h2 id="outputs">Outputs</h2>
          <div class="card">
            <Outputs task={story.task} preview={story.preview} />
          </div>
        </section>
      </div>
      <section aria-labelledby="graph">
        <h2 id="graph">Graph</h2>
        <div class="card">
          <Graph story={story} />
        </div>
      </section>
      <section aria-labelledby="log">
        <div class="section-head">
          <h2 id="log">ComfyUI’s log</h2>
          {logdyUrl && (
            <a href={logdyUrl} target="_blank" rel="noreferrer">
              Open in logdy
            </a>
          )}
        </div>
        <div class="card">
          {story.log === '' ? (
            <p class="quiet empty">
              {isOver(story.task) ? 'ComfyUI wrote nothing about it.' : 'It is kept when the attempt has ended.'}
            </p>
          ) : (
            <ScrollBox label="Lines of ComfyUI’s log">
              <pre>{story.log}</pre>
            </ScrollBox>
          )}
        </div>
      </section>
    </article>
  )
}

const Unreadable = ({ status, words }: { readonly status: number; readonly words: string }) => {
  const title =
    status === 410 ? 'This task was deleted' : status === 404 ? 'There is no such task' : 'The task cannot be read'
  return (
    <Notice title={title}>
      <p>{words}</p>
      {(status === 404 || status === 410) && (
        <p>Ended tasks are kept for a day, failed ones for a week, unless configured otherwise.</p>
      )}
      <p>
        <a href="#/">Back to the fleet</a>
      </p>
    </Notice>
  )
}

type HeadProps = { readonly story: TaskStory; readonly nowMs: number; readonly mayCancel: boolean }

const TaskHead = ({ story: { task, timeline, progress }, nowMs, mayCancel }: HeadProps) => {
  const end = task.finishedAt ? Date.parse(task.finishedAt) : nowMs
  const { percent } = progress ?? task.progress ?? { percent: 0 }
  return (
    <section class="task-head" aria-label="The task">
      <p class="quiet">
        <a href="#/">Fleet</a> / Task
      </p>
      <div class="section-head">
        <h1>
          <code>{task.id}</code>
        </h1>
        <span class={`state state-${task.state}`}>{task.state}</span>
        {mayCancel && !isOver(task) && <CancelButton id={task.id} />}
      </div>
      <dl class="facts">
        <Fact name="Accepted" value={`${clock(task.createdAt)}, ${age(secondsBetween(task.createdAt, nowMs))} ago`} />
        <Fact name={isOver(task) ? 'Took' : 'So far'} value={duration(secondsBetween(task.createdAt, end))} />
        <Fact name="Node" value={task.node ?? 'none yet'} />
        <Fact name="Attempts" value={String(task.attempt)} />
        <Fact name="Tenant" value={timeline.tenant} />
        <Fact name="Models" value={timeline.models.map(modelName).join(', ') || 'none'} />
      </dl>
      <div class={task.state === 'running' ? 'task-progress' : 'task-progress hidden'}>
        <Meter value={percent} label="Progress" />
      </div>
    </section>
  )
}

const Fact = ({ name, value }: { readonly name: string; readonly value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
)

const StepLine = ({ step, startedAt }: { readonly step: Step; readonly startedAt: string }) => (
  <li class={`step step-${step.kind}`}>
    <span class="step-time number">
      {step.at && (
        <>
          {clock(step.at)} <small>+{duration(secondsBetween(startedAt, Date.parse(step.at)))}</small>
        </>
      )}
    </span>
    <div>
      <strong>{step.title}</strong>
      {step.detail && <p>{step.detail}</p>}
    </div>
  </li>
)

const Outputs = ({ task, preview }: Pick<TaskStory, 'task' | 'preview'>) => {
  if (task.outputs.length === 0 && preview?.mediaType.startsWith('image/')) {
    return (
      <img class="preview" src={`data:${preview.mediaType};base64,${preview.data}`} alt="Preview of what it makes" />
    )
  }
  if (task.outputs.length === 0) {
    return <p class="quiet empty">{isOver(task) ? 'It made none.' : 'None yet: they appear here one by one.'}</p>
  }
  return (
    <ul class="outputs">
      {task.outputs.map(output => (
        <li key={output.url}>
          <a href={addressOf(output.url)} target="_blank" rel="noreferrer">
            <OutputView output={output} />
            <span class="cut">{output.filename}</span>
          </a>
        </li>
      ))}
    </ul>
  )
}

const OutputView = ({ output }: { readonly output: Output }) => {
  const source = addressOf(output.url)
  if (output.kind === 'image')
    return <img src={source} alt={`Output ${output.filename}`} loading="lazy" decoding="async" />
  // biome-ignore lint/a11y/useMediaCaption: what ComfyUI makes has no captions
  if (output.kind === 'video') return <video src={source} controls preload="metadata" />
  return <span class="file">{output.kind}</span>
}

/** The graph nodes that ComfyUI names in its error. */
const failedIn = ({ error }: Task): ReadonlySet<string> => {
  const words = (error?.comfyui ?? {}) as { readonly graphNode?: string | null; readonly node_errors?: object }
  return new Set([...(words.graphNode ? [words.graphNode] : []), ...Object.keys(words.node_errors ?? {})])
}

const Graph = ({ story: { task, timeline, progress, seen } }: { readonly story: TaskStory }) => {
  if (timeline.graph.length === 0) return <p class="quiet empty">The request is not kept any more.</p>
  const running = task.state === 'running' ? (progress ?? task.progress)?.graphNode : undefined
  const done = task.state === 'running' ? new Set(seen.slice(0, -1)) : undefined
  return <GraphView graph={timeline.graph} running={running ?? undefined} failed={failedIn(task)} done={done} />
}

const CancelButton = ({ id }: { readonly id: string }) => {
  const run = async (): Promise<void> => void (await ask(`/api/v1/tasks/${id}`, { method: 'DELETE' }))
  return (
    <ConfirmButton label="Cancel the task" title="Cancel this task?" action="Cancel the task" run={run}>
      It stops at once, and what it has made so far is lost to its caller.
    </ConfirmButton>
  )
}
