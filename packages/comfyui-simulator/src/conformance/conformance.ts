import type { DeviationName } from '../faults/deviation.ts'
import { isRace, type Judgement, judge } from './judge.ts'
import { outcomesOf } from './outcomes.ts'
import type { Recording } from './recordings.ts'
import { replay } from './replay.ts'
import { openStage, type Stage } from './stage.ts'

const patientMs = 4000
const impatientMs = 500

/**
 * Replays recordings against simulators and judges each. Scenarios that were recorded on one server run on one simulator, one after
 * the other; the servers run side by side. With a deviation, what does not come is not waited for long.
 */
export async function conform(recordings: Recording[], deviation?: DeviationName): Promise<Judgement[]> {
  const of = (server: Recording['server']) => recordings.filter(recording => recording.server === server)
  const judged = await Promise.all([
    onOneStage(of('main'), deviation),
    onOneStage(of('extra'), deviation),
    onOwnStages(of('own'), deviation)
  ])
  const byName = new Map(judged.flat().map(judgement => [judgement.name, judgement]))
  return recordings.map(({ name }) => byName.get(name)!)
}

/** Whether decisions of the adapter rest on a scenario, so that it has to match. */
export function isDecisive(name: string): boolean {
  const [, digits, letter] = /^(\d+)([a-z]?)/.exec(name) ?? []
  const number = Number(digits)
  const within = (first: number, last: number) => number >= first && number <= last
  if (number === 5) return letter !== 'a'
  const isEarly = within(1, 6) || within(8, 19) || within(23, 24)
  return isEarly || within(26, 27) || within(30, 34) || number === 36 || within(38, 41)
}

async function onOneStage(recordings: Recording[], deviation?: DeviationName): Promise<Judgement[]> {
  const first = recordings[0]
  if (!first) return []
  const stage = await openStage(first.server, deviation)
  const judgements: Judgement[] = []
  const idleMs = deviation ? impatientMs : patientMs
  for (const recording of recordings) judgements.push(await play(recording, stage, idleMs))
  await stage.close()
  return judgements
}

async function onOwnStages(recordings: Recording[], deviation?: DeviationName): Promise<Judgement[]> {
  const judgements: Judgement[] = []
  for (const recording of recordings) judgements.push(...(await onOneStage([recording], deviation)))
  return judgements
}

async function play(recording: Recording, stage: Stage, idleMs: number): Promise<Judgement> {
  const seen = await replay(recording.lines, stage, { isRace: isRace(recording), idleMs })
  return judge(recording, seen, await outcomesOf(recording, seen, stage))
}
