import { readdirSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { isObject, type Json, type JsonObject, parsePythonJson } from '../json/python-json.ts'
import type { TraceLine } from './trace.ts'

/** One recorded scenario: its trace, and what its index expects of its prompts and requests. */
export interface Recording {
  name: string
  /** Which server it was recorded on: `main` and `extra` are shared by scenarios, `own` is a fresh one. */
  server: 'main' | 'extra' | 'own'
  /** When it was recorded; scenarios that share a server follow each other in this order. */
  epochMs: number
  lines: TraceLine[]
  /** Prompt id to expected outcome; `a|b` allows both. */
  prompts: Record<string, string>
  /** Request number to expected status; null for no answer. */
  statuses: Map<number, number | null>
}

const folder = new URL('../../../recordings/', import.meta.url)
const text = (file: string): string => gunzipSync(readFileSync(new URL(file, folder))).toString('utf8')

/** Reads every recording of a real ComfyUI 0.3.64, in the order in which they were made. */
export function readRecordings(): Recording[] {
  const index = JSON.parse(text('INDEX.json.gz')) as { scenarios: Record<string, IndexEntry> }
  const files = readdirSync(folder)
  const read = Object.entries(index.scenarios).map(([name, entry]) => {
    if (!files.includes(`${entry.file}.gz`)) throw new Error(`recording ${entry.file}.gz is missing`)
    return recording(name, entry, readTrace(text(`${entry.file}.gz`)))
  })
  return read.sort((a, b) => a.epochMs - b.epochMs)
}

interface IndexEntry {
  file: string
  server: Recording['server']
  prompts: Record<string, string>
  http: { req: number; expect: number | null }[]
}

function recording(name: string, { server, prompts, http }: IndexEntry, lines: TraceLine[]): Recording {
  const statuses = new Map(http.map(({ req, expect }) => [req, expect]))
  const start = lines[0] as TraceLine & { epochMs: number }
  return { name, server, epochMs: start.epochMs, lines: lines.map(withCompanion), prompts, statuses }
}

/** Reads a trace of one JSON object per line. */
export function readTrace(trace: string): TraceLine[] {
  return trace.split('\n').filter(Boolean).map(readLine)
}

function readLine(line: string): TraceLine {
  const read = plain(parsePythonJson(line)) as unknown as TraceLine
  return read.dir === 'ws-recv' ? { ...read, body: inSentOrder(read.body as Json, line) } : read
}

/** Restores the order of `progress_state` nodes, which JavaScript loses when ids look like numbers: keys get a mark in front. */
export function inSentOrder(body: Json, sent: string): Json {
  const data = isObject(body) && body.type === 'progress_state' ? body.data : undefined
  if (!isObject(body) || !isObject(data) || !isObject(data.nodes)) return body
  const ids = [...sent.matchAll(/"node_id": ?("(?:[^"\\]|\\.)*")/g)].map(match => JSON.parse(match[1]!) as string)
  const nodes = data.nodes
  return {
    ...body,
    data: { ...data, nodes: Object.fromEntries(ids.flatMap(id => (id in nodes ? [[`#${id}`, nodes[id]!]] : []))) }
  }
}

/** The numbers of a trace's own fields (not of bodies) are used as numbers. */
function plain(line: Json): JsonObject {
  if (!isObject(line)) throw new SyntaxError('a trace line is no object')
  const fields = ['t', 'epochMs', 'req', 'status', 'code', 'event', 'length']
  for (const field of fields) if (line[field] !== undefined && line[field] !== null) line[field] = Number(line[field])
  return line
}

/** The body of the full `/object_info` is kept once, where the simulator reads its classes. */
function withCompanion(line: TraceLine & { bodyFile?: string }): TraceLine {
  return line.bodyFile ? { ...line, body: parsePythonJson(text('../data/object-info.json.gz')) } : line
}
