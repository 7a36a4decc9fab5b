import type { Json, JsonObject } from '../json/python-json.ts'
import type { Preview } from '../nodes/node-class.ts'

/** The server's voice: messages to the client whose prompt runs, or to everybody. */
export interface Messenger {
  readonly hasClient: boolean
  readonly clientTakesMetadata: boolean
  /** Names the client whose prompt runs; undefined for an anonymous one. */
  setClient(client: Json | undefined): void
  /** Remembers the node that a reconnecting client is told about. */
  setLastNode(displayId: string | undefined): void
  toClient(type: string, data: unknown): void
  toAll(type: string, data: unknown): void
  toClientOrAll(type: string, data: unknown): void
  /** Binary frame 3: a text of a node, always to everybody. */
  text(nodeId: string, text: string): void
  /** Binary frame 1: a picture without any id. */
  preview(preview: Preview): void
  /** Binary frame 4: a picture with the ids it belongs to. */
  previewWithMetadata(place: JsonObject, preview: Preview): void
}
