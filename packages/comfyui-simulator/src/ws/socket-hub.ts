import { randomUUID } from 'node:crypto'
import { type RawData, WebSocket } from 'ws'
import { isObject, type Json, type JsonObject, parsePythonJson, stringifyPythonJson } from '../json/python-json.ts'
import { metadataFrame, previewFrame, textFrame } from './frames.ts'
import type { Messenger } from './messenger.ts'

/** What the hub asks its server. */
export interface SocketHubDeps {
  queueRemaining(): number
  features(): JsonObject
  /** Whether a fault keeps the sockets open and mute. */
  isSilent(): boolean
  /** Called when a client id that Python cannot look up ends the process. */
  onCrash(): void
}

/** The sockets by client id: the last one to connect with an id owns it, even after an older one closes it away. */
export class SocketHub implements Messenger {
  readonly #deps: SocketHubDeps
  readonly #sockets = new Map<string, WebSocket>()
  readonly #open = new Set<WebSocket>()
  readonly #takesMetadata = new Map<string, boolean>()
  readonly #logReaders = new Set<string>()
  #client: Json | undefined
  #lastNode: string | undefined

  constructor(deps: SocketHubDeps) {
    this.#deps = deps
  }

  get hasClient(): boolean {
    return this.#client !== undefined
  }

  get clientTakesMetadata(): boolean {
    return typeof this.#client === 'string' && this.#takesMetadata.get(this.#client) === true
  }

  /** Registers a new socket. When an older socket of the same id closes later, the newer one goes deaf, as in ComfyUI. */
  connect(socket: WebSocket, clientId: string | null): void {
    const sid = clientId || randomUUID().replaceAll('-', '')
    this.#forgetClosing(sid)
    this.#sockets.set(sid, socket)
    this.#takesMetadata.set(sid, false)
    this.#open.add(socket)
    const status = { status: this.#status(), sid }
    this.#write(socket, 'status', status)
    if (this.#client === sid && this.#lastNode !== undefined) this.#write(socket, 'executing', { node: this.#lastNode })
    let isFirst = true
    socket.on('message', (data, isBinary) => {
      if (isFirst && !isBinary) isFirst = !this.#negotiate(socket, sid, data)
    })
    socket.on('error', () => socket.terminate())
    socket.on('close', () => {
      if (this.#open.delete(socket)) this.#forget(sid)
    })
  }

  setClient(client: Json | undefined): void {
    this.#client = client
  }

  setLastNode(displayId: string | undefined): void {
    this.#lastNode = displayId
  }

  setLogReader(clientId: string, isReading: boolean): void {
    if (isReading) this.#logReaders.add(clientId)
    else this.#logReaders.delete(clientId)
  }

  toLogReaders(data: unknown): void {
    for (const sid of this.#logReaders) {
      const socket = this.#sockets.get(sid)
      if (socket) this.#write(socket, 'logs', data)
    }
  }

  sendStatus(): void {
    this.toAll('status', { status: this.#status() })
  }

  toClient(type: string, data: unknown): void {
    const socket = this.#clientSocket()
    if (socket) this.#write(socket, type, data)
  }

  toAll(type: string, data: unknown): void {
    for (const socket of this.#sockets.values()) this.#write(socket, type, data)
  }

  toClientOrAll(type: string, data: unknown): void {
    if (this.hasClient) this.toClient(type, data)
    else this.toAll(type, data)
  }

  text(nodeId: string, text: string): void {
    const frame = textFrame(nodeId, text)
    for (const socket of this.#sockets.values()) this.#writeBytes(socket, frame)
  }

  preview(preview: Parameters<Messenger['preview']>[0]): void {
    const frame = previewFrame(preview)
    const client = this.#clientSocket()
    const sockets = this.hasClient ? (client ? [client] : []) : [...this.#sockets.values()]
    for (const socket of sockets) this.#writeBytes(socket, frame)
  }

  previewWithMetadata(place: JsonObject, preview: Parameters<Messenger['preview']>[0]): void {
    const socket = this.#clientSocket()
    if (socket) this.#writeBytes(socket, metadataFrame(place, preview))
  }

  /** Ends every connection without a close frame, as a dying process does. */
  dropAll(): void {
    for (const socket of this.#open) socket.terminate()
    this.#sockets.clear()
  }

  get size(): number {
    return this.#sockets.size
  }

  #forget(sid: string): void {
    this.#sockets.delete(sid)
    this.#takesMetadata.delete(sid)
  }

  /** ComfyUI forgets a socket at its close frame, before the client that said goodbye can come back; ours is told later. */
  #forgetClosing(sid: string): void {
    const socket = this.#sockets.get(sid)
    if (!socket || socket.readyState === WebSocket.OPEN) return
    this.#open.delete(socket)
    this.#forget(sid)
  }

  #clientSocket(): WebSocket | undefined {
    if (typeof this.#client === 'object' && this.#client !== null) {
      this.#deps.onCrash()
      return undefined
    }
    return typeof this.#client === 'string' ? this.#sockets.get(this.#client) : undefined
  }

  #status(): JsonObject {
    return { exec_info: { queue_remaining: this.#deps.queueRemaining() } }
  }

  /** Reads the first frame. Returns whether it used up the negotiation: any JSON object does. */
  #negotiate(socket: WebSocket, sid: string, data: RawData): boolean {
    const message = parsed(data)
    if (!isObject(message)) return false
    if (message.type === 'feature_flags') {
      const flags = isObject(message.data) ? message.data : {}
      this.#takesMetadata.set(sid, flags.supports_preview_metadata === true)
      this.#write(socket, 'feature_flags', this.#deps.features())
    }
    return true
  }

  #write(socket: WebSocket, type: string, data: unknown): void {
    if (this.#deps.isSilent() || socket.readyState !== WebSocket.OPEN) return
    socket.send(stringifyPythonJson({ type, data }))
  }

  #writeBytes(socket: WebSocket, frame: Buffer): void {
    if (this.#deps.isSilent() || socket.readyState !== WebSocket.OPEN) return
    socket.send(frame)
  }
}

function parsed(data: RawData): Json | undefined {
  try {
    return parsePythonJson(String(data))
  } catch {
    return undefined
  }
}
