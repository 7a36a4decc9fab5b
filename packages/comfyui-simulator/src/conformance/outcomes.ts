import { isObject, type JsonObject, parsePythonJson } from '../json/python-json.ts'
import type { Recording } from './recordings.ts'
import type { Replay } from './replay.ts'
import type { Stage } from './stage.ts'
import { historyEntries, messageData, messageType, type TraceLine } from './trace.ts'

const endings: Record<string, string> = {
  execution_success: 'success',
  execution_error: 'error',
  execution_interrupted: 'interrupted'
}

/** What became of each prompt of a scenario, in the words of the recordings' index; looked up at its end in history and queue. */
export async function outcomesOf(recording: Recording, { lines, substitutions }: Replay, stage: Stage) {
  const outcomes: Record<string, string> = {}
  const { queue } = stage.simulator().state()
  for (const recordedId of Object.keys(recording.prompts)) {
    const id = substitutions.apply(recordedId)
    const entry = stage.isAlive() ? await askHistory(stage, id) : undefined
    const isListed = queue.running.includes(id) || queue.pending.includes(id)
    const last = entry ? endOf(entry) : lastTold(lines, id)
    outcomes[recordedId] = last ?? (wasKilled(lines) ? 'lost' : isListed ? 'stuck' : 'deleted')
  }
  return outcomes
}

/** The outcome that the messages of a history entry tell: the last one that ends a run decides. */
export function endOf(entry: JsonObject): string | undefined {
  const messages = isObject(entry.status) && Array.isArray(entry.status.messages) ? entry.status.messages : []
  const names = messages.map(message => (Array.isArray(message) ? String(message[0]) : ''))
  return names.map(name => endings[name]).findLast(end => end !== undefined)
}

function lastTold(lines: TraceLine[], id: string): string | undefined {
  const told = lines.flatMap(line => {
    const entry = historyEntries(line).get(id)
    if (entry) return [endOf(entry)]
    return messageData(line).prompt_id === id ? [endings[messageType(line) ?? '']] : []
  })
  return told.findLast(end => end !== undefined)
}

function wasKilled(lines: TraceLine[]): boolean {
  return lines.some(line => (line.dir === 'ws-close' && line.by === 'server') || line.dir === 'http-error')
}

async function askHistory(stage: Stage, id: string): Promise<JsonObject | undefined> {
  const response = await fetch(`${stage.simulator().url}/history/${encodeURIComponent(id)}`)
  const body = parsePythonJson(await response.text())
  const entry = isObject(body) ? body[id] : undefined
  return isObject(entry) ? entry : undefined
}
