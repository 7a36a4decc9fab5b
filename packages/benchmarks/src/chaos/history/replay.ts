import type { Transaction } from './append-only-file.ts'
import { Keyspace } from './keyspace.ts'
import type {
  Beat,
  Entry,
  HeldSlot,
  LedgerHistory,
  SlotChange,
  SweepStep,
  TaskFacts,
  TaskStep
} from './ledger-history.ts'

type Slot = { readonly task: string; readonly token: string }

/**
 * Replays a ledger's writes step by step and tells what each did to tasks, slots and nodes. Throws when it does not recognise them: a check
 * that sees nothing finds nothing.
 */
export const replay = (transactions: readonly Transaction[], prefix: string): LedgerHistory => {
  const replaying = new Replay(prefix)
  for (const transaction of transactions) replaying.take(transaction)
  const history = replaying.history()
  const unseen = (['tasks', 'slots', 'sweeps', 'beats'] as const).filter(part => history[part].length === 0)
  if (history.steps > enoughSteps && unseen.length > 0) {
    throw new Error(
      `the replay sees no ${unseen.join(', ')} in ${history.steps} steps: is the ledger written otherwise now?`
    )
  }
  return history
}

const timeFields = new Set(['lastSweepMs', 'queuedMs', 'claimedMs', 'finishedMs', 'createdMs'])

/** By then each of them has happened. */
const enoughSteps = 300

class Replay {
  readonly #prefix: string
  readonly #space = new Keyspace()
  readonly #facts = new Map<string, TaskFacts>()
  readonly #slots = new Map<string, Slot>()
  readonly #namedMs = new Map<string, number>()
  readonly #tasks: TaskStep[] = []
  readonly #changes: SlotChange[] = []
  readonly #sweeps: SweepStep[] = []
  readonly #beats: Beat[] = []
  #step = 0
  #atMs = 0

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  history(): LedgerHistory {
    return {
      steps: this.#step,
      tasks: this.#tasks,
      slots: this.#changes,
      sweeps: this.#sweeps,
      beats: this.#beats
    }
  }

  take({ second, commands }: Transaction): void {
    const ours = commands.filter(([, key = '']) => key.startsWith(this.#prefix) && !key.startsWith(this.#key('bull')))
    if (ours.length === 0) return
    this.#step++
    this.#atMs = Math.max(this.#atMs, second * 1_000, ...ours.flatMap(command => this.#timesIn(command)))
    for (const command of ours) this.#space.apply(command)
    const touched = new Set(ours.flatMap(command => this.#tasksIn(command)))
    for (const node of new Set(ours.flatMap(command => this.#nodesIn(command)))) this.#seeNode(node, ours, touched)
    for (const task of touched) this.#seeTask(task, ours)
    if (ours.some(command => command[1] === this.#key('counters') && command.includes('lastSweepMs'))) this.#seeSweep()
  }

  #key(name: string): string {
    return this.#prefix + name
  }

  #after(key: string | undefined, kind: string): string | undefined {
    const start = this.#key(kind)
    return key?.startsWith(start) ? key.slice(start.length) : undefined
  }

  #timesIn([name, key, ...rest]: readonly string[]): number[] {
    if (name === 'RPUSH') return this.#after(key, 'journal:') ? entriesOf(rest).map(({ at }) => at) : []
    if (name === 'ZADD' && key === this.#key('nodes')) return [Number(rest[0])].filter(Number.isFinite)
    return rest.flatMap((word, i) => (timeFields.has(word) ? [Number(rest[i + 1])] : [])).filter(Number.isFinite)
  }

  #tasksIn([, key, ...rest]: readonly string[]): string[] {
    for (const kind of ['task:', 'result:', 'journal:']) {
      const task = this.#after(key, kind)
      if (task) return [task]
    }
    const isPlace = ['queue:', 'short:', 'tasks:'].some(kind => this.#after(key, kind) !== undefined)
    return isPlace || key === this.#key('delayed') ? rest.filter(word => word.startsWith('task_')) : []
  }

  #nodesIn([, key, ...rest]: readonly string[]): string[] {
    const node = this.#after(key, 'node:')
    return node
      ? [node]
      : key === this.#key('slots')
        ? rest.filter(word => this.#space.has(this.#key(`node:${word}`)))
        : []
  }

  #seeNode(node: string, commands: readonly (readonly string[])[], touched: Set<string>): void {
    const hash = this.#space.hashes.get(this.#key(`node:${node}`))
    const before = this.#slots.get(node)
    const [task, token] = [hash?.get('slotTask'), hash?.get('slotToken')]
    const beats = commands.some(command => this.#after(command[1], 'node:') === node && command.includes('report'))
    const renews = commands.some(
      ([name, key, ...rest]) => name === 'ZADD' && key === this.#key('slots') && rest.includes(node)
    )
    const isClaim = token !== undefined && token !== before?.token
    if (isClaim || (beats && renews)) this.#namedMs.set(node, this.#atMs)
    if (before?.token !== token) {
      this.#changes.push({
        step: this.#step,
        atMs: this.#atMs,
        node,
        from: before?.token,
        to: token,
        task: task ?? before?.task
      })
      for (const one of [task, before?.task]) if (one) touched.add(one)
      if (task && token) this.#slots.set(node, { task, token })
      else this.#slots.delete(node)
    }
    if (!beats || !hash) return
    const quarantinedUntilMs = Number(hash.get('quarantinedUntilMs') ?? 0)
    const isFree =
      token === undefined && hash.get('intent') === 'ready' && !hash.has('drained') && quarantinedUntilMs <= this.#atMs
    const isRegistration = commands.some(
      command => this.#after(command[1], 'node:') === node && command.includes('epoch')
    )
    this.#beats.push({
      step: this.#step,
      atMs: this.#atMs,
      node,
      epoch: hash.get('epoch') ?? '',
      isFree,
      isRegistration
    })
  }

  #seeTask(task: string, commands: readonly (readonly string[])[]): void {
    const before = this.#facts.get(task)
    const after = this.#factsOf(task)
    if (after) this.#facts.set(task, after)
    else this.#facts.delete(task)
    const entries = commands.flatMap(([name, key, ...rest]) =>
      name === 'RPUSH' && this.#after(key, 'journal:') === task ? entriesOf(rest) : []
    )
    const outputTokens = commands.flatMap(([name, key, value]) =>
      name === 'SET' && this.#after(key, 'result:') === task ? tokensIn(value ?? '') : []
    )
    if (!before && !after) return
    const places = this.#placesOf(task, after)
    const listedBy = this.#listedBy(task)
    this.#tasks.push({
      step: this.#step,
      atMs: this.#atMs,
      task,
      before,
      after,
      entries,
      places,
      listedBy,
      outputTokens
    })
  }

  #factsOf(task: string): TaskFacts | undefined {
    const key = this.#key(`task:${task}`)
    const hash = this.#space.hashes.get(key)
    if (!hash?.has('state')) return undefined
    const used = [...hash].flatMap(([field, value]) =>
      field.startsWith('used:') ? [[field.slice(5), Number(value)]] : []
    )
    return {
      state: hash.get('state') ?? '',
      version: Number(hash.get('version')),
      attempt: Number(hash.get('attempt')),
      token: hash.get('token'),
      node: hash.get('node'),
      tenant: hash.get('tenant') ?? '',
      key: keyIn(hash.get('metadata')),
      used: Object.fromEntries(used),
      expiresMs: this.#space.expiries.get(key)
    }
  }

  #placesOf(task: string, facts: TaskFacts | undefined): string[] {
    const queues = this.#holding('queue:', task).map(name => `queue ${name}`)
    const delayed = this.#space.scores.get(this.#key('delayed'))?.has(task) ? ['delayed'] : []
    const slots = [...this.#slots].flatMap(([node, slot]) =>
      slot.task === task && slot.token === facts?.token ? [`slot ${node}`] : []
    )
    return [...queues, ...delayed, ...slots]
  }

  #listedBy(task: string): string[] {
    const queues = this.#holding('queue:', task).map(name => name.slice(0, name.lastIndexOf(':')))
    return [...new Set([...queues, ...this.#holding('tasks:', task)])]
  }

  #holding(kind: string, task: string): string[] {
    return [...this.#space.scores].flatMap(([key, scores]) => {
      const name = this.#after(key, kind)
      return name !== undefined && scores.has(task) ? [name] : []
    })
  }

  #seeSweep(): void {
    const guardedMs = Number(this.#space.hashes.get(this.#key('counters'))?.get('guardedMs') ?? 0)
    const held: HeldSlot[] = [...this.#slots].map(([node, slot]) => ({
      node,
      ...slot,
      namedMs: this.#namedMs.get(node) ?? this.#atMs
    }))
    this.#sweeps.push({ step: this.#step, atMs: this.#atMs, guardedMs, held })
  }
}

const entriesOf = (texts: readonly string[]): Entry[] => texts.map(text => JSON.parse(text) as Entry)

/** The tokens in an output manifest: each stands in its output's path. */
const tokensIn = (text: string): string[] => {
  const value: unknown = JSON.parse(text)
  if (!Array.isArray(value)) return []
  return [
    ...new Set(value.flatMap(({ path }: { path?: string }) => /\/tasks\/[^/]+\/([^/]+)\//.exec(path ?? '')?.[1] ?? []))
  ]
}

const keyIn = (metadata: string | undefined): string | undefined => {
  const { chaos } = JSON.parse(metadata ?? '{}') as { chaos?: string }
  return chaos
}
