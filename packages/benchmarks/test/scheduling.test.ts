import type { VirtualJob } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import { VirtualNode } from '@comfy-balancer/domain/virtual-fleet/virtual-node'
import t from 'tap'
import { boundsOf } from '../src/scheduling/bounds.ts'
import { measure, sojourns } from '../src/scheduling/measures.ts'
import { ours, ruleNames, runBy } from '../src/scheduling/rules.ts'
import { equal, offered, scenarios } from '../src/scheduling/scenarios.ts'
import { heavySizes } from '../src/scheduling/traces.ts'

const fifo = 'central FIFO'
const residentFirst = 'oldest of the resident model'

t.test('no rule is better than the bounds, every job ends once, and a seed gives the same again', async t => {
  const scenario = offered({ models: 6, load: 0.6, jobs: 200 })(1)
  const bounds = boundsOf(scenario)
  for (const rule of ruleNames) {
    const runs = runBy(rule, scenario, 1)
    const seconds = sojourns(runs)
    const mean = seconds.reduce((sum, one) => sum + one, 0) / seconds.length
    t.equal(new Set(runs.map(run => run.id)).size, 200, `${rule}: every job, once`)
    t.ok(mean >= bounds.meanSojourn, `${rule}: mean ${mean}, bound ${bounds.meanSojourn}`)
    t.ok(Math.max(...runs.map(run => run.endedMs)) / 1000 >= bounds.makespan, `${rule}: makespan`)
    t.same(runBy(rule, scenario, 1), runs, `${rule}: the same again`)
  }
})

t.test('the bound of the mean is that of a fluid GPU, sharpened by own times', async t => {
  const job = { model: 'A', work: 1 }
  const jobs = [10, 20].map((seconds, i) => ({ ...job, id: `t${i}`, atMs: 0, seconds }))
  const onOne = boundsOf({ gpus: [{ id: 'a', speed: 1, holds: ['A'] }], jobs, loadSeconds: () => 5 })
  t.equal(onOne.meanSojourn, 20, 'one GPU: 10 s and 30 s')
  t.equal(onOne.makespan, 30)
  const onTwo = boundsOf({ gpus: equal.slice(0, 2), jobs, loadSeconds: () => 5 })
  t.equal(onTwo.meanSojourn, 15, 'two: both at once')
  t.equal(onTwo.makespan, 20, 'the longer one')
})

t.test('the policy is better than FIFO, and than residency first, where it claims to be', async t => {
  const [many, heavy, backlog] = [scenarios['6 models .8'], scenarios['heavy tail .7'], scenarios['backlog, unequal']]
  const mean = (rule: string, scenario: typeof many) => measure(rule, scenario, [1]).meanOverBound
  t.ok(mean(ours, many) < mean(residentFirst, many), 'six models, load .8')
  t.ok(mean(ours, heavy) < mean(fifo, heavy), 'heavy tail')
  t.ok(measure(ours, backlog, [1]).makespanOverBound < 1.06, 'makespan of a backlog on unequal GPUs')
  t.ok(measure(fifo, backlog, [1]).makespanOverBound > 1.3, 'FIFO loads again and again')
})

t.test('a light tenant waits for less than two tasks, and no crash loses a task', async t => {
  t.ok(measure(ours, scenarios.tenants, [1, 2, 3]).lightP95OverTask < 2)
  t.ok(measure(fifo, scenarios.tenants, [1]).lightP95OverTask > 20, 'FIFO lets it wait for all')
  t.equal(measure(ours, scenarios['crashes .6'], [1]).lost, 0)
  t.ok(measure(fifo, scenarios['crashes .6'], [1]).lost > 0, 'who keeps no ledger loses some')
})

t.test('sizes that nobody told are learned where a graph comes again', async t => {
  const graphs = (jobs: VirtualJob[]) =>
    jobs.map((job, i) => ({ ...job, graph: `graph-${i % 20}`, seconds: jobs[i % 20]!.seconds }))
  const known = offered({ models: 1, load: 0.7, sigma: 'withheld', sizes: heavySizes(100), change: graphs })
  const unknown: typeof known = seed => {
    const { jobs, ...scenario } = known(seed)
    return { ...scenario, jobs: jobs.map(({ graph: _, ...job }) => job) }
  }
  const mean = (scenario: typeof known) => measure(ours, scenario, [1, 2]).meanOverBound
  t.ok(mean(known) < 0.95 * mean(unknown), `${mean(known)} instead of ${mean(unknown)}`)
})

t.test(
  'models leave a virtual GPU in order of last use until the next one fits, and the policy uses all that it holds',
  async t => {
    const bytes: Record<string, number> = { A: 6e9, B: 4e9, C: 8e9 }
    const models = { loadSeconds: (model: string) => bytes[model]! / 1e9, modelBytes: (model: string) => bytes[model]! }
    const node = new VirtualNode({ id: 'gpu', speed: 1, vramBytes: 12e9 }, models)
    const held = [...'ABAC'].map((model, i) => {
      node.queue.push({ id: `t${i}`, atMs: 0, model, seconds: 1, work: 1 })
      const loadMs = node.begin(0)?.loadMs
      node.attempt = undefined
      return [loadMs, node.resident.join('')]
    })
    t.same(held, [
      [6_000, 'A'],
      [4_000, 'AB'],
      [0, 'BA'],
      [8_000, 'C']
    ])
    const several = scenarios['12-48 GB .9']
    t.ok(measure(ours, several, [1]).meanOverBound < measure(residentFirst, several, [1]).meanOverBound)
  }
)
