import { setTimeout as pause } from 'node:timers/promises'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { cancelPrompt } from './cancel.ts'
import { ComfyUiError } from './errors.ts'
import type { ComfyUiHttp } from './http.ts'
import type { Log } from './log.ts'
import type { Observer } from './observer.ts'
import { createRelay, type PromptEvent } from './relay.ts'
import type { Sighting } from './sighting.ts'
import type { SubmitOutcome } from './submit.ts'
import { type Verdict, verdictOf } from './verdict.ts'
import { createWatch, defaultPatience, type Patience } from './watch.ts'
import type { HistoryEntry } from './wire.ts'

export type PromptDeps = { readonly http: ComfyUiHttp; readonly observer: Observer; readonly log: Log }

/** A prompt to follow: its graph as posted, the ids of its output graph nodes, and how long it may take from now on. */
export type PromptOrder = {
  readonly promptId: string
  readonly workflow: Workflow
  readonly outputs: readonly string[]
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  readonly patience?: Partial<Patience>
}

/** A prompt to run. `text` gives what to post under the client id that ComfyUI is to send events to. */
export type NewPromptOrder = PromptOrder & { readonly text: (clientId: string) => string }

const readyMs = 2000
const cancelMs = 10_000
const adoptPauseMs = 500
const soon = (ms: number): Promise<undefined> => pause(ms, undefined, { ref: false })

const deferred = <T>() => {
  let resolve: (value: T) => void = () => {}
  let reject: (reason: unknown) => void = () => {}
  const promise = new Promise<T>((done, failed) => {
    resolve = done
    reject = failed
  })
  return { promise, resolve, reject }
}

/** Follows one prompt until a verdict. `answered` is resolved when its POST is, with the verdict that this already gives, if any. */
const supervise = (deps: PromptDeps, order: PromptOrder, listener: (event: PromptEvent) => void) => {
  const { observer, log } = deps
  const relay = createRelay(order, listener, log)
  const patience = { ...defaultPatience, ...order.patience }
  const watch = createWatch(patience, performance.now())
  const verdict = deferred<Verdict>()
  const answered = deferred<Verdict | undefined>()
  let isFinishing = false
  let isOver = false
  let isStopped = false

  /** What was posted and not yet answered could still be queued, after its caller believes that it is over. */
  const end = async (last: Verdict): Promise<void> => {
    isOver = true
    await Promise.race([answered.promise, soon(patience.answerMs)])
    if (!isFinishing) verdict.resolve(last)
  }

  const finish = async (entry: HistoryEntry): Promise<void> => {
    if (isFinishing) return
    isFinishing = true
    const early = await Promise.race([answered.promise, soon(patience.answerMs)])
    if (early) return verdict.resolve(early)
    const mayMiss = verdictOf(entry).kind === 'succeeded' && observer.isHearing && relay.images.mayMiss(entry)
    if (mayMiss) await Promise.race([relay.ended, soon(patience.imagesMs)])
    verdict.resolve(verdictOf(entry, relay.images.results(entry)))
  }

  const see = (sighting: Sighting): void => {
    relay.see(sighting)
    if (sighting.kind === 'finished') void finish(sighting.entry)
    const judged = watch.see(sighting, performance.now())
    if (judged) void end(judged)
    if (watch.isDoubtful()) following.hurry()
  }

  const following = observer.follow(order.promptId, see)
  const timer = setTimeout(() => void end({ kind: 'timed-out' }), order.timeoutMs)
  const abandon = () => void end({ kind: 'abandoned' })
  order.signal?.addEventListener('abort', abandon, { once: true })
  if (order.signal?.aborted) abandon()

  return {
    watch,
    following,
    verdict,
    answered,
    isOver: () => isOver,
    isStopped: () => isStopped,
    stop: (): void => {
      isStopped = true
      clearTimeout(timer)
      order.signal?.removeEventListener('abort', abandon)
      following.stop()
    }
  }
}

type Supervision = ReturnType<typeof supervise>

const rejectionOf = (outcome: SubmitOutcome): Verdict | undefined => {
  if (outcome.kind === 'rejected') return outcome
  if (outcome.kind === 'failed' && outcome.refused)
    return { kind: 'lost', reason: 'unreachable', detail: outcome.detail }
  if (outcome.kind !== 'accepted' || Object.keys(outcome.nodeErrors).length === 0) return undefined
  const error = { type: 'partly_rejected', message: 'ComfyUI accepted only a part of the outputs' }
  return { kind: 'rejected', placement: false, error, nodeErrors: outcome.nodeErrors }
}

const post = async (deps: PromptDeps, order: NewPromptOrder, supervision: Supervision): Promise<void> => {
  const { watch, following, verdict, answered } = supervision
  const postedAtMs = performance.now()
  const outcome = await deps.http.submit(order.text(deps.observer.clientId))
  const early = rejectionOf(outcome)
  answered.resolve(early)
  const isUnwanted = supervision.isStopped() || early !== undefined
  if (outcome.kind === 'accepted' && isUnwanted) await cancelPrompt(deps, order.promptId, { deadlineMs: cancelMs })
  if (early) return verdict.resolve(early)
  watch.posted(outcome, performance.now())
  if (outcome.kind === 'accepted') following.accepted(postedAtMs, outcome.number)
  else following.hurry()
}

/**
 * Posts a workflow and follows it to its verdict; it never throws for what ComfyUI does and always ends, at the latest after
 * `timeoutMs` and a grace of seconds. Truth is ComfyUI's history, then its queue; events only make it faster and give progress. A
 * workflow of which ComfyUI accepted a part is taken back and counts as rejected.
 */
export const runPrompt = async (
  deps: PromptDeps,
  order: NewPromptOrder,
  listener: (event: PromptEvent) => void
): Promise<Verdict> => {
  if (order.signal?.aborted) return { kind: 'abandoned' }
  const supervision = supervise(deps, order, listener)
  try {
    await deps.observer.ready(readyMs)
    if (supervision.isOver()) supervision.answered.resolve(undefined)
    else post(deps, order, supervision).catch(supervision.verdict.reject)
    return await supervision.verdict.promise
  } finally {
    supervision.stop()
  }
}

/** Whether ComfyUI has the prompt in its queue or history; when it does not answer, following will tell. */
const isKnown = async (http: ComfyUiHttp, promptId: string): Promise<boolean> => {
  try {
    for (const waitMs of [0, adoptPauseMs]) {
      await pause(waitMs)
      const { running, pending } = await http.queue()
      if ([...running, ...pending].some(item => item.promptId === promptId)) return true
      if (await http.history(promptId)) return true
    }
    return false
  } catch (error) {
    if (error instanceof ComfyUiError) return true
    throw error
  }
}

/**
 * Follows a prompt that an earlier run of this process posted, to its verdict; undefined when ComfyUI does not know it. Its events
 * arrive only if the observer's client id is the one it was posted under; the verdict does not need them.
 */
export const adoptPrompt = async (
  deps: PromptDeps,
  order: PromptOrder,
  listener: (event: PromptEvent) => void
): Promise<Verdict | undefined> => {
  const { watch, following, verdict, answered, stop } = supervise(deps, order, listener)
  try {
    answered.resolve(undefined)
    if (!(await isKnown(deps.http, order.promptId))) return undefined
    watch.found(performance.now())
    following.hurry()
    return await verdict.promise
  } finally {
    stop()
  }
}
