import type { ComfyUiEvent } from './messages.ts'
import type { WebsocketImage } from './verdict.ts'
import type { HistoryEntry } from './wire.ts'

type ImageEvent = Extract<ComfyUiEvent, { type: 'image' }>

const maxImages = 1000
const maxBytes = 256 * 2 ** 20

const hasFiles = (entry: HistoryEntry, graphNode: string): boolean =>
  Object.values(entry.outputs[graphNode] ?? {}).some(value => !Array.isArray(value) || value.length > 0)

/**
 * Collects the images that output graph nodes send over the WebSocket. They are results if the graph node has nothing in history, and
 * previews of it otherwise. At most 1,000 images and 256 MiB are kept.
 */
export const createImages = (outputs: readonly string[]) => {
  const images: WebsocketImage[] = []
  let bytes = 0
  return {
    /** Keeps the image if it is from an output graph node; false if it is a preview. */
    take: (event: ImageEvent, graphNode: string | undefined): boolean => {
      if (graphNode === undefined || !outputs.includes(graphNode)) return false
      if (images.length === maxImages || bytes + event.bytes.length > maxBytes) return true
      bytes += event.bytes.length
      images.push({ graphNode, mediaType: event.mediaType, bytes: event.bytes })
      return true
    },
    /** Whether images that are results may still be under way. */
    mayMiss: (entry: HistoryEntry): boolean => outputs.some(id => !hasFiles(entry, id)),
    results: (entry: HistoryEntry): WebsocketImage[] =>
      outputs.flatMap(id => (hasFiles(entry, id) ? [] : images.filter(({ graphNode }) => graphNode === id)))
  }
}
