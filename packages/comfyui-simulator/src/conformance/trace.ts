import type { Json, JsonObject } from '../json/python-json.ts'
import { isObject } from '../json/python-json.ts'

/** One part of a recorded upload: a field with its text, or a file. */
export interface RecordedPart {
  name: string
  value?: string
  filename?: string
  contentType?: string
  bytes?: number
  base64?: string
}

/** One line of a trace, as the recordings' README describes it; what we replay is written down in the same form. */
export interface TraceLine {
  t: number
  dir:
    | 'mark'
    | 'http-request'
    | 'http-response'
    | 'http-error'
    | 'ws-open'
    | 'ws-recv'
    | 'ws-recv-binary'
    | 'ws-send'
    | 'ws-close'
  conn?: string
  req?: number
  method?: string
  path?: string
  status?: number | null
  headers?: Record<string, string>
  reqHeaders?: Record<string, string> | null
  body?: Json
  /** The verbatim text, where JSON cannot say it or the body is no JSON. */
  raw?: string
  parts?: RecordedPart[]
  label?: string
  note?: string
  error?: string
  code?: number
  by?: 'client' | 'server'
  ok?: boolean
  event?: number
  length?: number
  json?: boolean
}

/** The type of a WebSocket message, or undefined for any other line. */
export function messageType(line: TraceLine): string | undefined {
  if (line.dir !== 'ws-recv' || !isObject(line.body)) return undefined
  return typeof line.body.type === 'string' ? line.body.type : undefined
}

/** The data of a WebSocket message; empty for any other line. */
export function messageData(line: TraceLine): JsonObject {
  const data = line.dir === 'ws-recv' && isObject(line.body) ? line.body.data : undefined
  return isObject(data) ? data : {}
}

/** A path without its `/api` twin's prefix and its query. */
export function plainPath(line: TraceLine): string {
  return (line.path ?? '').replace(/^\/api(?=\/)/, '').replace(/\?.*$/, '')
}

/** The prompt whose end a message tells: the terminal `executing` without a node. */
export function endedPrompt(line: TraceLine): string | undefined {
  const { node, prompt_id: id } = messageData(line)
  return messageType(line) === 'executing' && node === null && typeof id === 'string' ? id : undefined
}

/** The node states of a `progress_state` message, in the order they were sent (`inSentOrder` marked the keys). */
export function nodeStates(line: TraceLine): [node: string, state: string][] {
  const { nodes } = messageData(line)
  if (messageType(line) !== 'progress_state' || !isObject(nodes)) return []
  return Object.entries(nodes).map(([key, told]) => [key.slice(1), isObject(told) ? String(told.state) : ''])
}

/** The prompt id that an answer to `POST /prompt` gives. */
export function acceptedPrompt(line: TraceLine): string | undefined {
  if (line.dir !== 'http-response' || line.method !== 'POST' || plainPath(line) !== '/prompt' || line.status !== 200)
    return undefined
  return isObject(line.body) && typeof line.body.prompt_id === 'string' ? line.body.prompt_id : undefined
}

/** The history entries by prompt id that an answer to `GET /history` gives. */
export function historyEntries(line: TraceLine): Map<string, JsonObject> {
  const isHistory = line.dir === 'http-response' && line.method === 'GET' && plainPath(line).startsWith('/history')
  if (!isHistory || !isObject(line.body)) return new Map()
  return new Map(Object.entries(line.body).filter((entry): entry is [string, JsonObject] => isObject(entry[1])))
}
