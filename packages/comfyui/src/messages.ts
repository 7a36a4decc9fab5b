import { parseJson } from './json.ts'
import { isRecord, listOf, numberOf, recordOf, stringOf, type Unchecked } from './record.ts'

/** A graph node's state in a `progress_state`: `graphNode` is the one of the workflow that a run-time node belongs to. */
export type GraphNodeProgress = {
  readonly id: string
  readonly graphNode: string
  readonly state: string
  readonly value: number
  readonly max: number
}

/** What ComfyUI tells over its WebSocket, as far as it concerns us. Hints only: history is the truth. */
export type ComfyUiEvent =
  | { readonly type: 'status'; readonly queueRemaining: number | undefined; readonly first: boolean }
  | { readonly type: 'started'; readonly promptId: string }
  | { readonly type: 'cached'; readonly promptId: string; readonly graphNodes: readonly string[] }
  | { readonly type: 'executing'; readonly promptId: string; readonly graphNode: string }
  | {
      readonly type: 'progress'
      readonly promptId: string
      readonly graphNode: string
      readonly value: number
      readonly max: number
    }
  | { readonly type: 'progress-state'; readonly promptId: string; readonly graphNodes: readonly GraphNodeProgress[] }
  | { readonly type: 'executed'; readonly promptId: string; readonly graphNode: string; readonly output: Unchecked }
  /** What ComfyUI wrote into its own log; it does not say about which prompt. */
  | { readonly type: 'log'; readonly promptId: undefined; readonly text: string }
  /** Success, error or interrupt is near: history may not have it yet. */
  | { readonly type: 'ending'; readonly promptId: string }
  /** The prompt is over and history has it. */
  | { readonly type: 'ended'; readonly promptId: string }
  | {
      readonly type: 'image'
      readonly promptId: string | undefined
      readonly graphNode: string | undefined
      readonly mediaType: string
      readonly bytes: Buffer
    }

const progressOf = ([id, value]: [string, unknown]): GraphNodeProgress => {
  const node = recordOf(value)
  return {
    id,
    graphNode: stringOf(node.display_node_id) ?? stringOf(node.real_node_id) ?? id,
    state: stringOf(node.state) ?? 'running',
    value: numberOf(node.value) ?? 0,
    max: numberOf(node.max) ?? 0
  }
}

const endings = new Set(['execution_success', 'execution_error', 'execution_interrupted'])

const executing = (promptId: string, data: Unchecked): ComfyUiEvent | undefined => {
  if (data.node === null) return { type: 'ended', promptId }
  const graphNode = stringOf(data.display_node) ?? stringOf(data.node)
  return graphNode === undefined ? undefined : { type: 'executing', promptId, graphNode }
}

const eventOf = (type: string, promptId: string, data: Unchecked): ComfyUiEvent | undefined => {
  const node = stringOf(data.display_node) ?? stringOf(data.node)
  if (endings.has(type)) return { type: 'ending', promptId }
  switch (type) {
    case 'execution_start':
      return { type: 'started', promptId }
    case 'execution_cached':
      return { type: 'cached', promptId, graphNodes: listOf(data.nodes).filter(id => typeof id === 'string') }
    case 'executing':
      return executing(promptId, data)
    case 'progress':
      return node === undefined
        ? undefined
        : {
            type: 'progress',
            promptId,
            graphNode: node,
            value: numberOf(data.value) ?? 0,
            max: numberOf(data.max) ?? 0
          }
    case 'progress_state':
      return { type: 'progress-state', promptId, graphNodes: Object.entries(recordOf(data.nodes)).map(progressOf) }
    case 'executed':
      return node === undefined
        ? undefined
        : { type: 'executed', promptId, graphNode: node, output: recordOf(data.output) }
    default:
      return undefined
  }
}

const logText = (data: Unchecked): string =>
  listOf(data.entries)
    .map(entry => stringOf(recordOf(entry).m) ?? '')
    .join('')

/** Reads a text frame; undefined for what is not JSON, not known, or not about a prompt. */
export const readText = (text: string): ComfyUiEvent | undefined => {
  let message: unknown
  try {
    message = parseJson(text)
  } catch {
    return undefined
  }
  if (!isRecord(message) || typeof message.type !== 'string') return undefined
  const data = recordOf(message.data)
  if (message.type === 'status') {
    const info = recordOf(recordOf(data.status).exec_info)
    return { type: 'status', queueRemaining: numberOf(info.queue_remaining), first: data.sid !== undefined }
  }
  if (message.type === 'logs') return { type: 'log', promptId: undefined, text: logText(data) }
  return typeof data.prompt_id === 'string' ? eventOf(message.type, data.prompt_id, data) : undefined
}

const imageTypes: Record<number, string> = { 1: 'image/jpeg', 2: 'image/png' }

const withMetadata = (frame: Buffer): ComfyUiEvent | undefined => {
  const length = frame.length < 8 ? Number.POSITIVE_INFINITY : frame.readUInt32BE(4)
  if (8 + length > frame.length) return undefined
  let metadata: Unchecked
  try {
    metadata = recordOf(parseJson(frame.toString('utf8', 8, 8 + length)))
  } catch {
    return undefined
  }
  return {
    type: 'image',
    promptId: stringOf(metadata.prompt_id),
    graphNode: stringOf(metadata.display_node_id) ?? stringOf(metadata.node_id),
    mediaType: stringOf(metadata.image_type) ?? 'image/jpeg',
    bytes: frame.subarray(8 + length)
  }
}

/** Reads a binary frame: an image without (1) or with (4) its prompt and graph node. Text frames (3) belong to nobody. */
export const readBinary = (frame: Buffer): ComfyUiEvent | undefined => {
  const kind = frame.length < 4 ? 0 : frame.readUInt32BE(0)
  if (kind === 4) return withMetadata(frame)
  if (kind !== 1 || frame.length < 8) return undefined
  const mediaType = imageTypes[frame.readUInt32BE(4)]
  if (mediaType === undefined) return undefined
  return { type: 'image', promptId: undefined, graphNode: undefined, mediaType, bytes: frame.subarray(8) }
}
