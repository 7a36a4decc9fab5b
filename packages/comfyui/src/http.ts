import type { OutputFormat } from '@comfy-balancer/domain/output-format'
import { ComfyUiError } from './errors.ts'
import { listOf, numberOf, recordOf, stringOf, type Unchecked } from './record.ts'
import { type SubmitOutcome, submitPrompt } from './submit.ts'
import { type CallBounds, createTransport, jsonOf, type OpenAnswer, type Transport } from './transport.ts'
import { type Upload, uploadFile } from './upload.ts'
import {
  type FileName,
  type HistoryEntry,
  type Queue,
  readHistory,
  readQueue,
  readSystemStats,
  type SystemStats
} from './wire.ts'

/** Where ComfyUI is and how long and how large its answers may be. */
export type ComfyUiHttpOptions = {
  readonly url: string
  /** Of ordinary calls. Its event loop can freeze for seconds, hence 10 s by default. */
  readonly timeoutMs?: number
  /** Of `/object_info`, which scans every model folder; 120 s by default. */
  readonly objectInfoTimeoutMs?: number
  /** Of `POST /prompt`, which validates before it answers; 60 s by default. */
  readonly submitTimeoutMs?: number
  /** Of an upload; 10 minutes by default. */
  readonly uploadTimeoutMs?: number
  /** Longest pause within a file that is being read; 30 s by default. */
  readonly idleMs?: number
  /** Of an ordinary answer: queue and history carry whole graphs; 64 MiB by default. */
  readonly maxBytes?: number
  /** Of `/object_info`; 256 MiB by default. */
  readonly maxObjectInfoBytes?: number
}

/** Whether this ComfyUI has a jobs route to cancel by, and whether it cancelled anything. */
export type JobCancel = { readonly supported: boolean; readonly cancelled: boolean }

/** `range` is a Range header's value; `convertTo` has ComfyUI send a picture as JPEG or WebP, whatever it is stored as. */
export type ViewOptions = { readonly range?: string; readonly convertTo?: OutputFormat }

const maxModelFolders = 64

const query = (fields: Record<string, string>): string => new URLSearchParams(fields).toString()

const reads = (transport: Transport, options: ComfyUiHttpOptions) => {
  const get = async (path: string, bounds: CallBounds = {}): Promise<unknown> =>
    jsonOf(await transport.send({ path, ...bounds }), path.split('/').slice(0, 3).join('/'))

  const folderSizes = async (folder: string, bounds: CallBounds): Promise<[string, number][]> => {
    const files = await get(`/experiment/models/${encodeURIComponent(folder)}`, bounds).catch(() => [])
    return listOf(files).flatMap(file => {
      const { name, size } = recordOf(file)
      const bytes = numberOf(size)
      return typeof name === 'string' && bytes !== undefined ? [[name, bytes] as [string, number]] : []
    })
  }

  return {
    systemStats: async (bounds?: CallBounds): Promise<SystemStats> =>
      readSystemStats(await get('/system_stats', bounds)),
    features: async (bounds?: CallBounds): Promise<Unchecked> => recordOf(await get('/features', bounds)),
    objectInfo: (bounds?: CallBounds): Promise<unknown> =>
      get('/object_info', {
        timeoutMs: options.objectInfoTimeoutMs ?? 120_000,
        maxBytes: options.maxObjectInfoBytes ?? 256 * 2 ** 20,
        ...bounds
      }),
    /** Sizes in bytes of the model files, by the name ComfyUI lists them under; as far as it tells. */
    modelSizes: async (bounds: CallBounds = {}): Promise<Record<string, number>> => {
      const sizes: [string, number][] = []
      const folders = listOf(await get('/models', bounds).catch(() => [])).map(stringOf)
      for (const folder of folders.slice(0, maxModelFolders)) {
        if (folder !== undefined) sizes.push(...(await folderSizes(folder, bounds)))
      }
      return Object.fromEntries(sizes)
    },
    queue: async (bounds?: CallBounds): Promise<Queue> => readQueue(await get('/queue', bounds)),
    history: async (promptId: string, bounds?: CallBounds): Promise<HistoryEntry | undefined> =>
      readHistory(await get(`/history/${encodeURIComponent(promptId)}`, bounds), promptId)
  }
}

const writes = (transport: Transport) => {
  const post = async (path: string, body: unknown, bounds: CallBounds = {}): Promise<string> => {
    const headers = { 'content-type': 'application/json' }
    const answer = await transport.send({ method: 'POST', path, body: JSON.stringify(body), headers, ...bounds })
    if (answer.status === 200) return answer.text
    throw new ComfyUiError('comfyui-answer', `ComfyUI answered ${path} with ${answer.status}`, {
      status: answer.status
    })
  }
  const cancelJob = async (promptId: string, bounds?: CallBounds): Promise<JobCancel> => {
    try {
      const text = await post(`/api/jobs/${encodeURIComponent(promptId)}/cancel`, {}, bounds)
      return { supported: true, cancelled: /"cancelled"\s*:\s*true/.test(text) }
    } catch (error) {
      if (!(error instanceof ComfyUiError) || (error.status !== 404 && error.status !== 405)) throw error
      return { supported: false, cancelled: false }
    }
  }
  return {
    cancelJob,
    /** Has ComfyUI send its log to the socket of this client id. Throws where it has no such route. */
    subscribeLogs: async (clientId: string, bounds: CallBounds = {}): Promise<void> => {
      const body = JSON.stringify({ clientId, enabled: true })
      const headers = { 'content-type': 'application/json' }
      const path = '/internal/logs/subscribe'
      const { status } = await transport.send({ method: 'PATCH', path, body, headers, ...bounds })
      if (status !== 200)
        throw new ComfyUiError('comfyui-answer', `ComfyUI answered ${path} with ${status}`, { status })
    },
    /** Interrupts this prompt if it is the one running; a ComfyUI older than 0.3.57 interrupts whatever runs. */
    interrupt: async (promptId: string, bounds?: CallBounds): Promise<void> => {
      await post('/interrupt', { prompt_id: promptId }, bounds)
    },
    deletePending: async (promptId: string, bounds?: CallBounds): Promise<void> => {
      await post('/queue', { delete: [promptId] }, bounds)
    },
    deleteHistory: async (promptIds: readonly string[], bounds?: CallBounds): Promise<void> => {
      await post('/history', { delete: promptIds }, bounds)
    },
    /** Asks ComfyUI to drop its models and caches; it does so after the prompt in hand and does not say when. */
    free: async (bounds?: CallBounds): Promise<void> => {
      await post('/free', { unload_models: true, free_memory: true }, bounds)
    }
  }
}

/** What is known of a file without reading it. */
export type FileStat = { readonly bytes: number; readonly modifiedMs: number }

/**
 * The HTTP side of one ComfyUI. Every call has a deadline and a size limit, every answer is checked when it arrives, nothing is sent
 * twice. Calls throw `ComfyUiError`; `submit` answers with an outcome instead.
 */
export const createComfyUiHttp = (options: ComfyUiHttpOptions) => {
  const timeoutMs = options.timeoutMs ?? 10_000
  const transport = createTransport({ url: options.url, timeoutMs, maxBytes: options.maxBytes ?? 64 * 2 ** 20 })
  const view = (file: FileName, bounds: CallBounds & ViewOptions = {}): Promise<OpenAnswer> => {
    const { range, convertTo, ...call } = bounds
    const { filename, subfolder, type } = file
    const preview = convertTo && `${convertTo.format === 'jpg' ? 'jpeg' : 'webp'};${convertTo.quality}`
    const path = `/view?${query({ filename, subfolder, type, ...(preview ? { preview } : {}) })}`
    return transport.open({ path, headers: range ? { range } : {}, ...call }, options.idleMs ?? 30_000)
  }
  return {
    ...reads(transport, options),
    ...writes(transport),
    submit: (text: string, bounds: CallBounds = {}): Promise<SubmitOutcome> =>
      submitPrompt(transport, text, { timeoutMs: options.submitTimeoutMs ?? 60_000, ...bounds }),
    upload: (upload: Upload): Promise<FileName> => uploadFile(transport, upload, options.uploadTimeoutMs ?? 600_000),
    /** A file's bytes as a stream; the caller reads it to its end or destroys it. */
    view,
    /** Size and age of a file in one of ComfyUI's folders; undefined when it has none of that name, or does not tell. */
    statOf: async (file: FileName, bounds: CallBounds = {}): Promise<FileStat | undefined> => {
      const { status, headers, body } = await view(file, { ...bounds, range: 'bytes=0-0' })
      body.on('error', () => {}).destroy()
      const bytes = /\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1]
      const modifiedMs = Date.parse(headers['last-modified'] ?? '')
      return status === 206 && bytes !== undefined ? { bytes: Number(bytes), modifiedMs } : undefined
    },
    close: (): Promise<void> => transport.close()
  }
}

export type ComfyUiHttp = ReturnType<typeof createComfyUiHttp>
