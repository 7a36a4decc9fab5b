import fc from 'fast-check'
import t from 'tap'
import { defaultLimits, type Limits } from '../src/limits.ts'
import { type HeldLedger, openHeldLedger } from '../src/scratch-ledger.ts'
import { startClusterServer } from './model/cluster-server.ts'
import { Pair, turns } from './model/pair.ts'

const hour = 3_600_000
/** Small where a sequence has to reach it, and longer than any sequence where Redis' own clock counts. */
const limits: Limits = {
  ...defaultLimits,
  keepMs: hour,
  keepFailedMs: 3 * hour,
  keepNodeMs: 60_000,
  quarantineFaults: 2,
  quarantineMs: 8_000,
  maxQuarantineMs: 12_000,
  poisonMs: 3 * hour,
  maxQueued: 5,
  maxListed: 6,
  maxLogBytes: 30
}

const seed = Number(process.env.MODEL_SEED ?? 20_261)
const numRuns = Number(process.env.MODEL_RUNS ?? 300)

const fenced = ['ok', 'stale', 'terminal']
/** What must have been answered, by command: all that is not too rare. */
const everyAnswer = Object.entries({
  enqueue: ['accepted', 'replayed', 'key-reused', 'queue-full', 'workflow-quarantined', 'over-quota'],
  cancel: ['cancelled', 'not-found'],
  look: ['waiting+tenants+tasks'],
  beat: ['run', 'ok', 'cancel', 'lost', 'idle', 'restart', 'stale-node'],
  claim: ['claimed', 'stale-node', 'not-ready', 'occupied', 'not-queued', 'at-cap'],
  start: fenced,
  output: fenced,
  complete: fenced,
  fail: ['failed', 'stale', 'terminal'],
  retry: ['retried', 'failed', 'stale', 'terminal'],
  release: ['released', 'not-held'],
  register: ['registered', 'adopted', 'refused'],
  suspect: ['recovered', 'nothing'],
  limit: ['nothing'],
  drain: ['true', 'false'],
  restart: ['true', 'false'],
  restarted: ['nothing'],
  pardon: ['true', 'false'],
  sweep: ['recovered', 'requeued', 'expired', 'timedOut', 'heldBack']
}).flatMap(([command, answers]) => answers.map(answer => `${command} ${answer}`))

/** Plays random sequences; answers the first difference, shrunk to few turns, and what was answered how often. */
const compare = async (held: HeldLedger, runs: number) => {
  const answers = new Map<string, number>()
  const answered = (command: string, answer: unknown) => {
    const name = `${command} ${nameOf(answer)}`
    answers.set(name, (answers.get(name) ?? 0) + 1)
  }
  const witness = { answered, loaded: new Set<string>() }
  const property = fc.asyncProperty(turns, async all => {
    await held.clear()
    await new Pair(held, witness).play(all)
  })
  const found = await fc.check(property, { seed, numRuns: runs, interruptAfterTimeLimit: 100_000 })
  const { errorInstance, failed, interrupted } = found
  const said = errorInstance instanceof Error ? errorInstance.message : `${errorInstance}`
  const unfinished = interrupted ? `${found.numRuns} sequences took too long` : 'none'
  return { difference: failed ? said : unfinished, answers }
}

t.test('the ledger does what its model does, whatever comes in whatever order, once, twice or late', async t => {
  const held = openHeldLedger(limits)
  t.teardown(held.close)
  const { difference, answers } = await compare(held, numRuns)
  t.equal(difference, 'none', `${numRuns} sequences, MODEL_SEED=${seed}`)
  const counts = [...answers].map(([name, times]) => `${name}: ${times}`).toSorted()
  t.comment(counts.join(', '))
  if (numRuns < 300 || difference !== 'none') return
  const unseen = everyAnswer.filter(name => !answers.has(name))
  t.same(unseen, [], 'the sequences reached every answer')
})

t.test('in a cluster every script keeps to the slot of its hash tag', async t => {
  const server = await startClusterServer()
  if (!server) return void t.pass('redis-server is not on PATH', { skip: true })
  t.teardown(server.stop)
  const held = openHeldLedger(limits, server.url)
  t.teardown(held.close)
  const { difference, answers } = await compare(held, 80)
  t.equal(difference, 'none')
  const commands = new Set([...answers.keys()].map(name => name.split(' ', 1)[0]!))
  t.same(commands, new Set(everyAnswer.map(name => name.split(' ', 1)[0]!)), 'every command was sent')
  await held.ledger.nodes.list()
  const owed = {
    task: 'task_1',
    version: 1,
    tenant: 'a',
    url: 'https://webhook',
    type: 'task.failed',
    body: ''
  } as const
  await held.ledger.deliveries.owe(owed)
  const delivery = (await held.ledger.deliveries.find('task_1-1', 'a'))!
  await held.ledger.deliveries.tried(delivery, { outcome: 'gone' })
  t.equal(await held.ledger.deliveries.redeliver(delivery), 'owed')
  await held.ledger.webhookSecrets.current('a')
  await held.ledger.tenants.setLimits('a', { requestsPerMinute: 5 })
  t.match(await held.ledger.tenants.meter('a'), { allowed: true })
  const astray = "#!lua\nreturn redis.call('SET', '{elsewhere}:x', '1')"
  await t.rejects(held.redis.eval(astray, 1, held.ledger.prefix), /do not hash to the same slot/, 'else it would fail')
})

const nameOf = (answer: unknown): string => {
  if (answer === undefined) return 'nothing'
  if (typeof answer === 'boolean') return `${answer}`
  if (typeof answer === 'string') return answer.startsWith('task_') ? 'recovered' : answer
  const fields = Object.entries(answer as object)
  const kind = fields.find(([name]) => name === 'kind')?.[1]
  return kind ?? fields.flatMap(([name, value]) => (value === 0 || value === false ? [] : [name])).join('+')
}
