import { ComfyUiError } from './errors.ts'
import { isRecord, listOf, numberOf, recordOf, stringOf, type Unchecked } from './record.ts'

/** A prompt in ComfyUI's queue; the graph it carries is not kept. */
export type QueueItem = {
  readonly number: number
  readonly promptId: string
  readonly clientId: string | undefined
}

/** What ComfyUI's queue holds. ComfyUI lists `pending` in heap order; here both stand in the order of execution. */
export type Queue = { readonly running: QueueItem[]; readonly pending: QueueItem[] }

/** One message of a history entry's status, in ComfyUI's words. */
export type HistoryMessage = { readonly event: string; readonly data: Unchecked }

/** What ComfyUI remembers of a finished prompt. `outputs` is by graph node, in the form each node gave it. */
export type HistoryEntry = {
  readonly number: number
  readonly outputs: Readonly<Record<string, Unchecked>>
  readonly messages: readonly HistoryMessage[]
  readonly statusText: string | undefined
}

/** What ComfyUI tells about itself and its machine; sizes in bytes. */
export type SystemStats = {
  readonly version: string | undefined
  readonly ramTotalBytes: number | undefined
  readonly ramFreeBytes: number | undefined
  readonly devices: readonly {
    readonly name: string
    readonly type: string
    readonly vramTotalBytes: number | undefined
    readonly vramFreeBytes: number | undefined
    /** Bytes that this ComfyUI itself holds. */
    readonly heldBytes: number | undefined
  }[]
}

/** A file in one of ComfyUI's folders. */
export type FileName = {
  readonly filename: string
  readonly subfolder: string
  readonly type: 'output' | 'input' | 'temp'
}

const wrong = (what: string): ComfyUiError =>
  new ComfyUiError('comfyui-answer', `ComfyUI's ${what} does not have the expected form`)

const queueItems = (value: unknown): QueueItem[] => {
  if (!Array.isArray(value)) throw wrong('queue')
  return value
    .map(item => {
      const [number, promptId, , extraData] = listOf(item)
      if (typeof promptId !== 'string') throw wrong('queue')
      return { number: numberOf(number) ?? 0, promptId, clientId: stringOf(recordOf(extraData).client_id) }
    })
    .sort((one, other) => one.number - other.number || (one.promptId < other.promptId ? -1 : 1))
}

/** Checks an answer of `GET /queue`. */
export const readQueue = (body: unknown): Queue => {
  if (!isRecord(body)) throw wrong('queue')
  return { running: queueItems(body.queue_running), pending: queueItems(body.queue_pending) }
}

const message = (value: unknown): HistoryMessage[] => {
  const [event, data] = listOf(value)
  return typeof event === 'string' ? [{ event, data: recordOf(data) }] : []
}

/** Checks an answer of `GET /history/{id}`; undefined when ComfyUI does not have that prompt in its history. */
export const readHistory = (body: unknown, promptId: string): HistoryEntry | undefined => {
  if (!isRecord(body)) throw wrong('history')
  if (!Object.hasOwn(body, promptId)) return undefined
  const entry = body[promptId]
  if (!isRecord(entry)) throw wrong('history')
  const status = recordOf(entry.status)
  const outputs = Object.entries(recordOf(entry.outputs)).filter((pair): pair is [string, Unchecked] =>
    isRecord(pair[1])
  )
  return {
    number: numberOf(listOf(entry.prompt)[0]) ?? 0,
    outputs: Object.fromEntries(outputs),
    messages: listOf(status.messages).flatMap(message),
    statusText: stringOf(status.status_str)
  }
}

const device = (value: unknown): SystemStats['devices'][number] => {
  const { name, type, vram_total, vram_free, torch_vram_total, torch_vram_free } = recordOf(value)
  const reserved = numberOf(torch_vram_total)
  const unused = numberOf(torch_vram_free)
  return {
    name: stringOf(name) ?? 'unknown',
    type: stringOf(type) ?? 'unknown',
    vramTotalBytes: numberOf(vram_total),
    vramFreeBytes: numberOf(vram_free),
    heldBytes: reserved === undefined || unused === undefined ? undefined : reserved - unused
  }
}

/** Checks an answer of `GET /system_stats`. */
export const readSystemStats = (body: unknown): SystemStats => {
  if (!isRecord(body) || !isRecord(body.system)) throw wrong('system stats')
  return {
    version: stringOf(body.system.comfyui_version),
    ramTotalBytes: numberOf(body.system.ram_total),
    ramFreeBytes: numberOf(body.system.ram_free),
    devices: listOf(body.devices).map(device)
  }
}

/** Checks the answer to an upload: the name under which ComfyUI stored the file, which may differ from the one sent. */
export const readUploaded = (body: unknown): FileName => {
  const { name, subfolder, type } = recordOf(body)
  if (typeof name !== 'string' || name === '') throw wrong('answer to an upload')
  const folder = type === 'output' || type === 'temp' ? type : 'input'
  return { filename: name, subfolder: stringOf(subfolder) ?? '', type: folder }
}
