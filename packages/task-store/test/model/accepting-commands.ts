import type { EventType } from '@comfy-balancer/contract/event'
import type { TenantLimits } from '@comfy-balancer/contract/tenant'
import { cancel, enqueue } from '@comfy-balancer/domain/ledger-model/accepting'
import { queuedTasks } from '@comfy-balancer/domain/ledger-model/model'
import { pardon } from '@comfy-balancer/domain/ledger-model/quarantine'
import { isAtCap, limitsOf, setLimits } from '@comfy-balancer/domain/ledger-model/tenants'
import type { Candidate } from '@comfy-balancer/domain/policy'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import fc from 'fast-check'
import { needDigest } from '../../src/need-digest.ts'
import { kind, nthOf, type Pick, pick, pickTask, short } from './command.ts'

const models = [
  { classType: 'L', input: 'ckpt', value: 'sub\\m.safetensors' },
  { classType: 'L', input: 'vae', value: 'v.safetensors' }
]
const aNeed = { classes: ['A'], models: [], files: [], labels: {} }
const needs = [
  { need: aNeed, files: [] },
  { need: { ...aNeed, models }, files: ['sub/m.safetensors', 'v.safetensors'] }
]

type Said = { readonly kind: string }

type Task = {
  nth: number
  work: number
  priority: number
  timeoutSeconds: number
  deadlineSeconds: number
  fingerprint: string
  webhookEvents: EventType[]
}

const task = fc.record<Task>({
  nth: fc.nat({ max: needs.length - 1 }),
  work: fc.integer({ min: 1, max: 3 }),
  priority: fc.constantFrom(50, 0, 100),
  timeoutSeconds: fc.constantFrom(600, 4),
  deadlineSeconds: fc.constantFrom(0, 6, 3_600),
  fingerprint: fc.constantFrom('f1', 'f1', 'f1', 'f2'),
  webhookEvents: fc.subarray<EventType>([
    'task.queued',
    'task.started',
    'task.retried',
    'task.failed',
    'task.succeeded'
  ])
})

const unseen = { outputs: ['9'], clientId: undefined, metadata: {}, idempotency: undefined }

/** One task as the ledger is given it, and as the model is. */
const both = (id: string, tenant: string, { nth, priority, ...drawn }: Task) => {
  const { need, files } = needs[nth]!
  const { timeoutSeconds, deadlineSeconds, webhookEvents, ...common } = { ...drawn, id, tenant }
  const webhook = webhookEvents.length === 0 ? undefined : { url: 'https://webhook', events: webhookEvents }
  const times = { timeoutMs: timeoutSeconds * 1_000, deadlineAfterMs: deadlineSeconds * 1_000 }
  return {
    real: { ...common, ...unseen, need, priority, timeoutSeconds, deadlineSeconds, webhook, body: `body of ${id}` },
    model: {
      ...common,
      ...times,
      webhookEvents,
      need: needDigest(need),
      models: files,
      headStartMs: (priority - 50) * 6_000
    }
  }
}

type Enqueue = { tenant: string; key: string | undefined; requestHash: string; tasks: Task[]; alone: boolean }

const enqueuing = kind<Enqueue>(
  9,
  {
    tenant: fc.constantFrom('a', 'b'),
    key: fc.constantFrom(undefined, undefined, 'k1', 'k2'),
    requestHash: fc.constantFrom('h1', 'h1', 'h2'),
    tasks: fc.array(task, { minLength: 1, maxLength: 3 }),
    alone: fc.nat({ max: 4 }).map(n => n < 4)
  },
  ({ tenant, key, requestHash, tasks: drawn, alone }, { nowMs, fresh }) => {
    const prefix = `task_${nowMs.toString(16).padStart(12, '0')}${String(fresh).padStart(18, '0')}`
    const tasks = drawn.slice(0, alone ? 1 : 3).map((one, i) => both(`${prefix}0${i}`, tenant, one))
    const id = alone ? tasks[0]!.model.id : `group_${fresh}`
    const idempotency = key === undefined ? undefined : { key, requestHash }
    const together = { id, tenant, idempotency }
    const details = drawn.map(({ nth, priority, fingerprint, deadlineSeconds }) =>
      [`need ${nth}`, `priority ${priority}`, fingerprint, `deadline ${deadlineSeconds} s`].join(' ')
    )
    return [
      {
        text: `enqueue ${short(id)} of ${tenant}, key ${key} ${requestHash}: ${details.slice(0, tasks.length).join(', ')}`,
        real: async ledger => {
          const group = { ...together, tasks: tasks.map(({ real }) => real) }
          const answer = alone
            ? await ledger.tasks.enqueue({ ...group.tasks[0]!, idempotency })
            : await ledger.tasks.enqueueGroup(group)
          if (answer.kind === 'workflow-quarantined') return { kind: answer.kind, task: answer.task }
          if (answer.kind !== 'accepted') return answer
          const { task: _, ...said } = answer
          return said
        },
        model: (ledger, now) => enqueue(ledger, now, { ...together, tasks: tasks.map(({ model }) => model) }),
        again: first => ((first as Said).kind === 'accepted' ? { ...(first as Said), generations: undefined } : first)
      }
    ]
  }
)

const cancelling = kind<{ which: Pick; other: string | undefined }>(
  3,
  { which: pick, other: fc.constantFrom(undefined, undefined, undefined, 'b') },
  ({ which, other }, { model }) => {
    const task = pickTask(model, which, ({ state }) => !isTerminal(state))
    if (!task && !which.odd) return []
    const own = { task: task?.id ?? 'task_unknown', tenant: other ?? task?.tenant ?? 'a' }
    return [
      {
        text: `cancel ${short(own.task)} of ${own.tenant}`,
        real: ledger => ledger.tasks.cancel(own.task, own.tenant),
        model: (ledger, now) => cancel(ledger, now, own)
      }
    ]
  }
)

type Seen = Readonly<Omit<Candidate, 'needId' | 'need' | 'knownSeconds'>>

const seenOf = ({ id, tenant, orderMs, acceptedMs, work, avoid, stay, vramAboveBytes }: Seen): Seen => ({
  id,
  tenant,
  orderMs,
  acceptedMs,
  work,
  avoid,
  stay,
  vramAboveBytes
})
const byId = (a: Seen, b: Seen): number => (a.id < b.id ? -1 : 1)

/** So few wait here that a look sees them all. */
const looking = kind<object>(3, {}, () => [
  {
    text: 'look',
    real: async ledger => {
      const { waiting, flows, candidates } = await ledger.waiting.look(needs[1]!.files)
      const tenants = Object.fromEntries(
        [...flows].map(([tenant, { overtaken, weight }]) => [tenant, [overtaken, weight]])
      )
      return { waiting, tenants, tasks: candidates.map(seenOf).toSorted(byId) }
    },
    model: (ledger, now) => {
      const queued = queuedTasks(ledger).filter(({ tenant }) => !isAtCap(ledger, tenant, now))
      const tasks = queued.map(task => seenOf({ ...task, acceptedMs: task.createdMs }))
      const flowOf = (tenant: string) => [ledger.overtaken.get(tenant) ?? 0, limitsOf(ledger, tenant).weight ?? 1]
      const tenants = Object.fromEntries(tasks.map(({ tenant }) => [tenant, flowOf(tenant)]))
      return { answer: { waiting: tasks.length, tenants, tasks: tasks.toSorted(byId) }, after: ledger }
    }
  }
])

const limit = (weight: number, ...values: (number | undefined)[]) =>
  fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom(...values) })

const limiting = kind<{ tenant: string; limits: TenantLimits }>(
  2,
  {
    tenant: fc.constantFrom('a', 'b'),
    limits: fc.record({
      maxRunning: limit(5, 0, 1),
      maxQueued: limit(5, 0, 2),
      gpuSecondsPerDay: limit(5, 0, 20),
      generationsPerHour: limit(3, 0, 3),
      weight: fc.constantFrom(1, 2, 0.5)
    })
  },
  ({ tenant, limits: drawn }) => {
    const limits: TenantLimits = Object.fromEntries(Object.entries(drawn).filter(([, value]) => value !== undefined))
    return [
      {
        text: `limit ${tenant} to ${JSON.stringify(limits)}`,
        real: ledger => ledger.tenants.setLimits(tenant, limits),
        model: (ledger, now) => setLimits(ledger, now, { tenant, limits })
      }
    ]
  }
)

const pardoning = kind<{ which: Pick }>(2, { which: pick }, ({ which: { nth, odd } }, { model }) => {
  const name = odd ? 'a:f1' : nthOf([...model.poisons.keys()], nth)
  if (name === undefined) return []
  const [tenant = '', fingerprint = ''] = name.split(':')
  return [
    {
      text: `pardon ${fingerprint} of ${tenant}`,
      real: ledger => ledger.quarantine.lift(tenant, fingerprint),
      model: (ledger, now) => pardon(ledger, now, { tenant, fingerprint }),
      again: () => false
    }
  ]
})

/** Accepting, cancelling and seeing what waits. */
export const acceptingCommands = [enqueuing, cancelling, looking, limiting, pardoning]
