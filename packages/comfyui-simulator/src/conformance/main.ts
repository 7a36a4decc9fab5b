import { parseArgs } from 'node:util'
import { conform, isDecisive } from './conformance.ts'
import type { Judgement } from './judge.ts'
import { type PlantedResult, plant } from './planted.ts'
import { type Recording, readRecordings } from './recordings.ts'

const { values } = parseArgs({ options: { planted: { type: 'boolean' }, only: { type: 'string' } } })
const say = (line: string): void => void process.stdout.write(`${line}\n`)

const recordings = readRecordings().filter(({ name }) => name.startsWith(values.only ?? ''))
process.exitCode = (await (values.planted ? runPlanted(recordings) : run(recordings))) ? 0 : 1

async function run(recordings: Recording[]): Promise<boolean> {
  const startedMs = performance.now()
  const judgements = await conform(recordings)
  const matched = judgements.filter(({ isMatch }) => isMatch)
  const loose = matched.filter(({ isIdentical }) => !isIdentical).map(({ name }) => name)
  say(`replayed in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
  say(`${matched.length - loose.length} are the same by the rules of compare.py`)
  say(`${loose.length} are the same but for what the recordings' README calls not stable: ${loose.join(', ')}`)
  say(`matched ${matched.length} of ${recordings.length}`)
  for (const judgement of judgements.filter(({ isMatch }) => !isMatch)) say(told(judgement))
  return judgements.every(({ name, isMatch }) => isMatch || !isDecisive(name))
}

async function runPlanted(recordings: Recording[]): Promise<boolean> {
  const results = await plant(recordings)
  for (const result of results) sayPlanted(result)
  return results.every(({ matched, matchedWithout }) => matched < matchedWithout)
}

function sayPlanted({ deviation, total, matched, matchedWithout, noticed }: PlantedResult): void {
  const verdict = matched < matchedWithout ? 'noticed' : 'NOT NOTICED'
  say(`${deviation}: ${verdict}, matched ${matched} of ${total} instead of ${matchedWithout}`)
  for (const judgement of noticed) say(`  ${told(judgement)}`)
}

function told({ name, reasons }: Judgement): string {
  const more = reasons.length > 1 ? ` (and ${reasons.length - 1} more)` : ''
  return `${name}: ${reasons[0]}${more}`
}
