import t from 'tap'
import { type Assignment, assign, type Candidate, type NodeView, type Situation } from '../src/policy.ts'
import {
  aBusyNode,
  aCapability,
  aLearned,
  aNeed,
  aNode,
  aSituation,
  aTask,
  holding,
  nowMs,
  seeded
} from './builders.ts'
import { type Arrival, type Run, runFleet } from './virtual-fleet.ts'

/** Who got what, as `node←task`, sorted. */
const placed = (chosen: readonly Assignment[]): string[] => chosen.map(({ node, task }) => `${node}←${task}`).sort()
const place = (nodes: NodeView[], tasks: Candidate[], more: Partial<Situation> = {}): string[] =>
  placed(assign(aSituation(nodes, tasks, more)))

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const seeds = range(100)
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? 0

t.test('a node that may not run a task never gets it', async t => {
  const small = { vramTotalBytes: 8e9 }
  const large = { vramTotalBytes: 24e9 }
  const cases: { name: string; nodes: NodeView[]; task?: Partial<Candidate>; chosen: string[] }[] = [
    { name: 'a capable node gets it', nodes: [aNode('n1')], chosen: ['n1←t'] },
    { name: 'no node', nodes: [], chosen: [] },
    { name: 'unavailable', nodes: [aNode('n1', { available: false })], chosen: [] },
    { name: 'occupied', nodes: [aBusyNode('n1', 'A', 5)], chosen: [] },
    { name: 'without the label', nodes: [aNode('n1')], task: { need: aNeed('A', { gpu: 'L4' }) }, chosen: [] },
    {
      name: 'with another value of the label',
      nodes: [aNode('n1', { labels: { gpu: 'T4' } }), aNode('n2', { labels: { gpu: 'L4' } })],
      task: { need: aNeed('A', { gpu: 'L4' }) },
      chosen: ['n2←t']
    },
    {
      name: 'without the class',
      nodes: [aNode('n1')],
      task: { need: { ...aNeed('A'), classes: ['Upscale'] } },
      chosen: []
    },
    {
      name: 'without the model',
      nodes: [aNode('n1', { capability: aCapability(['B']) }), aNode('n2', { capability: aCapability(['A']) })],
      chosen: ['n2←t']
    },
    { name: 'without the model, alone', nodes: [aNode('n1', { capability: aCapability(['B']) })], chosen: [] },
    { name: 'too little VRAM beside enough', nodes: [aNode('n1', small), aNode('n2', large)], chosen: ['n2←t'] },
    { name: 'VRAM that it does not tell', nodes: [aNode('n1', small), aNode('n2')], chosen: ['n2←t'] },
    {
      name: 'too little VRAM while the one with enough is at work',
      nodes: [aNode('n1', small), aBusyNode('n2', 'A', 600, large)],
      chosen: []
    },
    {
      name: 'too little VRAM while the one with enough is away',
      nodes: [aNode('n1', small), aNode('n2', { ...large, available: false })],
      chosen: ['n1←t']
    },
    {
      name: 'VRAM that another node on the same GPU holds',
      nodes: [
        aNode('n1', { ...large, gpuUuid: 'gpu-1' }),
        aNode('n2', { ...large, gpuUuid: 'gpu-1', available: false, resident: holding('B', 'C') }),
        aNode('n3', { ...large, gpuUuid: 'gpu-2' })
      ],
      chosen: ['n3←t']
    },
    {
      name: 'VRAM that a node on the same GPU is about to fill',
      nodes: [
        aNode('n1', { vramTotalBytes: 18e9, gpuUuid: 'gpu-1' }),
        aBusyNode('n2', 'B', 500, { vramTotalBytes: 18e9, gpuUuid: 'gpu-1', resident: holding() }),
        aNode('n3', { vramTotalBytes: 18e9, gpuUuid: 'gpu-2' })
      ],
      chosen: ['n3←t']
    },
    {
      name: 'what others hold counts only on the same GPU',
      nodes: [aNode('n1', large), aNode('n2', { ...large, available: false, resident: holding('B', 'C') })],
      chosen: ['n1←t']
    },
    { name: 'too little VRAM everywhere', nodes: [aNode('n1', small)], chosen: ['n1←t'] },
    { name: 'avoided beside another', nodes: [aNode('n1'), aNode('n2')], task: { avoid: ['n1'] }, chosen: ['n2←t'] },
    {
      name: 'to be tried again where it was',
      nodes: [aNode('n1'), aNode('n2', { resident: holding('A') })],
      task: { stay: 'n1' },
      chosen: ['n1←t']
    },
    {
      name: 'to be tried again where it was, and that node is at work',
      nodes: [aBusyNode('n1', 'B', 5), aNode('n2')],
      task: { stay: 'n1' },
      chosen: []
    },
    {
      name: 'to be tried again where it was, and that node is away',
      nodes: [aNode('n1', { available: false }), aNode('n2')],
      task: { stay: 'n1' },
      chosen: ['n2←t']
    },
    {
      name: 'only with more VRAM than was too little',
      nodes: [aNode('n1', { vramTotalBytes: 24e9 }), aNode('n2', { vramTotalBytes: 48e9, utilization: 0.9 })],
      task: { vramAboveBytes: 24e9 },
      chosen: ['n2←t']
    },
    {
      name: 'too little VRAM everywhere for a task that ran out of it',
      nodes: [aNode('n1', { vramTotalBytes: 24e9 })],
      task: { vramAboveBytes: 24e9 },
      chosen: []
    },
    {
      name: 'avoided while the other is at work',
      nodes: [aNode('n1'), aBusyNode('n2', 'A', 600)],
      task: { avoid: ['n1'] },
      chosen: []
    },
    {
      name: 'avoided, and the other is away',
      nodes: [aNode('n1'), aNode('n2', { available: false })],
      task: { avoid: ['n1'] },
      chosen: ['n1←t']
    },
    {
      name: 'avoided, and the other cannot',
      nodes: [aNode('n1'), aNode('n2', { capability: aCapability(['B']) })],
      task: { avoid: ['n1'] },
      chosen: ['n1←t']
    }
  ]
  for (const { name, nodes, task, chosen } of cases) t.same(place(nodes, [aTask('t', 'A', task)]), chosen, name)
})

t.test('a burst spreads: eight equal tasks on four idle equal cold nodes, one each', async t => {
  for (const seed of seeds) {
    const nodes = range(4).map(i => aNode(`n${i}`))
    const tasks = range(8).map(i => aTask(`t${i}`, 'A'))
    const chosen = assign(aSituation(nodes, tasks, { random: seeded(seed) }))
    t.same(chosen.map(one => one.node).sort(), ['n0', 'n1', 'n2', 'n3'], `at once, seed ${seed}`)
    t.equal(new Set(chosen.map(one => one.task)).size, 4, 'four tasks')
  }
  for (const seed of seeds.slice(0, 20)) {
    for (const gapMs of [0, 1, 200]) {
      const nodes = range(4).map(i => ({ id: `n${i}`, secondsPerWork: 0.3 }))
      const arrivals = range(8).map(i => ({ id: `t${i}`, atMs: i * gapMs, model: 'A', work: 100 / 3 }))
      const runs = runFleet({ nodes, arrivals, loadSeconds: 30, random: seeded(seed) })
      const first = runs.slice(0, 4).map(run => run.node)
      t.same(first.sort(), ['n0', 'n1', 'n2', 'n3'], `${gapMs} ms apart, seed ${seed}`)
      t.ok(
        runs.slice(0, 4).every(run => run.claimedMs === run.atMs),
        'nobody waited while a node was idle'
      )
    }
  }
})

t.test('no more nodes than waiting tasks: as many equal cold nodes start as there are tasks', async t => {
  for (const count of [1, 2, 3, 4]) {
    const nodes = range(4).map(i => aNode(`n${i}`))
    t.equal(
      assign(
        aSituation(
          nodes,
          range(count).map(i => aTask(`t${i}`, 'A'))
        )
      ).length,
      count,
      `${count} tasks`
    )
  }
})

t.test('the guard leaves a node idle only for one that finishes the task sooner', async t => {
  const speeds = new Map([['A', aLearned(0, { fast: 0.3, slow: 3, mid: 0.6 })]])
  const running = (remainingSeconds: number) => aBusyNode('fast', 'A', remainingSeconds)
  const slow = aNode('slow', { resident: holding('A') })
  const warmBusy = (remainingSeconds: number) => aBusyNode('warm', 'A', remainingSeconds)
  const cases: {
    name: string
    nodes: NodeView[]
    tasks?: Candidate[]
    learned?: Situation['learned']
    waiting?: number
    chosen: string[]
  }[] = [
    { name: 'a slow GPU refuses what a fast one does sooner', nodes: [slow, running(20)], learned: speeds, chosen: [] },
    { name: 'and takes what it finishes first', nodes: [slow, running(100)], learned: speeds, chosen: ['slow←t'] },
    { name: 'a cold node lets a warm one finish', nodes: [aNode('cold'), warmBusy(5)], chosen: [] },
    { name: 'and takes it from one that has long to go', nodes: [aNode('cold'), warmBusy(30)], chosen: ['cold←t'] },
    { name: 'a clear gain only: predictions err', nodes: [aNode('cold'), warmBusy(9)], chosen: ['cold←t'] },
    {
      name: 'a task that is overdue needs as long again as it is late',
      nodes: [aNode('cold'), aBusyNode('warm', 'A', -60)],
      chosen: ['cold←t']
    },
    {
      name: 'a task that is a little overdue is about to end',
      nodes: [aNode('cold'), aBusyNode('warm', 'A', -1)],
      chosen: []
    },
    {
      name: 'a busy node that must load the model is no better',
      nodes: [aNode('cold'), aBusyNode('other', 'B', 5)],
      chosen: ['cold←t']
    },
    {
      name: 'what a busy node runs is what it will hold, not what its last heartbeat says',
      nodes: [aNode('cold'), aBusyNode('warm', 'A', 5, { resident: holding() })],
      chosen: []
    },
    {
      name: 'and what it held before is gone by then',
      nodes: [aNode('cold'), aBusyNode('other', 'B', 5, { resident: holding('A') })],
      chosen: ['cold←t']
    },
    {
      name: 'a busy node that cannot run it does not count',
      nodes: [aNode('cold'), aBusyNode('warm', 'A', 5, { capability: aCapability(['B']) })],
      chosen: ['cold←t']
    },
    {
      name: 'a busy node that drains does not count',
      nodes: [aNode('cold'), aBusyNode('warm', 'A', 5, { available: false })],
      chosen: ['cold←t']
    },
    {
      name: 'a busy node on which it failed does not count',
      nodes: [aNode('cold'), warmBusy(5)],
      tasks: [aTask('t', 'A', { avoid: ['warm'] })],
      chosen: ['cold←t']
    },
    {
      name: 'the tasks of that model ahead of it count',
      nodes: [aNode('cold'), warmBusy(0)],
      tasks: [aTask('t', 'A'), aTask('before', 'A', { ageSeconds: 1 })],
      chosen: ['cold←t']
    },
    {
      name: 'also those of another need with that model',
      nodes: [aNode('cold'), warmBusy(0)],
      tasks: [
        aTask('t', 'A'),
        aTask('before', 'A', { ageSeconds: 1, needId: 'A2', need: { ...aNeed('A'), classes: [] } })
      ],
      chosen: ['cold←t']
    },
    {
      name: 'also those accepted in the same millisecond',
      nodes: [aNode('cold'), warmBusy(0)],
      tasks: ['t1', 't2', 't3'].map(id => aTask(id, 'A')),
      waiting: 2,
      chosen: ['cold←t2']
    },
    {
      name: 'not those that come after it',
      nodes: [aNode('cold'), warmBusy(0)],
      tasks: [aTask('t', 'A', { ageSeconds: 2 }), aTask('after', 'A', { ageSeconds: 1, avoid: ['cold'] })],
      chosen: []
    },
    {
      name: 'off when more wait than it looks at',
      nodes: [aNode('cold'), warmBusy(1)],
      waiting: 65,
      chosen: ['cold←t']
    },
    {
      name: 'in a larger fleet when more wait than nodes are there: those that are away are not',
      nodes: [aNode('cold'), warmBusy(1), ...range(70).map(i => aNode(`away-${i}`, { available: false }))],
      waiting: 65,
      chosen: ['cold←t']
    },
    { name: 'on when as many wait', nodes: [aNode('cold'), warmBusy(1)], waiting: 64, chosen: [] },
    {
      name: 'on just before the task has waited for 120 s',
      nodes: [aNode('cold'), warmBusy(1)],
      tasks: [aTask('t', 'A', { ageSeconds: 119 })],
      chosen: []
    },
    {
      name: 'off after 120 s',
      nodes: [aNode('cold'), warmBusy(1)],
      tasks: [aTask('t', 'A', { ageSeconds: 120 })],
      chosen: ['cold←t']
    },
    {
      name: 'priority is no wait: a task with a head start of 300 s still lets the warm node finish',
      nodes: [aNode('cold'), warmBusy(1)],
      tasks: [aTask('t', 'A', { ageSeconds: 300, acceptedMs: nowMs })],
      chosen: []
    },
    {
      name: 'within one round too: the second task waits for the fast node that just got the first',
      nodes: [slow, aNode('fast', { resident: holding('A') })],
      tasks: [aTask('t1', 'A', { ageSeconds: 1 }), aTask('t2', 'A')],
      learned: speeds,
      chosen: ['fast←t1']
    },
    {
      name: 'within one round too: the second task waits for the warm node that just got the first',
      nodes: [aNode('cold'), aNode('warm', { resident: holding('A') })],
      tasks: [aTask('t1', 'A', { ageSeconds: 1 }), aTask('t2', 'A')],
      learned: new Map([['A', aLearned(60, {}, 0.3)]]),
      chosen: ['warm←t1']
    }
  ]
  for (const { name, nodes, tasks = [aTask('t', 'A')], learned = new Map(), waiting, chosen } of cases) {
    t.same(place(nodes, tasks, { learned, waiting: waiting ?? tasks.length }), chosen, name)
  }
})

t.test('tasks go to the nodes that hold their models', async t => {
  for (const seed of seeds.slice(0, 30)) {
    for (const ages of [
      [0, 0],
      [0, 50],
      [50, 0]
    ] as const) {
      const nodes = [aNode('has-A', { resident: holding('A') }), aNode('has-B', { resident: holding('B') })]
      const tasks = [aTask('a', 'A', { ageSeconds: ages[0] }), aTask('b', 'B', { ageSeconds: ages[1] })]
      const chosen = assign(aSituation(nodes, tasks, { random: seeded(seed) }))
      t.same(placed(chosen), ['has-A←a', 'has-B←b'], `ages ${ages}, seed ${seed}`)
      t.ok(
        chosen.every(one => one.predicted.loadSeconds === 0),
        'nothing is loaded'
      )
    }
  }
  const arrivals = range(400).map(i => ({ id: `t${i}`, atMs: i * 2_800, model: 'ABCD'[i % 4]!, work: 100 / 3 }))
  const nodes = range(4).map(i => ({ id: `n${i}`, secondsPerWork: 0.3 }))
  const runs = runFleet({ nodes, arrivals, loadSeconds: 20, random: seeded(3) })
  const loads = runs.filter(run => run.loaded).length
  t.equal(loads, 4, 'four models on four nodes at 90 % load: each is loaded once in 400 tasks')
})

t.test('short work goes first, aged by ratio, the older of equals first', async t => {
  const long = { work: 1_000 }
  const cases: [string, Candidate[], string[]][] = [
    ['the short one of the same age', [aTask('long', 'A', long), aTask('short', 'A')], ['n1←short']],
    [
      'the long one when its wait is the larger multiple',
      [aTask('long', 'A', { ...long, ageSeconds: 3_000 }), aTask('short', 'A', { ageSeconds: 20 })],
      ['n1←long']
    ],
    [
      'the short one when its wait is the larger multiple',
      [aTask('long', 'A', { ...long, ageSeconds: 3_000 }), aTask('short', 'A', { ageSeconds: 300 })],
      ['n1←short']
    ],
    ['the older of equals', [aTask('young', 'A', { ageSeconds: 1 }), aTask('old', 'A', { ageSeconds: 2 })], ['n1←old']]
  ]
  const warm = aNode('n1', { resident: holding('A') })
  for (const [name, tasks, chosen] of cases) t.same(place([warm], tasks), chosen, name)
  for (const seed of seeds.slice(0, 30)) {
    const tasks = range(30).map(i => aTask(`t${i}`, 'A', { ageSeconds: 600 - i / 100 }))
    t.same(place([aNode('n1')], tasks.toReversed(), { random: seeded(seed) }), ['n1←t0'], `first come, seed ${seed}`)
  }
})

t.test('ties go to the lower VRAM share, then the lower utilisation, then by lot', async t => {
  const gpu = (id: string, used: number, utilization: number, total = 10e9) =>
    aNode(id, { vramTotalBytes: total, vramUsedBytes: used, utilization })
  const tasks = [aTask('t', 'D')]
  const cases: [string, NodeView[], string[]][] = [
    ['VRAM share', [gpu('n1', 4e9, 0), gpu('n2', 2e9, 0.9)], ['n2←t']],
    ['a share, not bytes', [gpu('n1', 4e9, 0), gpu('n2', 6e9, 0, 40e9)], ['n2←t']],
    ['utilisation at the same share', [gpu('n1', 4e9, 0.5), gpu('n2', 4e9, 0.1)], ['n2←t']],
    [
      'prediction before VRAM',
      [gpu('n1', 0, 0), gpu('n2', 9e9, 1)].map((n, i) => (i ? { ...n, resident: holding('D') } : n)),
      ['n2←t']
    ],
    ['a strained node last', [aNode('n1', { strained: true, resident: holding('D') }), aNode('n2')], ['n2←t']],
    ['a strained node rather than none', [aNode('n1', { strained: true })], ['n1←t']]
  ]
  for (const [name, nodes, chosen] of cases) t.same(place(nodes, tasks), chosen, name)
  const pair = [gpu('n1', 4e9, 0.3), gpu('n2', 4e9, 0.3)]
  const drawn = seeds.map(seed => place(pair, tasks, { random: seeded(seed) })[0])
  for (const wanted of ['n1←t', 'n2←t']) {
    const share = drawn.filter(one => one === wanted).length / seeds.length
    t.ok(share > 0.3, `${wanted} in ${share} of the draws`)
  }
})

t.test('the tenant that was served least goes first, and may be overtaken only within bounds', async t => {
  const flows = (light: number, heavy: number, overtaken = 0) =>
    new Map([
      ['light', { start: light, overtaken }],
      ['heavy', { start: heavy, overtaken: 0 }]
    ])
  const atWork = ['n2', 'n3', 'n4'].map(id => aBusyNode(id, 'C', 500))
  const warm = aNode('warm', { resident: holding('A') })
  const light = aTask('light', 'B', { tenant: 'light' })
  const heavy = aTask('heavy', 'A', { tenant: 'heavy', ageSeconds: 500 })
  const several = (count: number) =>
    range(count).map(i => aTask(`light-${i}`, 'B', { tenant: 'light', ageSeconds: (count - i) / 100 }))
  const cases: [string, NodeView[], Candidate[], Situation['flows'], string[], string[]][] = [
    ['without residency the least served', [aNode('n1')], [heavy, light], flows(5, 6), ['n1←light'], []],
    [
      'a tenant that is not in the flows was never served',
      [aNode('n1')],
      [heavy, light],
      new Map([['heavy', { start: 1, overtaken: 0 }]]),
      ['n1←light'],
      []
    ],
    ['a resident model within the credit', [warm], [heavy, light], flows(0, 100), ['warm←heavy'], ['light']],
    ['not beyond ten loads', [warm], [heavy, light], flows(0, 101), ['warm←light'], []],
    ['not for the second time on a single node', [warm], [heavy, light], flows(0, 5, 1), ['warm←light'], []],
    ['as often as it has tasks', [warm], [heavy, ...several(2)], flows(0, 5, 1), ['warm←heavy'], ['light']],
    ['and no oftener', [warm], [heavy, ...several(2)], flows(0, 5, 2), ['warm←light-0'], []],
    ['as often as half of the nodes', [warm, ...atWork], [heavy, light], flows(0, 5, 1), ['warm←heavy'], ['light']],
    ['and no oftener than that', [warm, ...atWork], [heavy, light], flows(0, 5, 2), ['warm←light'], []],
    ['for the eighth time', [warm], [heavy, ...several(9)], flows(0, 5, 7), ['warm←heavy'], ['light']],
    ['not for the ninth time', [warm], [heavy, ...several(9)], flows(0, 5, 8), ['warm←light-0'], []],
    [
      'not where the due task needs no load either',
      [aNode('n1', { resident: holding('A', 'B') })],
      [heavy, light],
      flows(0, 5),
      ['n1←light'],
      []
    ],
    [
      'not for a task without models',
      [warm],
      [aTask('heavy', 'none', { tenant: 'heavy', need: aNeed() }), light],
      flows(0, 5),
      ['warm←light'],
      []
    ],
    [
      'the overtaken one still gets the other node',
      [warm, aNode('z', { resident: holding('B') })],
      [heavy, light],
      flows(0, 5),
      ['warm←heavy', 'z←light'],
      []
    ]
  ]
  for (const [name, nodes, tasks, starts, chosen, overtaken] of cases) {
    const found = assign(aSituation(nodes, tasks, { flows: starts, waiting: 9 }))
    t.same(placed(found), chosen, name)
    t.same(
      found.flatMap(one => one.overtakes),
      overtaken,
      `${name}: overtaken`
    )
  }
  const warmNodes = range(20).map(i => aNode(`n${i}`, { resident: holding('A') }))
  const queue = range(40).map(i => aTask(`h${i}`, 'A', { tenant: 'heavy', work: 1 }))
  const round = assign(aSituation(warmNodes, [...queue, light], { flows: flows(0, 0.1, 5) }))
  const before = round.findIndex(one => one.task === 'light')
  t.equal(before, 3, 'overtakings are counted within a round as well')
})

t.test('a light tenant beside one with 1,000 queued waits for about two mean task times', async t => {
  for (const { nodes, models } of [
    { nodes: 1, models: ['A', 'A'] },
    { nodes: 4, models: ['A', 'A'] },
    { nodes: 4, models: ['A', 'B'] },
    { nodes: 8, models: ['A', 'B'] }
  ]) {
    const heavy = range(1_000).map(i => ({ id: `h${i}`, atMs: 0, model: models[0]!, work: 100 / 3, tenant: 'heavy' }))
    const light = range(40).map(i => ({
      id: `l${i}`,
      atMs: 20_000 + i * 33_000,
      model: models[1]!,
      work: 100 / 3,
      tenant: 'light'
    }))
    const runs = runFleet({
      nodes: range(nodes).map(i => ({ id: `n${i}`, secondsPerWork: 0.3, resident: 'A' })),
      arrivals: [...heavy, ...light],
      loadSeconds: 20,
      random: seeded(5)
    })
    const served = runs.filter(run => run.tenant === 'light')
    const p95 = percentile(served.map(waitSeconds), 0.95)
    const task = mean(served.map(run => (run.endedMs - run.claimedMs) / 1000))
    const words = `p95 of the wait is ${p95.toFixed(1)} s, a task takes ${task.toFixed(1)} s`
    t.ok(p95 <= 2 * task, `${nodes} nodes, models ${models}: ${words}`)
  }
})

t.test('tenants are served by weight: three to one where both have enough', async t => {
  const runs = runFleet({
    nodes: range(4).map(i => ({ id: `n${i}`, secondsPerWork: 0.3, resident: 'A' })),
    arrivals: ['triple', 'single'].flatMap(tenant =>
      range(400).map(i => ({ id: `${tenant}${i}`, atMs: 0, model: 'A', work: 100 / 3, tenant }))
    ),
    loadSeconds: 20,
    weights: { triple: 3 },
    random: seeded(6)
  })
  for (const some of [runs.slice(0, 100), runs.slice(100, 400)]) {
    const share = some.filter(run => run.tenant === 'triple').length / some.length
    t.ok(Math.abs(share - 0.75) <= 0.03, `${share} of the GPUs`)
  }
})

const waitSeconds = (run: Run): number => (run.claimedMs - run.atMs) / 1000

t.test('nothing starves: every task of a long, full run is served in proportion to its own length', async t => {
  const random = seeded(11)
  const arrivals: Arrival[] = range(3_000).map(i => ({
    id: `t${i}`,
    atMs: i * 5_500 + Math.floor(random() * 2_000),
    model: 'ABCD'[Math.floor(random() ** 2 * 4)]!,
    work: random() < 0.05 ? 400 : 10 + 30 * random(),
    tenant: `tenant-${Math.floor(random() ** 2 * 3)}`
  }))
  const nodes = range(4).map(i => ({ id: `n${i}`, secondsPerWork: i === 3 ? 0.6 : 0.3 }))
  const runs = runFleet({ nodes, arrivals, loadSeconds: 10, random })
  t.equal(new Set(runs.map(run => run.id)).size, arrivals.length, 'every task ran, each once')
  const ratios = runs.map(run => waitSeconds(run) / ((run.endedMs - run.claimedMs) / 1000))
  const worst = Math.max(...ratios)
  t.ok(worst < 40, `the longest wait was ${worst.toFixed(1)} times the task's own length`)
  const long = runs.filter(run => run.work === 400).map(waitSeconds)
  t.ok(
    Math.max(...long) < 3_600,
    `long tasks waited ${mean(long).toFixed(0)} s, at most ${Math.max(...long).toFixed(0)} s`
  )
})

t.test(
  'nothing starves in overload either: long and short tasks wait multiples of their length that are alike',
  async t => {
    const arrivals = range(1_000).map(i => ({
      id: `t${i}`,
      atMs: i * 3_000,
      model: 'A',
      work: i % 10 === 0 ? 200 : 20
    }))
    const nodes = range(2).map(i => ({ id: `n${i}`, secondsPerWork: 0.3 }))
    const runs = runFleet({ nodes, arrivals, loadSeconds: 10, random: seeded(13) })
    const ratiosOf = (work: number) =>
      runs.filter(run => run.work === work && run.atMs < 1_500_000).map(run => waitSeconds(run) / (work * 0.3))
    const [long, short] = [Math.max(...ratiosOf(200)), Math.max(...ratiosOf(20))]
    t.equal(runs.length, arrivals.length)
    t.ok(long > 2 && long < 2 * short && short < 2 * long, `long ${long.toFixed(1)}, short ${short.toFixed(1)} times`)
  }
)

/** Seconds until a node has finished a task: exact, since the virtual fleet's predictions are. */
const finishSeconds = (node: NodeView, task: Candidate, { learned }: Situation): number => {
  const stats = learned.get(task.needId)!
  const { attempt, resident } = node
  const held = attempt ? attempt.need.models.map(choice => choice.value) : [...resident]
  const loadSeconds = task.need.models.every(choice => held.includes(choice.value)) ? 0 : stats.load.fleet!
  const remaining = attempt ? Math.max(0, attempt.predictedSeconds - attempt.elapsedSeconds) : 0
  return remaining + loadSeconds + stats.execution.byNode.get(node.id)! * task.work
}

t.test('no GPU idles while work waits that it would finish sooner than any other', async t => {
  for (const seed of [21, 22, 23]) {
    const random = seeded(seed)
    const arrivals: Arrival[] = range(400).map(i => ({
      id: `t${i}`,
      atMs: Math.floor(i * 4_000 + random() * 3_000),
      model: 'AB'[Math.floor(random() * 2)]!,
      work: 10 + 60 * random(),
      headStartMs: 300_000
    }))
    const nodes = [0.2, 0.3, 0.3, 1.5].map((secondsPerWork, i) => ({ id: `n${i}`, secondsPerWork }))
    let idle = 0
    const wrong: string[] = []
    const onRound = (situation: Situation, chosen: readonly Assignment[]): void => {
      const taken = new Map(chosen.map(one => [one.node, one]))
      const left = situation.candidates.filter(task => !chosen.some(one => one.task === task.id))
      const after = situation.nodes.map(node => afterClaim(node, taken.get(node.id), situation))
      for (const node of after.filter(one => !one.attempt)) {
        for (const task of left) {
          idle++
          const others = after.filter(other => other.attempt)
          const best = Math.min(...others.map(other => finishSeconds(other, task, situation)))
          if (best >= finishSeconds(node, task, situation)) wrong.push(`${node.id} idle beside ${task.id}`)
        }
      }
    }
    const runs = runFleet({ nodes, arrivals, loadSeconds: 15, random, onRound })
    t.same(wrong, [], `seed ${seed}: ${idle} times a node was left idle, each for a better one`)
    t.ok(idle > 0, 'the guard was at work')
    t.equal(runs.length, arrivals.length)
  }
})

const afterClaim = (node: NodeView, chosen: Assignment | undefined, { candidates }: Situation): NodeView => {
  const task = candidates.find(one => one.id === chosen?.task)
  if (!chosen || !task) return node
  const predictedSeconds = chosen.predicted.loadSeconds + chosen.predicted.executionSeconds
  return { ...node, attempt: { need: task.need, elapsedSeconds: 0, predictedSeconds } }
}

t.test('a choice explains itself: prediction, score and the runner-up', async t => {
  const learned = new Map([['A', aLearned(8, { n1: 0.1, n2: 0.2, n3: 0.4 })]])
  const nodes = [aNode('n3', { resident: holding('A') }), aNode('n2'), aNode('n1')]
  t.same(assign(aSituation(nodes, [aTask('t', 'A', { work: 100, ageSeconds: 36 })], { learned })), [
    {
      node: 'n1',
      task: 't',
      predicted: { loadSeconds: 8, executionSeconds: 10 },
      score: (36 + 10 / 4) / (10 + 32 * 8 * 4),
      runnerUp: { node: 'n2', seconds: 28 },
      overtakes: []
    }
  ])
  t.equal(assign(aSituation([aNode('n1')], [aTask('t', 'A')]))[0]?.runnerUp, undefined, 'alone it has none')
})

t.test(
  'for any situation: one task a node, one node a task, nothing unfit, and the same again for the same draws',
  async t => {
    const wrong: string[] = []
    for (const seed of range(500)) {
      const situation = aRandomSituation(seed)
      const chosen = assign({ ...situation, random: seeded(seed) })
      wrong.push(...faultsOf(situation, chosen).map(fault => `seed ${seed}: ${fault}`))
      const again = assign({ ...situation, random: seeded(seed) })
      if (JSON.stringify(again) !== JSON.stringify(chosen))
        wrong.push(`seed ${seed}: another answer to the same question`)
    }
    t.same(wrong, [])
  }
)

const aRandomSituation = (seed: number): Situation => {
  const random = seeded(seed + 1_000)
  const upTo = (limit: number) => Math.floor(random() * limit)
  const chance = (share: number) => random() < share
  const model = () => 'ABCD'[upTo(4)]!
  const nodes = range(upTo(8)).map(i => {
    const shape = {
      available: chance(0.8),
      strained: chance(0.1),
      labels: chance(0.5) ? { gpu: 'L4' } : { gpu: 'T4' },
      capability: chance(0.7) ? aCapability() : aCapability(['A', 'B']),
      vramTotalBytes: chance(0.5) ? 8e9 * (1 + upTo(3)) : undefined,
      vramUsedBytes: upTo(8) * 1e9,
      utilization: chance(0.5) ? random() : undefined
    }
    if (chance(0.3)) return aBusyNode(`n${i}`, model(), upTo(60), shape)
    return aNode(`n${i}`, { ...shape, resident: chance(0.5) ? holding(model()) : holding() })
  })
  const candidates = range(upTo(24)).map(i => {
    const name = model()
    const labels = chance(0.3) ? { gpu: 'L4' } : undefined
    return aTask(`t${i}`, name, {
      needId: `${name}${labels ? '-L4' : ''}`,
      need: aNeed(name, labels),
      tenant: `tenant-${upTo(3)}`,
      ageSeconds: upTo(300),
      work: 1 + upTo(200),
      avoid: chance(0.2) ? [`n${upTo(8)}`] : []
    })
  })
  const flows = new Map(range(3).map(i => [`tenant-${i}`, { start: upTo(200), overtaken: upTo(10) }]))
  return aSituation(nodes, candidates, { flows, waiting: candidates.length + (chance(0.3) ? 100 : 0) })
}

const faultsOf = ({ nodes, candidates, flows }: Situation, chosen: readonly Assignment[]): string[] => {
  const faults: string[] = []
  const overtaken = new Map([...flows].map(([tenant, flow]) => [tenant, flow.overtaken]))
  if (new Set(chosen.map(one => one.node)).size < chosen.length) faults.push('a node got two tasks')
  if (new Set(chosen.map(one => one.task)).size < chosen.length) faults.push('a task got two nodes')
  for (const { node: id, task: taskId, score, predicted, runnerUp, overtakes } of chosen) {
    const node = nodes.find(one => one.id === id)!
    const task = candidates.find(one => one.id === taskId)!
    if (!node.available || node.attempt) faults.push(`${id} was not free`)
    const able = (one: NodeView) =>
      one.available &&
      task.need.models.every(choice => one.capability.spelling(choice) !== undefined) &&
      (task.need.labels.gpu === undefined || one.labels.gpu === task.need.labels.gpu)
    if (!able(node)) faults.push(`${id} cannot run ${taskId}`)
    const roomy = nodes.filter(one => able(one) && (one.vramTotalBytes ?? Infinity) >= 10e9)
    if (roomy.length > 0 && !roomy.includes(node)) faults.push(`${id} is too small for ${taskId}`)
    const fit = roomy.length > 0 ? roomy : nodes.filter(able)
    if (task.avoid.includes(id) && fit.some(one => !task.avoid.includes(one.id))) faults.push(`${id} was to be avoided`)
    if (!(score > 0) || !(predicted.loadSeconds >= 0) || !(predicted.executionSeconds > 0)) faults.push('odd figures')
    if (runnerUp?.node === id) faults.push('the runner-up is the winner')
    if (overtakes.some(tenant => tenant === task.tenant || (overtaken.get(tenant) ?? 0) >= 8)) {
      faults.push('an overtaking that was not allowed')
    }
    overtaken.set(task.tenant, 0)
    for (const tenant of overtakes) overtaken.set(tenant, (overtaken.get(tenant) ?? 0) + 1)
  }
  return faults
}

t.test(
  'a full look costs no more than two predictions a pair, however many nodes and candidates there are',
  async t => {
    let predictions = 0
    const capability = aCapability()
    const counted = {
      ...capability,
      modelBytes: (model: string) => {
        predictions += 1
        return capability.modelBytes(model)
      }
    }
    const more = { capability: counted }
    const tasks = (count: number) =>
      range(count).map(i =>
        aTask(`t${i}`, 'ABCD'[i % 4]!, { tenant: `x${i % 8}`, ageSeconds: i / 100, work: 5 + (i % 16) })
      )
    const idle = range(50).map(i => aNode(`n${i}`, more))
    const mixed = range(100).map(i => (i % 2 ? aNode(`n${i}`, more) : aBusyNode(`n${i}`, 'A', 30, more)))
    const cases: [string, NodeView[], Candidate[]][] = [
      ['50 idle nodes, 2,000 candidates', idle, tasks(2_000)],
      ['50 idle of 100 nodes, 100 waiting: the guard looks at every pair', mixed, tasks(100)]
    ]
    for (const [name, nodes, candidates] of cases) {
      predictions = 0
      t.ok(assign(aSituation(nodes, candidates)).length > 0)
      const asksPerPrediction = 2
      const pairs = nodes.length * candidates.length
      t.ok(predictions <= 2 * asksPerPrediction * pairs, `${name}: ${predictions} for ${pairs} pairs`)
    }
  }
)
