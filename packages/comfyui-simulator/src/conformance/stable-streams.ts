import { type Streams, streamsOf, tellMessage } from './streams.ts'
import { endedPrompt, messageData, messageType, nodeStates, plainPath, type TraceLine } from './trace.ts'

const terminal = ['execution_success', 'execution_error', 'execution_interrupted']

/**
 * The streams of a trace without what the recordings' README lists as not stable, and without anything more. Which of several ready
 * nodes runs first: each node gets a stream of its own. Where a `status` that a POST during a run caused falls, and its value: those
 * get a stream of their own too (`areStatusesFree`), where repeated values count but do not matter. How a connection is refused.
 */
export function stableStreamsOf(lines: TraceLine[], areStatusesFree: boolean): Streams {
  const streams: Streams = new Map([...streamsOf(lines)].filter(([channel]) => !channel.endsWith(':ws')))
  for (const [channel, stream] of streams) {
    if (channel.endsWith(':conn')) streams.set(channel, stream.map(alikeRefusals))
  }
  const conns = new Set(lines.map(line => line.conn).filter(conn => conn !== undefined))
  for (const conn of conns) {
    const own = lines.filter(line => line.conn === conn && line.dir === 'ws-recv')
    addNodeStreams(conn, own, streams)
    addPromptStream(conn, own, streams, areStatusesFree)
  }
  return streams
}

/** Whether the recorded client posted something while a prompt was waiting or running, so that `status` messages had no fixed place. */
export function hasPostsDuringRuns(lines: TraceLine[]): boolean {
  let unfinished = 0
  for (const line of lines) {
    const isPost = line.dir === 'http-request' && line.method === 'POST'
    if (isPost && unfinished > 0) return true
    if (isPost && plainPath(line) === '/prompt') unfinished++
    if (endedPrompt(line) !== undefined) unfinished--
  }
  return false
}

function addNodeStreams(conn: string, own: TraceLine[], streams: Streams): void {
  const states = new Map<string, string>()
  const prompts = new Map<unknown, string>()
  const push = (line: TraceLine, node: unknown, text: string) => {
    const id = messageData(line).prompt_id
    if (!prompts.has(id)) prompts.set(id, `prompt ${prompts.size + 1}`)
    const channel = `${conn}:${prompts.get(id)} node ${node}`
    const stream = streams.get(channel) ?? []
    streams.set(channel, stream)
    if (text !== 'progress' || stream.at(-1) !== text) stream.push(text)
  }
  for (const line of own) {
    for (const [node, state] of nodeStates(line)) {
      const place = `${messageData(line).prompt_id} ${node}`
      if (states.get(place) !== state) push(line, node, state)
      states.set(place, state)
    }
    if (messageType(line) === 'progress') push(line, messageData(line).node, 'progress')
    else if (isOfNode(line)) push(line, messageData(line).node, tellMessage(line) ?? '')
  }
}

function addPromptStream(conn: string, own: TraceLine[], streams: Streams, areStatusesFree: boolean): void {
  const stream: string[] = []
  const statuses: string[] = []
  let sinceTerminal = 0
  for (const line of own) {
    const type = messageType(line) ?? ''
    if (isOfNode(line) || type.startsWith('progress')) continue
    const text = tellMessage(line)
    if (text === undefined) continue
    const isFree = areStatusesFree && type === 'status' && !('sid' in messageData(line))
    if (terminal.includes(type)) sinceTerminal = statuses.length
    const isAnnounced = statuses.length > sinceTerminal
    if (isFree) statuses.push(text)
    else if (areStatusesFree && endedPrompt(line))
      stream.push(`${text} ${isAnnounced ? 'after a status' : 'unannounced'}`)
    else stream.push(text)
  }
  streams.set(`${conn}:ws`, stream)
  if (!areStatusesFree) return
  const changes = statuses.filter((text, index) => text !== statuses[index - 1])
  streams.set(`${conn}:status`, [`${statuses.length} in all`, ...changes])
}

function isOfNode(line: TraceLine): boolean {
  const { node, prompt_id: id } = messageData(line)
  const type = messageType(line)
  return id !== undefined && (type === 'executed' || (type === 'executing' && node !== null))
}

function alikeRefusals(text: string): string {
  return text.replace(/(ClientConnectorError|ClientOSError|ServerDisconnectedError)$/, 'no connection')
}
