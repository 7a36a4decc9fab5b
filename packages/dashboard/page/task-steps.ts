import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { WaitingFor } from '@comfy-balancer/contract/task-timeline'
import type { WebhookDelivery } from '@comfy-balancer/contract/webhook'
import type { TaskStory } from './task-store.ts'
import { counted, duration, modelName, secondsBetween } from './wording.ts'

/** One step of a task's story; `at` is missing where only a duration is known. */
export type Step = {
  readonly kind: 'past' | 'now' | 'good' | 'bad'
  readonly at?: string
  readonly title: string
  readonly detail?: string
}

/** A task's story in the order of its journal, and what happens now. */
export const stepsOf = (story: TaskStory, nowMs: number): Step[] => {
  const { events } = story.timeline
  const past = events.flatMap((event, i) => [...waitedBefore(event, events[i - 1]), ...eventSteps(event, i, story)])
  return [...past, ...present(story, nowMs), ...story.deliveries.map(deliveryStep)]
}

const waitedBefore = (event: TaskEvent, before: TaskEvent | undefined): Step[] => {
  if (event.type !== 'task.dispatched' || !before) return []
  const seconds = secondsBetween(before.at, Date.parse(event.at))
  return seconds < 0.5 ? [] : [{ kind: 'past', title: `Waited ${duration(seconds)} for a node` }]
}

const eventSteps = (event: TaskEvent, index: number, story: TaskStory): Step[] => {
  const { at } = event
  const { task, timeline } = story
  switch (event.type) {
    case 'task.queued': {
      const needs = timeline.models.length > 0 ? ` It needs ${timeline.models.map(modelName).join(', ')}.` : ''
      return [
        {
          kind: 'past',
          at,
          title: 'Accepted',
          detail: `For ${timeline.tenant}, with priority ${task.priority}.${needs}`
        }
      ]
    }
    case 'task.dispatched': {
      const isLatest = !timeline.events.slice(index + 1).some(({ type }) => type === 'task.dispatched')
      const detail = isLatest ? choiceWords(story) : undefined
      return [
        { kind: 'past', at, title: `Given to ${event.node}, attempt ${event.attempt}`, ...(detail ? { detail } : {}) }
      ]
    }
    case 'task.started': {
      const isLatest = !timeline.events.slice(index + 1).some(({ type }) => type === 'task.started')
      return [{ kind: 'past', at, title: `Taken by ${event.node}` }, ...(isLatest ? spentSteps(story) : [])]
    }
    case 'task.output':
      return [{ kind: 'past', at, title: 'Stored an output' }]
    case 'task.retried':
      return [{ kind: 'bad', at, title: `Attempt ${event.attempt} gave no result`, detail: reasonWords(event.reason) }]
    case 'task.succeeded':
      return [{ kind: 'good', at, title: 'Succeeded', detail: storedWords(story) }]
    case 'task.failed':
      return [{ kind: 'bad', at, title: 'Failed', detail: task.error?.title ?? reasonWords(event.reason) }]
    case 'task.cancelled':
      return [{ kind: 'bad', at, title: 'Cancelled', detail: 'By its caller or an operator.' }]
    case 'task.expired':
      return [{ kind: 'bad', at, title: 'Expired', detail: 'Its deadline passed before it could finish.' }]
    default:
      return []
  }
}

const choiceWords = ({ timeline: { choice } }: TaskStory): string | undefined => {
  if (!choice) return undefined
  const load = choice.loadSeconds > 0 ? `${duration(choice.loadSeconds)} to load and ` : ''
  const own = `Predicted ${load}${duration(choice.executionSeconds)} to run, score ${choice.score}.`
  const { runnerUp, nodes } = choice
  if (runnerUp)
    return `${own} Runner-up of ${counted(nodes, 'node')}: ${runnerUp.node} with ${duration(runnerUp.seconds)}.`
  return `${own} No other of ${counted(nodes, 'node')} was free for it.`
}

const spentSteps = ({ task: { timings } }: TaskStory): Step[] => {
  const { loadSeconds, executionSeconds } = timings
  const steps: Step[] = []
  if (loadSeconds !== null && loadSeconds >= 0.05)
    steps.push({ kind: 'past', title: `Loaded models in ${duration(loadSeconds)}` })
  if (executionSeconds !== null) steps.push({ kind: 'past', title: `Executed in ${duration(executionSeconds)}` })
  return steps
}

const storedWords = ({ task }: TaskStory): string =>
  `${counted(task.outputs.length, 'output')} stored, ${duration(secondsBetween(task.createdAt, Date.parse(task.finishedAt ?? task.createdAt)))} after it was accepted.`

const present = ({ task, timeline, progress }: TaskStory, nowMs: number): Step[] => {
  if (task.state === 'queued' && timeline.events.at(-1)?.type === 'task.dispatched') return []
  if (task.state === 'queued') {
    const since = timeline.events.at(-1)?.at ?? task.createdAt
    const title = `Waits for ${duration(Math.max(0, secondsBetween(since, nowMs)))}`
    return [{ kind: 'now', title, detail: waitingWords(timeline.waitingFor) }]
  }
  if (task.state !== 'running') return []
  const now = progress ?? task.progress
  if (!now?.classType) return [{ kind: 'now', title: 'Runs', detail: 'ComfyUI has not said yet what it does.' }]
  const step = now.max ? `, ${now.value} of ${now.max}` : ''
  return [{ kind: 'now', title: `Runs ${now.classType}${step}`, detail: `${now.percent} % of the graph is done.` }]
}

/** Why a task waits, from what the nodes that could run it do now. */
const waitingWords = (waitingFor: WaitingFor | null): string => {
  if (!waitingFor) return 'It is on its way.'
  const { ahead, free, busy, away } = waitingFor
  const all = free + busy + away
  const line = ahead > 0 ? ` ${counted(ahead, 'task')} of its kind ${ahead === 1 ? 'stands' : 'stand'} before it.` : ''
  if (all === 0) return `No node that is known now has everything it needs.${line}`
  if (free + busy === 0)
    return `${all === 1 ? 'The only node' : `All ${all} nodes`} that can run it ${all === 1 ? 'is' : 'are'} not ready.${line}`
  const gone = away > 0 ? ` ${counted(away, 'more node')} could run it but ${away === 1 ? 'is' : 'are'} not ready.` : ''
  if (free === 0) {
    const who = busy === 1 ? 'The node that can run it is' : `All ${busy} ready nodes that can run it are`
    return `${who} at work.${line}${gone}`
  }
  return `${counted(free, 'node')} could take it; others stand before it, or a node that holds its models will be free sooner.${line}${gone}`
}

const deliveryStep = ({ type, url, state, tries, triedAt, status, error }: WebhookDelivery): Step => {
  const at = triedAt === null ? {} : { at: triedAt }
  const where = `${type} to ${new URL(url).host}`
  if (state === 'delivered') return { kind: 'past', ...at, title: `Delivered ${where}` }
  const why = error ?? (status === null ? 'It was not tried yet.' : `The last answer was ${status}.`)
  if (state === 'failed') return { kind: 'bad', ...at, title: `Could not deliver ${where}`, detail: why }
  return { kind: 'now', ...at, title: `Is to deliver ${where}`, detail: `Tries so far: ${tries}. ${why}` }
}

const reasons: Readonly<Record<string, string>> = {
  node: 'The node failed it; it went back to its place in the queue.',
  'comfyui-died': 'ComfyUI went away under it; it went back to its place in the queue.',
  lost: 'The node fell silent, so its lease ran out; the task went back to its place in the queue.',
  placement: 'The node lacks something that other nodes have; it went back to its place in the queue.',
  'out-of-memory': 'The GPU ran out of memory.',
  'hand-back': 'The node was about to stop and handed it back.',
  deadline: 'Its deadline passed.'
}

const reasonWords = (reason: string | undefined): string => reasons[reason ?? ''] ?? reason ?? 'No reason was given.'
