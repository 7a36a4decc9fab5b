import { isObject, type JsonObject } from '../json/python-json.ts'
import type { Recording } from './recordings.ts'
import type { Replay } from './replay.ts'
import { shapesOf } from './shapes.ts'
import { hasPostsDuringRuns, stableStreamsOf } from './stable-streams.ts'
import { type Streams, streamsOf } from './streams.ts'
import { acceptedPrompt, messageData, messageType, nodeStates, type TraceLine } from './trace.ts'

/** How a replay compares to its recording. */
export interface Judgement {
  name: string
  isMatch: boolean
  /** Whether nothing had to be put down to what the recordings' README calls not stable. */
  isIdentical: boolean
  /** Why it is no match; the first reason is the one to show. */
  reasons: string[]
}

/** Judges a replay by streams, statuses, outcomes and shapes. In a race the outcomes decide, and that every answer came. */
export function judge(recording: Recording, seen: Replay, outcomes: Record<string, string>): Judgement {
  const { name, lines } = recording
  const isIdentical = firstDifference(streamsOf(lines), streamsOf(seen.lines)) === undefined
  const streams = isRace(recording) || isIdentical ? [] : streamReasons(lines, seen.lines)
  const shapes = isRace(recording) ? [] : mapReasons(shapesOf(lines), shapesOf(seen.lines))
  const reasons = [
    ...outcomeReasons(recording, outcomes),
    ...statusReasons(recording, seen.lines),
    ...streams,
    ...shapes,
    ...seen.missed.map(missed => `waited in vain for ${missed}`)
  ]
  return { name, isMatch: reasons.length === 0, isIdentical, reasons }
}

/** Whether a scenario is a race by design, in which either outcome is right. */
export function isRace({ prompts }: Recording): boolean {
  return Object.values(prompts).some(outcome => outcome.includes('|'))
}

/** Why two traces are not the same to a client, beyond what is not stable; empty when they are. */
export function streamReasons(recorded: TraceLine[], seen: TraceLine[]): string[] {
  const isFree = hasPostsDuringRuns(recorded)
  const difference = firstDifference(stableStreamsOf(recorded, isFree), stableStreamsOf(seen, isFree))
  const kept = orderedLinks(recorded, seen)
  const early = [...orderedLinks(recorded, recorded)].filter(link => !kept.has(link))
  return [...(difference === undefined ? [] : [difference]), ...early.map(link => `not in order: ${link}`)]
}

function firstDifference(recorded: Streams, seen: Streams): string | undefined {
  for (const channel of new Set([...recorded.keys(), ...seen.keys()])) {
    const [was, is] = [recorded.get(channel) ?? [], seen.get(channel) ?? []]
    const at = Array.from({ length: Math.max(was.length, is.length) }).findIndex((_, index) => was[index] !== is[index])
    if (at >= 0) return `${channel} at ${at}: recorded ${short(was[at])}, seen ${short(is[at])}`
  }
  return undefined
}

function outcomeReasons({ prompts }: Recording, outcomes: Record<string, string>): string[] {
  return Object.entries(prompts)
    .filter(([id, expected]) => !expected.split('|').includes(outcomes[id] ?? ''))
    .map(([id, expected]) => `prompt ${id} ended as ${outcomes[id]}, recorded ${expected}`)
}

function statusReasons({ statuses }: Recording, seen: TraceLine[]): string[] {
  return [...statuses].flatMap(([req, expected]) => {
    const answer = seen.find(line => line.req === req && line.dir !== 'http-request')
    const status = answer?.dir === 'http-error' ? null : answer?.status
    return status === expected ? [] : [`request ${req} was answered ${status}, recorded ${expected}`]
  })
}

function mapReasons(recorded: Map<string, string>, seen: Map<string, string>): string[] {
  return [...recorded]
    .filter(([place, shape]) => seen.get(place) !== shape)
    .map(([place, shape]) => `${place}: ${differing(shape, seen.get(place))}`)
}

/** The links of submitted graphs whose source was told finished before its user was told to run, by the prompt's place in the trace. */
function orderedLinks(recorded: TraceLine[], lines: TraceLine[]): Set<string> {
  const ordered = new Set<string>()
  const accepted = lines.filter(line => acceptedPrompt(line) !== undefined)
  for (const [index, answer] of accepted.entries()) {
    const id = acceptedPrompt(answer)
    for (const [from, to] of links(graphOf(recorded, answer.req))) {
      const own = lines.filter(line => messageData(line).prompt_id === id)
      const finished = own.findIndex(line =>
        nodeStates(line).some(([node, state]) => node === from && state === 'finished')
      )
      const started = own.findIndex(line => messageType(line) === 'executing' && messageData(line).node === to)
      if (finished >= 0 && started > finished) ordered.add(`prompt ${index + 1}, ${from} before ${to}`)
    }
  }
  return ordered
}

function graphOf(recorded: TraceLine[], req: number | undefined): JsonObject {
  const body = recorded.find(line => line.dir === 'http-request' && line.req === req)?.body
  return isObject(body) && isObject(body.prompt) ? body.prompt : {}
}

function links(graph: JsonObject): [string, string][] {
  return Object.entries(graph).flatMap(([to, node]) => {
    const inputs = isObject(node) && isObject(node.inputs) ? Object.values(node.inputs) : []
    return inputs.flatMap(value =>
      Array.isArray(value) && typeof value[0] === 'string' ? [[value[0], to] as [string, string]] : []
    )
  })
}

function differing(recorded: string, seen: string | undefined): string {
  if (seen === undefined) return 'missing'
  const at = [...recorded].findIndex((character, index) => character !== seen[index])
  const from = Math.max(0, at - 60)
  return `recorded …${recorded.slice(from, at + 60)}…, seen …${seen.slice(from, at + 60)}…`
}

function short(text: string | undefined): string {
  return text === undefined ? 'nothing' : `"${text.slice(0, 160)}"`
}
