import type { TaskEvent, TaskPreview } from '@comfy-balancer/contract/event'
import type { Progress, Task } from '@comfy-balancer/contract/task'
import type { TaskTimeline } from '@comfy-balancer/contract/task-timeline'
import type { WebhookDelivery, WebhookDeliveryList } from '@comfy-balancer/contract/webhook'
import { useEffect, useState } from 'preact/hooks'
import { ask, askFor, ProblemError } from './api.ts'

/** A task with its story. `seen` are the graph nodes that this page saw running, the last one runs now; `preview` is ComfyUI's latest. */
export type TaskStory = {
  readonly task: Task
  readonly timeline: TaskTimeline
  readonly log: string
  readonly deliveries: readonly WebhookDelivery[]
  readonly progress: Progress | null
  readonly preview: TaskPreview | undefined
  readonly seen: readonly string[]
}

export type TaskState = { readonly story?: TaskStory; readonly error?: ProblemError }

const againMs = 3_000
const eventTypes = [
  'queued',
  'dispatched',
  'started',
  'output',
  'retried',
  'succeeded',
  'failed',
  'cancelled',
  'expired'
]

/** Whether a task's state can still change. */
export const isOver = ({ state }: Pick<Task, 'state'>): boolean => state !== 'queued' && state !== 'running'

const read = async (id: string): Promise<Omit<TaskStory, 'progress' | 'preview' | 'seen'>> => {
  const [task, timeline, log, { data }] = await Promise.all([
    askFor<Task>(`/api/v1/tasks/${id}`),
    askFor<TaskTimeline>(`/api/v1/tasks/${id}/timeline`),
    ask(`/api/v1/tasks/${id}/logs`).then(response => response.text()),
    askFor<WebhookDeliveryList>(`/api/v1/webhook-deliveries?task=${id}`)
  ])
  return { task, timeline, log, deliveries: data.toReversed() }
}

/** Reads a task and follows it until it has ended: each event of its stream is a reason to read again. */
export const useTask = (id: string): TaskState => {
  const [state, setState] = useState<TaskState>({})
  useEffect(() => {
    let isGone = false
    let source: EventSource | undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let isReading = false
    let isStale = false

    const look = async (): Promise<void> => {
      if (isReading) {
        isStale = true
        return
      }
      isReading = true
      clearTimeout(timer)
      try {
        const found = await read(id)
        if (isGone) return
        setState(({ story }) => ({
          story: {
            ...found,
            progress: story?.progress ?? null,
            preview: found.task.state === 'running' ? story?.preview : undefined,
            seen: story?.seen ?? []
          }
        }))
        if (isOver(found.task)) source?.close()
        else timer = setTimeout(look, againMs)
      } catch (error) {
        if (isGone) return
        const problem = error instanceof ProblemError ? error : new ProblemError(0, { detail: String(error) })
        setState(({ story }) => (problem.status === 0 && story ? { story } : { error: problem }))
        if (problem.status === 0) timer = setTimeout(look, againMs)
      } finally {
        isReading = false
        if (isStale && !isGone) {
          isStale = false
          void look()
        }
      }
    }

    const hear = ({ data }: MessageEvent): void => {
      const { progress, preview } = JSON.parse(data) as TaskEvent
      if (progress) setState(({ story }) => (story ? { story: advanced(story, progress) } : {}))
      if (preview) setState(({ story }) => (story ? { story: { ...story, preview } } : {}))
    }

    source = new EventSource(`./api/v1/tasks/${id}/events?previews=1`)
    source.addEventListener('task.progress', hear)
    source.addEventListener('task.preview', hear)
    for (const type of eventTypes) source.addEventListener(`task.${type}`, () => void look())
    void look()
    return () => {
      isGone = true
      source?.close()
      clearTimeout(timer)
    }
  }, [id])
  return state
}

const advanced = (story: TaskStory, progress: Progress): TaskStory => {
  const { graphNode } = progress
  const isNew = graphNode !== null && story.seen.at(-1) !== graphNode
  return { ...story, progress, seen: isNew ? [...story.seen.filter(one => one !== graphNode), graphNode] : story.seen }
}
