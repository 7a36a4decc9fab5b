import { problem } from '@comfy-balancer/contract/problem'
import * as attempts from '@comfy-balancer/domain/ledger-model/attempts'
import type { ModelNode, ModelTask } from '@comfy-balancer/domain/ledger-model/model'
import { type RetryClass, retryRules } from '@comfy-balancer/domain/retry'
import fc from 'fast-check'
import type { StoredOutput } from '../../src/manifest.ts'
import {
  type Call,
  epochOf,
  kind,
  nthOf,
  type Pick,
  pick,
  pickNode,
  pickTask,
  rarely,
  reporting,
  short,
  tokensOf
} from './command.ts'
import { beat, suspicion } from './node-commands.ts'

const anOutput: StoredOutput = {
  attempt: 1,
  index: 0,
  path: 'p',
  filename: 'a.png',
  mediaType: 'image/png',
  bytes: 3,
  sha256: 's',
  graphNode: '9',
  kind: 'image',
  durable: true
}
const outputsOf = (count: number): StoredOutput[] => Array.from({ length: count }, () => anOutput)

type Claim = {
  which: Pick
  where: Pick
  stale: boolean
  unheard: boolean
  crowded: boolean
  predictedSeconds: number
  overtakes: string[]
}

const claim = (
  node: string,
  epoch: string,
  task: string,
  nonce: string,
  predictedSeconds: number,
  overtakes: readonly string[]
): Call => {
  const own = { node, epoch, task, nonce, predictedSeconds, overtakes }
  const details = `${predictedSeconds} s, overtakes ${overtakes.join(' ') || 'nobody'}`
  return {
    text: `claim ${short(task)} for ${node} ${epoch} as ${nonce}, ${details}`,
    real: ledger => ledger.attempts.claim({ ...own, why: {} }),
    model: (ledger, now) => attempts.claim(ledger, now, own)
  }
}

const isQueued = ({ state }: ModelTask): boolean => state === 'queued'
const isFree = ({ slot }: ModelNode): boolean => slot === undefined

const claiming = kind<Claim>(
  10,
  {
    which: pick,
    where: pick,
    stale: rarely(20),
    unheard: rarely(4),
    crowded: rarely(8),
    predictedSeconds: fc.integer({ min: 1, max: 20 }),
    overtakes: fc.constantFrom<string[]>([], [], ['a'], ['b'], ['a', 'b'])
  },
  ({ which, where, stale, unheard, crowded, predictedSeconds, overtakes }, { model, fresh }) => {
    const task = pickTask(model, which, isQueued)
    const node = pickNode(model, where, known => isFree(known) !== crowded)
    if (!task || !node) return []
    const heard = beat(node, epochOf(model, node, false), 'ready', model.nodes.get(node)?.slot?.token)
    const own = claim(node, epochOf(model, node, stale), task.id, `t${fresh}`, predictedSeconds, overtakes)
    return unheard ? [own] : [heard, own]
  }
)

const texts = fc.constantFrom('', 'short\n', 'first line\nsecond line\n', `one line of ${'very '.repeat(8)}much\n`)

type How = { retryClass: RetryClass; backoffMs: number; again: boolean; vramAboveBytes: number | undefined }

const retry = (
  task: string,
  token: string,
  { retryClass, backoffMs, again, vramAboveBytes }: How,
  log: string
): Call => {
  const { exhausted, delayed } = retryRules[retryClass]
  const how = { class: retryClass, exhausted, backoffMs: delayed ? backoffMs : 0, again, vramAboveBytes }
  return {
    text: `retry ${short(task)} ${token}, ${retryClass} after ${how.backoffMs} ms, again ${again}, above ${vramAboveBytes} B, log ${log.length}`,
    real: ledger => ledger.attempts.retry(task, token, { ...how, exhausted: problem(exhausted, 'x') }, log),
    model: (ledger, now) => attempts.retry(ledger, now, { task, token, retry: how, gpuSeconds: 0, log }),
    again: first =>
      (first as Retried).kind === 'retried'
        ? { kind: 'stale', quarantinedMs: 0 }
        : { ...(first as Retried), quarantinedMs: 0 }
  }
}

const retryClasses = Object.keys(retryRules) as RetryClass[]

/** The same task fails in the same way again and again, here or all over: what uses budgets up and brings quarantine. */
const wearing = kind<{ which: Pick; retryClass: RetryClass; times: number; spread: boolean }>(
  2,
  {
    which: pick,
    retryClass: fc.constantFrom(...retryClasses, 'comfyui-died', 'comfyui-died', 'comfyui-died'),
    times: fc.integer({ min: 4, max: 11 }),
    spread: fc.boolean()
  },
  ({ which, retryClass, times, spread }, { model, fresh }) => {
    const task = pickTask(model, which, isQueued)?.id
    const free = [...model.nodes.values()].filter(isFree).map(({ id }) => id)
    const nodes = spread ? free : free.slice(-1)
    if (!task || nodes.length === 0) return []
    const how = { retryClass, backoffMs: 0, again: false, vramAboveBytes: undefined }
    return Array.from({ length: times }, (_, i) => ({ node: nthOf(nodes, i)!, token: `t${fresh}-${i}` })).flatMap(
      ({ node, token }) => [
        beat(node, epochOf(model, node, false), 'ready', undefined),
        claim(node, epochOf(model, node, false), task, token, 1, []),
        retryClass === 'lost' ? suspicion(node, epochOf(model, node, false)) : retry(task, token, how, '')
      ]
    )
  }
)

const starting = reporting(4, {}, own => ({
  text: `start ${short(own.task)} ${own.token}`,
  real: ledger => ledger.attempts.start(own.task, own.token),
  model: (ledger, now) => attempts.start(ledger, now, own)
}))

const outputting = reporting<{ outputs: number }>(
  3,
  { outputs: fc.integer({ min: 1, max: 3 }) },
  (own, { outputs }) => ({
    text: `output ${short(own.task)} ${own.token}, ${outputs}`,
    real: ledger => ledger.attempts.output(own.task, own.token, outputsOf(outputs)),
    model: (ledger, now) => attempts.output(ledger, now, { ...own, outputs })
  })
)

type Ending = { outputs: number; gpuSeconds: number; log: string }
const ending = { outputs: fc.nat({ max: 2 }), gpuSeconds: fc.constantFrom(0, 2.5, 40), log: texts }

const completing = reporting<Ending>(4, ending, (own, { outputs, gpuSeconds, log }) => ({
  text: `complete ${short(own.task)} ${own.token}, ${outputs} outputs, ${gpuSeconds} s, log ${log.length}`,
  real: ledger => {
    const spent = { gpuSeconds, loadSeconds: 1, executionSeconds: 3, loaded: true }
    return ledger.attempts.complete(own.task, own.token, outputsOf(outputs), spent, log)
  },
  model: (ledger, now) => attempts.complete(ledger, now, { ...own, outputs, gpuSeconds, log })
}))

const failing = reporting<Ending>(2, ending, (own, { gpuSeconds, log }) => ({
  text: `fail ${short(own.task)} ${own.token}, ${gpuSeconds} s, log ${log.length}`,
  real: ledger => ledger.attempts.fail(own.task, own.token, problem('comfyui-rejected', 'x'), gpuSeconds, log),
  model: (ledger, now) => attempts.fail(ledger, now, { ...own, gpuSeconds, log, problem: 'comfyui-rejected' })
}))

type Retried = { readonly kind: string; readonly quarantinedMs: number }

const retrying = reporting<How & { log: string }>(
  8,
  {
    retryClass: fc.constantFrom(...retryClasses),
    backoffMs: fc.constantFrom(0, 500, 4_000),
    again: rarely(5),
    vramAboveBytes: fc.constantFrom(undefined, undefined, 24e9),
    log: texts
  },
  (own, { log, ...how }) => retry(own.task, own.token, how, log)
)

const releasing = kind<{ where: Pick; held: Pick }>(4, { where: pick, held: pick }, ({ where, held }, { model }) => {
  const node = pickNode(model, where, ({ slot }) => slot !== undefined)
  const token = held.odd || !node ? nthOf(tokensOf(model), held.nth) : model.nodes.get(node)?.slot?.token
  if (!node || token === undefined) return []
  return [
    {
      text: `release ${node} ${token}`,
      real: ledger => ledger.attempts.release(node, token),
      model: (ledger, now) => attempts.release(ledger, now, { node, token }),
      again: () => 'not-held'
    }
  ]
})

/** The life of an attempt. */
export const attemptCommands = [wearing, claiming, starting, outputting, completing, failing, retrying, releasing]
