import { isObject, type Json, type JsonObject, stringifyPythonJson } from '../json/python-json.ts'
import { historyEntries, messageData, messageType, plainPath, type TraceLine } from './trace.ts'

/**
 * What `compare.py` leaves out and clients read all the same: history entries (status, order of messages, what each node put out),
 * refusals (types, extra information, affected outputs), errors at run time, `/object_info`. By a name for the place, as text.
 */
export function shapesOf(lines: TraceLine[]): Map<string, string> {
  const shapes = new Map<string, string>()
  const errors = new Map<string, number>()
  for (const line of lines) {
    for (const [place, shape] of answerShapes(line)) shapes.set(place, shape)
    if (messageType(line) !== 'execution_error') continue
    const count = (errors.get(line.conn ?? '') ?? 0) + 1
    errors.set(line.conn ?? '', count)
    const { node_id: node, node_type: classType, exception_type: type } = messageData(line)
    shapes.set(`${line.conn} error ${count}`, `${node} ${classType} ${type}`)
  }
  return shapes
}

function answerShapes(line: TraceLine): [string, string][] {
  if (line.dir !== 'http-response' || !isObject(line.body)) return []
  const place = `request ${line.req}`
  const entries = [...historyEntries(line).values()]
  if (entries.length > 0) return entries.map((entry, at) => [`${place} entry ${at + 1}`, entryShape(entry)])
  if (line.method === 'POST' && plainPath(line) === '/prompt') return [[place, refusalShape(line.body)]]
  if (plainPath(line).startsWith('/object_info')) return [[place, stringifyPythonJson(line.body)]]
  return []
}

function entryShape(entry: JsonObject): string {
  const status = isObject(entry.status) ? entry.status : {}
  const messages = (Array.isArray(status.messages) ? status.messages : []).map(message => {
    const [name, data] = Array.isArray(message) ? message : []
    return `${name} ${keys(data)} ${isObject(data) ? (data.exception_type ?? '') : ''}`
  })
  const outputs = Object.entries(isObject(entry.outputs) ? entry.outputs : {}).map(
    ([id, out]) => `${id} ${counts(out)}`
  )
  const prompt = Array.isArray(entry.prompt) ? entry.prompt : []
  const targets = Array.isArray(prompt[4]) ? [...prompt[4]].sort() : []
  const shape = [
    status.status_str,
    status.completed,
    messages,
    outputs.sort(),
    keys(entry.meta),
    keys(prompt[3]),
    targets
  ]
  return stringifyPythonJson(shape)
}

function refusalShape(body: JsonObject): string {
  const error = isObject(body.error) ? `${body.error.type} ${keys(body.error.extra_info)}` : ''
  const nodes = Object.entries(isObject(body.node_errors) ? body.node_errors : {}).map(([id, node]) => {
    if (!isObject(node)) return id
    const errors = Array.isArray(node.errors) ? node.errors : []
    const told = errors.map(one => (isObject(one) ? `${one.type} ${keys(one.extra_info)}` : '')).sort()
    const dependents = Array.isArray(node.dependent_outputs) ? [...node.dependent_outputs].sort() : []
    return [id, node.class_type, told, dependents]
  })
  return stringifyPythonJson([error, nodes.sort()])
}

function counts(output: Json): string[] {
  if (!isObject(output)) return []
  return Object.entries(output)
    .map(([key, value]) => `${key} ${Array.isArray(value) ? value.length : typeof value}`)
    .sort()
}

function keys(value: unknown): string[] {
  return isObject(value) ? Object.keys(value).sort() : []
}
