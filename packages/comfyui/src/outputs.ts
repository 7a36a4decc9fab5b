import { kindOf, type MediaKind, mediaTypeOf } from '@comfy-balancer/domain/media-type'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { isRecord, stringOf } from './record.ts'
import type { WebsocketImage } from './verdict.ts'
import type { FileName, HistoryEntry } from './wire.ts'

/** Something a prompt produced: a file to fetch from ComfyUI, a text, or bytes that came over the WebSocket. */
export type FoundOutput =
  | ({ readonly source: 'file'; readonly graphNode: string; readonly kind: MediaKind } & FileName)
  | { readonly source: 'text'; readonly graphNode: string; readonly kind: 'text'; readonly text: string }
  | {
      readonly source: 'websocket'
      readonly graphNode: string
      readonly kind: MediaKind
      readonly filename: string
      readonly mediaType: string
      readonly bytes: Buffer
    }

const maxOutputs = 10_000
const maxDepth = 4

const fileOf = (value: Record<string, unknown>): FileName | undefined => {
  const filename = stringOf(value.filename)
  if (filename === undefined || filename === '') return undefined
  const type = value.type === 'temp' || value.type === 'input' ? value.type : 'output'
  return { filename, subfolder: stringOf(value.subfolder) ?? '', type }
}

/** `result` holds a model file as a bare path, `folder/file.glb` or `file.glb [output]`. */
const modelFileOf = (value: string): FileName | undefined => {
  const [, path = '', annotated] = /^(.*?)(?: \[(output|input|temp)\])?$/s.exec(value.replaceAll('\\', '/')) ?? []
  const slash = path.lastIndexOf('/')
  const filename = path.slice(slash + 1)
  if (path.startsWith('/') || kindOf(filename, '') !== '3d') return undefined
  return {
    filename,
    subfolder: path.slice(0, Math.max(0, slash)),
    type: annotated === 'input' || annotated === 'temp' ? annotated : 'output'
  }
}

const found = (graphNode: string, key: string, value: unknown, depth = 0): FoundOutput[] => {
  if (Array.isArray(value)) return depth < maxDepth ? value.flatMap(item => found(graphNode, key, item, depth + 1)) : []
  if (typeof value === 'string') {
    if (key === 'text' || key === 'string') return [{ source: 'text', graphNode, kind: 'text', text: value }]
    const file = key === 'result' ? modelFileOf(value) : undefined
    return file ? [{ source: 'file', graphNode, kind: '3d', ...file }] : []
  }
  if (!isRecord(value)) return []
  const file = fileOf(value)
  if (file) return [{ source: 'file', graphNode, kind: kindOf(file.filename, key), ...file }]
  if (depth >= maxDepth) return []
  return Object.entries(value).flatMap(([inner, item]) => found(graphNode, inner, item, depth + 1))
}

const images = (graphNode: string, all: readonly WebsocketImage[]): FoundOutput[] =>
  all
    .filter(image => image.graphNode === graphNode)
    .map(({ mediaType, bytes }, index) => {
      const extension = mediaType === 'image/png' ? 'png' : 'jpg'
      const filename = `${graphNode.replace(/[^A-Za-z0-9_-]/g, '_')}_${String(index + 1).padStart(5, '0')}.${extension}`
      return { source: 'websocket', graphNode, kind: 'image', filename, mediaType: mediaTypeOf(filename, bytes), bytes }
    })

/**
 * Everything a finished prompt produced, in the order of its graph nodes in the workflow (those made at run time last), then of their
 * lists. Any item with a `filename` is a file, under whatever key it stands. The same file is listed once. At most 10,000.
 */
export const findOutputs = (
  outputs: HistoryEntry['outputs'],
  websocketImages: readonly WebsocketImage[],
  workflow?: Workflow
): FoundOutput[] => {
  const ids = new Set([
    ...(workflow?.graphNodes.keys() ?? []),
    ...Object.keys(outputs),
    ...websocketImages.map(image => image.graphNode)
  ])
  const all = [...ids].flatMap(id => [
    ...Object.entries(outputs[id] ?? {}).flatMap(([key, value]) => found(id, key, value)),
    ...images(id, websocketImages)
  ])
  const known = new Set<string>()
  const isNew = (output: FoundOutput): boolean => {
    if (output.source !== 'file') return true
    const key = JSON.stringify([output.type, output.subfolder, output.filename])
    return !known.has(key) && known.add(key) !== undefined
  }
  return all.filter(isNew).slice(0, maxOutputs)
}
