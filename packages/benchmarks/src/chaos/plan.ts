import { type FaultKind, faultKinds, type PlannedFault } from './faults/fault.ts'
import { between, type Random, randomFrom, shuffled } from './random.ts'

const stale: readonly FaultKind[] = ['freeze-service-past-lease', 'silence-service-past-lease']
/** Once in a run: they concern everything, or take long. */
const rare: readonly FaultKind[] = ['memory-full', 'rolling-restart', 'kill-redis', 'kill-redis']
/** Dealt twice: a good part of them coincides with other faults, and says nothing about punctuality then. */
const oftener: readonly FaultKind[] = ['kill-service']
const firstMs = 1_500
const staleEveryMs = 2_800
const otherEveryMs = 1_650

const lengths: Partial<Record<FaultKind, readonly [number, number]>> = {
  'kill-service': [200, 2_500],
  'kill-redis': [200, 1_200],
  'freeze-balancer': [800, 4_000],
  'freeze-comfyui': [800, 4_000],
  'partition-half': [800, 3_500],
  latency: [1_500, 4_000],
  'comfyui-silent-websocket': [2_000, 4_000],
  'memory-full': [2_500, 2_500],
  'black-hole': [1_500, 3_500]
}
const ordinary = [300, 1_500] as const

/** The faults of a run: a function of seed and length alone. Those that make stale completions come steadily, the others in rounds of all kinds. */
export const planFaults = (seed: number, seconds: number): PlannedFault[] => {
  const random = randomFrom(seed)
  const endMs = seconds * 1_000
  const planned: PlannedFault[] = []
  const add = (kind: FaultKind, atMs: number): void => {
    const [least, most] = lengths[kind] ?? ordinary
    planned.push({ kind, atMs: Math.round(atMs), pick: random(), forMs: between(random, least, most) })
  }
  for (let i = 0, atMs = firstMs; atMs < endMs; i++, atMs += staleEveryMs * (0.9 + random() * 0.2)) {
    add(stale[i % stale.length]!, atMs)
  }
  const kinds = deck(random)
  for (let i = 0, atMs = firstMs; atMs < endMs; i++, atMs += otherEveryMs * (0.8 + random() * 0.4)) {
    add(kinds(i), atMs)
  }
  for (const kind of rare) add(kind, endMs * (0.15 + 0.6 * random()))
  return planned.toSorted((a, b) => a.atMs - b.atMs)
}

/** Deals all kinds in a shuffled order, again and again. */
const deck = (random: Random): ((index: number) => FaultKind) => {
  const kinds = [...faultKinds.filter(kind => !stale.includes(kind) && !rare.includes(kind)), ...oftener]
  let cards: FaultKind[] = []
  return () => {
    if (cards.length === 0) cards = shuffled(random, kinds)
    return cards.pop()!
  }
}
