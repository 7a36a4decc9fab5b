/** The rig proves that it bites: planted histories, ledgers without a protection; and that the ledger holds: one seed. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { makeOwnFolder } from '@comfy-balancer/local/own-folder'
import t from 'tap'
import { findViolations } from '../src/chaos/checks/all.ts'
import { faultKinds, type InjectedFault } from '../src/chaos/faults/fault.ts'
import { parseTransactions } from '../src/chaos/history/append-only-file.ts'
import type { Recording } from '../src/chaos/history/recording.ts'
import { staleRefusals } from '../src/chaos/history/service-logs.ts'
import { runMutant } from '../src/chaos/mutant-run.ts'
import { planFaults } from '../src/chaos/plan.ts'
import { summary } from '../src/chaos/report.ts'
import { mutantNames } from '../src/chaos/rig/mutants.ts'
import { runChaos } from '../src/chaos/run.ts'
import { timers } from '../src/chaos/timers.ts'
import { aCall, aLedger, aRecording, broken, startMs } from './planted.ts'

t.setTimeout(400_000)
const folder = makeOwnFolder('chaos-test')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** What CI cannot judge: its machines are late themselves. */
const isTimed = /^L[234]$/
const ledger = aLedger
type Planted = readonly [rule: string, what: string, recording: () => Recording]

const begun = (l: ReturnType<typeof aLedger>) => [
  l.accepted('task_a', 0),
  l.claimed('task_a', 'gpu-a', 'one', 10),
  l.running('task_a', 20)
]
const life = (l: ReturnType<typeof aLedger>) => [...begun(l), l.succeeded('task_a', 'gpu-a', 'one', 900)]
const aFault = (kind: InjectedFault['kind'], target: string, from: number, to: number): InjectedFault => ({
  ...{ kind, targets: [target], fromMs: startMs + from, toMs: startMs + to }
})
const aLife = (program: string, ready: number, ended?: number) => ({
  ...{ program, startedMs: startMs + ready - 100, readyMs: startMs + ready },
  ...{ endedMs: ended === undefined ? undefined : startMs + ended, how: undefined }
})

const planted: readonly Planted[] = [
  [
    'S1',
    'a record disappears before its end',
    () => {
      const l = ledger()
      return aRecording([l.accepted('task_a', 0), l.raw(['DEL', 'task:task_a'], ['ZREM', 'queue:default:n', 'task_a'])])
    }
  ],
  ['S1', 'accepted, but never in the ledger', () => aRecording([], { calls: [aCall('post', 'task_a', 0)] })],
  [
    'S2',
    'an end is changed',
    () => {
      const l = ledger()
      return aRecording([...life(l), l.cancelled('task_a', 1_000)])
    }
  ],
  [
    'S2',
    'a caller saw another end',
    () => {
      const l = ledger()
      return aRecording(life(l), { calls: [aCall('get', 'task_a', 950, { state: 'failed' })] })
    }
  ],
  [
    'S3',
    'a transition without a version',
    () => {
      const l = ledger()
      const [first, second, , last] = life(l)
      return aRecording([first!, second!, l.raw(['HSET', 'task:task_a', 'state', 'running']), last!])
    }
  ],
  [
    'S3',
    'a stream misses a change of state',
    () => {
      const l = ledger()
      const calls = [1, 2, 4].map(version => aCall('event', 'task_a', version, { version, state: 'queued' }))
      return aRecording(life(l), { calls })
    }
  ],
  [
    'S4',
    'the result of another token',
    () => {
      const l = ledger()
      return aRecording([...begun(l), l.succeeded('task_a', 'gpu-a', 'two', 900)])
    }
  ],
  [
    'S5',
    'a cancel that was answered, and a success',
    () => {
      const l = ledger()
      return aRecording(life(l), { calls: [aCall('cancel', 'task_a', 500, { state: 'cancelled' })] })
    }
  ],
  [
    'S6',
    'a slot is filled before it is empty',
    () => {
      const l = ledger()
      const before = [
        l.accepted('task_a', 0),
        l.accepted('task_b', 0),
        l.claimed('task_a', 'gpu-a', 'one', 10),
        l.cancelled('task_a', 20)
      ]
      const after = [l.claimed('task_b', 'gpu-a', 'two', 30), l.succeeded('task_b', 'gpu-a', 'two', 40)]
      return aRecording([...before, ...after])
    }
  ],
  [
    'S6',
    'a prompt runs twice',
    () => {
      const run = { comfyui: 'comfyui-a', promptId: 'p', startedMs: startMs, endedMs: undefined }
      return aRecording([], { prompts: [run, { ...run, comfyui: 'comfyui-b' }] })
    }
  ],
  [
    'S7',
    'a task stands in its queue and in a slot',
    () => {
      const l = ledger()
      const [first, second, third, last] = life(l)
      const back = l.raw(['ZADD', 'queue:default:n', '1', 'task_a'])
      return aRecording([first!, second!, back, l.raw(['ZREM', 'queue:default:n', 'task_a']), third!, last!])
    }
  ],
  [
    'S8',
    'a key makes two tasks',
    () => {
      const l = ledger()
      const two = [
        l.accepted('task_a', 0, 'k'),
        l.accepted('task_b', 1, 'k'),
        l.cancelled('task_a', 2),
        l.cancelled('task_b', 2)
      ]
      return aRecording(two)
    }
  ],
  [
    'S9',
    'a budget is overdrawn',
    () => {
      const l = ledger()
      const before = [
        l.accepted('task_a', 0),
        l.claimed('task_a', 'gpu-a', 'one', 10),
        l.lost('task_a', 'gpu-a', 30, 11)
      ]
      return aRecording([...before, l.cancelled('task_a', 40)])
    }
  ],
  [
    'S11',
    'a task is listed with another tenant',
    () => {
      const l = ledger()
      const [first, ...rest] = life(l)
      return aRecording([first!, l.raw(['ZADD', 'tasks:other', '0', 'task_a']), ...rest])
    }
  ],
  [
    'S11',
    'another tenant is shown a task',
    () => aRecording(life(ledger()), { calls: [aCall('trespass', 'task_a', 500)] })
  ],
  [
    'L1',
    'a task never ends',
    () => {
      const l = ledger()
      return aRecording([l.accepted('task_a', 0)])
    }
  ],
  [
    'L2',
    'the task of a killed node waits although another is idle',
    () => {
      const l = ledger()
      const before = [l.accepted('task_a', 0), l.claimed('task_a', 'gpu-a', 'one', 10), l.lost('task_a', 'gpu-a', 60)]
      const beats = Array.from({ length: 40 }, (_, i) => l.beat('gpu-b', 100 + i * 250))
      const late = 8_000
      const again = [l.claimed('task_a', 'gpu-b', 'two', late), l.succeeded('task_a', 'gpu-b', 'two', late + 900)]
      return aRecording([...before, ...beats.slice(0, 31), ...again], {
        faults: [aFault('kill-service', 'gpu-a', 50, late)]
      })
    }
  ],
  [
    'L3',
    'a node that is back does not register',
    () => {
      const lives = [aLife('gpu-a', 0, 1_000), aLife('gpu-a', 2_000)]
      return aRecording([], { lives, faults: [aFault('kill-service', 'gpu-a', 1_000, 2_100)] })
    }
  ],
  [
    'L4',
    'nobody sweeps when Redis is back',
    () => {
      const l = ledger()
      return aRecording([l.swept(0), l.swept(9_000)], { lives: [aLife('redis', -5_000, 1_000), aLife('redis', 1_500)] })
    }
  ],
  [
    'R1',
    'a task is accepted with memory full',
    () => {
      const l = ledger()
      const faults = [aFault('memory-full', 'redis', 0, 2_000)]
      return aRecording(life(l), { faults, calls: [aCall('post', 'task_a', 800)] })
    }
  ],
  [
    'R2',
    'a key is left for ever',
    () => {
      const leftKeys = [
        { name: '{chaos}:result:task_a', ttlMs: -1 },
        { name: '{chaos}:nodes', ttlMs: -1 }
      ]
      return aRecording([], { end: { healedMs: startMs, settledMs: startMs, leftKeys } })
    }
  ],
  [
    'R3',
    'a sweep leaves a slot whose lease is over',
    () => {
      const l = ledger()
      const [first, second, third, last] = life(l)
      return aRecording([first!, second!, third!, l.swept(timers.leaseMs + 100), last!])
    }
  ]
]

t.test('every rule has a check that notices when it is broken, and only then', async t => {
  t.same(broken(aRecording(life(ledger()))), [], 'an ordinary life breaks no rule')
  for (const [rule, what, recording] of planted) t.same(broken(recording()), [rule], `${rule}: ${what}`)
})

t.test('the append-only file is read up to its last whole step', async t => {
  const text =
    '#TS:1700000000\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nEXEC\r\n'
  const whole = [{ second: 1_700_000_000, commands: [['SET', 'a', '\r\n']] }]
  t.same(parseTransactions(Buffer.from(text)), whole)
  t.same(parseTransactions(Buffer.from(`${text}*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$9\r\ncut`)), whole)
  t.throws(() => parseTransactions(Buffer.from('REDIS0011\r\n')), /append-only file/)
})

t.test('a plan follows from its seed, and has at least 60 faults of all kinds in 90 seconds', async t => {
  t.same(planFaults(7, 90), planFaults(7, 90))
  t.notSame(planFaults(7, 90), planFaults(8, 90))
  t.ok(planFaults(7, 90).length >= 60)
  t.same(new Set(planFaults(7, 90).map(({ kind }) => kind)), new Set(faultKinds))
})

t.test('one seed, 45 seconds of faults: no promise is broken', async t => {
  const run = { seed: 4, seconds: 45, mutant: undefined }
  const options = {
    ...run,
    plan: planFaults(run.seed, run.seconds),
    folder: join(folder, 'seed'),
    say: () => undefined
  }
  const { mutant: _, ...rest } = options
  const recording = await runChaos(rest)
  const violations = findViolations(recording)
  t.comment(summary(run, recording, violations))
  t.same(
    violations.filter(({ rule }) => !isTimed.test(rule)),
    []
  )
  t.ok(recording.faults.length >= 30, `${recording.faults.length} faults`)
  t.ok(staleRefusals(recording.log).length >= 5, `${staleRefusals(recording.log).length} stale writes refused`)
})

t.test('a ledger without one of its protections is found out', async t => {
  for (const mutant of mutantNames) {
    const options = { mutant, seed: 1, seconds: 60, folder: join(folder, mutant), say: () => undefined }
    const rules = findViolations(await runMutant(options)).map(({ rule }) => rule)
    t.ok(rules.length > 0, `${mutant}: ${rules.join(', ')}`)
  }
})
