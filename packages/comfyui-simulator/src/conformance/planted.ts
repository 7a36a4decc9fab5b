import { type DeviationName, deviationNames } from '../faults/deviation.ts'
import { conform } from './conformance.ts'
import type { Judgement } from './judge.ts'
import type { Recording } from './recordings.ts'

/** How many scenarios match with and without a planted deviation, among those that it can affect. */
export interface PlantedResult {
  deviation: DeviationName
  total: number
  matchedWithout: number
  matched: number
  /** The judgements of those that no longer match. */
  noticed: Judgement[]
}

/** The scenarios that a deviation can affect, as far as they do not need others before them. */
const affected: Record<DeviationName, string[]> = {
  'no-terminal-executing': ['01-success', '03-partially-cached', '08a-runtime-error', '27-execution-blocker'],
  'wrong-error-type': ['16-validation-errors'],
  'late-history': ['01-success', '08a-runtime-error', '30-batch', '39-history-race'],
  'broadcast-to-wrong-client': ['01-success', '29-multi-output', '30-batch', '38-two-clients'],
  'interrupt-hits-wrong-prompt': ['12-interrupt-wrong-id']
}

/** Plants each deviation in turn and replays what it can affect. */
export async function plant(recordings: Recording[]): Promise<PlantedResult[]> {
  const of = (deviation: DeviationName) => recordings.filter(({ name }) => affected[deviation].includes(name))
  const results: PlantedResult[] = []
  for (const deviation of deviationNames) {
    const [without, planted] = await Promise.all([conform(of(deviation)), conform(of(deviation), deviation)])
    const matched = planted.filter(({ isMatch }) => isMatch).length
    const matchedWithout = without.filter(({ isMatch }) => isMatch).length
    const noticed = planted.filter(({ isMatch }) => !isMatch)
    results.push({ deviation, total: planted.length, matchedWithout, matched, noticed })
  }
  return results
}
