import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import { messageData, messageType, nodeStates, type TraceLine } from './trace.ts'

/** What one party saw on one channel (`A:ws`, `B:http`, ...), in order. */
export type Streams = Map<string, string[]>

const uuids = /[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|\b[0-9a-f]{32}\b/g
const noticedRepeats = 3

/**
 * A trace without ids, times, counters and repeated progress: the rules of the recordings' `compare.py`, by which two recordings of the
 * real server were compared. Traces whose streams are equal are the same to a client.
 */
export function streamsOf(lines: TraceLine[]): Streams {
  const streams: Streams = new Map()
  const nameless = idNamer()
  for (const line of lines) {
    const told = tell(line, nameless)
    if (told === undefined) continue
    const [channel, text] = told
    const stream = streams.get(channel) ?? []
    streams.set(channel, stream)
    const isProgress = text.startsWith('progress ') || text.startsWith('progress_state ')
    if (isProgress && channel.endsWith(':ws') && stream.slice(-noticedRepeats).includes(text)) continue
    stream.push(text)
  }
  return streams
}

function tell(line: TraceLine, nameless: (text: string) => string): [string, string] | undefined {
  const conn = line.conn ?? ''
  if (line.dir === 'ws-recv') {
    const text = tellMessage(line)
    return text === undefined ? undefined : [`${conn}:ws`, text]
  }
  if (line.dir === 'ws-recv-binary') return [`${conn}:bin`, `${line.event} ${line.length}`]
  if (line.dir === 'http-response') {
    const text = tellAnswer(line, nameless)
    return text === undefined ? undefined : [`${conn}:http`, text]
  }
  if (line.dir === 'http-error' || line.dir === 'ws-open' || line.dir === 'ws-close') {
    return [`${conn}:conn`, `${line.dir} ${line.status} ${line.code} ${line.by} ${line.error}`]
  }
  return undefined
}

/** A WebSocket message as it is compared; undefined for `logs`, which are not. */
export function tellMessage(line: TraceLine): string | undefined {
  const [type, data] = [messageType(line), messageData(line)]
  if (type === 'logs') return undefined
  if (type === 'progress') return `progress ${data.node}`
  if (type === 'progress_state') return `progress_state ${nodeStates(line).map(pair => pair.join(':'))}`
  if (type === 'status') return `status ${queueRemaining(data)} ${'sid' in data}`
  if (type === 'executing') return `executing ${data.node} ${sortedKeys(data)}`
  if (type === 'executed') return `executed ${data.node} ${sortedKeys(data.output)}`
  const nodes = Array.isArray(data.nodes) ? [...data.nodes].sort() : sortedKeys(data.nodes)
  return `${type} ${sortedKeys(data)} ${data.node_id ?? ''} ${nodes}`
}

function queueRemaining(data: JsonObject): Json | undefined {
  const status = isObject(data.status) ? data.status.exec_info : undefined
  return isObject(status) ? status.queue_remaining : undefined
}

function tellAnswer(line: TraceLine, nameless: (text: string) => string): string | undefined {
  const shape = shapeOf(line, nameless)
  const path = nameless(line.path ?? '').replaceAll(/ComfyUI_temp_[a-z]+/g, 'TEMP')
  const isPoll = /^GET(\/api)?\/history\/[^?]/.test(`${line.method}${path}`) && line.status === 200
  if (isPoll) return undefined
  return `${line.method} ${path} ${line.status} ${sortedKeys(line.headers)} ${shape}`
}

function shapeOf(line: TraceLine, nameless: (text: string) => string): string {
  const { body } = line
  if (!isObject(body)) return ''
  if (Object.hasOwn(body, 'error')) return tellError(body)
  if ((line.path ?? '').includes('history')) return String(Object.keys(body).length)
  return String(Object.keys(body).map(nameless).sort())
}

function tellError(body: JsonObject): string {
  const type = isObject(body.error) ? body.error.type : body.error
  const nodes = Object.entries(isObject(body.node_errors) ? body.node_errors : {}).map(([id, node]) => {
    const errors = isObject(node) && Array.isArray(node.errors) ? node.errors : []
    return `${id}: ${errors.map(error => (isObject(error) ? error.type : '')).sort()}`
  })
  return `${type} {${nodes.sort().join('; ')}}`
}

function sortedKeys(value: unknown): string[] {
  return typeof value === 'object' && value !== null ? Object.keys(value).sort() : []
}

function idNamer(): (text: string) => string {
  const names = new Map<string, string>()
  return text =>
    text.replaceAll(uuids, id => {
      const name = names.get(id) ?? `id${names.size}`
      names.set(id, name)
      return name
    })
}
